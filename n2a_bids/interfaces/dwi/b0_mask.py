"""Node for the brain mask of a b0: by a network, deepbet, a template or a threshold."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from n2a_bids.errors import BIDSDataError
from n2a_bids.external.b0_brain import Method, find_b0_brain, volume_problem
from n2a_bids.interfaces.dwi.series import B0BrainInputSpec
from n2a_bids.interfaces.resumable import ResumableInterface
from n2a_bids.io.images import save_like

_WORDS: dict[Method, str] = {
    "auto": "by a small network for any contrast (brain-mask) on the mean b0",
    "deepbet": "by deepbet, shown how much every voxel of the mean b0 looks like tissue",
    "network": "by a small network for any contrast (brain-mask) on the mean b0",
    "template": "by registration of a template (ICBM 152) to the mean b0 with ANTs",
    "otsu": "by an Otsu threshold on the median-filtered mean b0 (dipy)",
}


def method_words(method: Method) -> str:
    """How a brain is found in a b0, in a few words.

    Examples
    --------
    >>> method_words("otsu")
    'by an Otsu threshold on the median-filtered mean b0 (dipy)'
    """
    return _WORDS[method]


class _B0MaskInputSpec(B0BrainInputSpec):
    in_file = File(exists=True, mandatory=True, desc="mean b0")
    name = traits.Str(desc="path of the series in the dataset, for messages; that of the mean b0 by default")


class _B0MaskOutputSpec(TraitedSpec):
    out_mask = File(exists=True, desc="brain mask, uint8")
    warnings = traits.List(traits.Str(), desc="where another way than the one asked for was taken")


class B0Mask(ResumableInterface):
    """Brain mask on the mean b0 of a series."""

    input_spec = _B0MaskInputSpec
    output_spec = _B0MaskOutputSpec

    def _run_interface(self, runtime):
        path, folder = Path(self.inputs.in_file), Path(runtime.cwd)
        inputs = self.inputs
        brain = find_b0_brain(path, inputs.b0_mask_method, folder, random_seed=inputs.b0_mask_seed)
        named = Path(inputs.name) if isdefined(inputs.name) else path
        problem = volume_problem(brain.mask, nb.load(path).affine, named)
        if problem:
            raise BIDSDataError(problem)
        mask_file = save_like(brain.mask, path, folder / "brain_mask.nii.gz", np.uint8)
        self._results["out_mask"] = os.fspath(mask_file)
        self._results["warnings"] = [f"{named.name}: {brain.warning}"] if brain.warning else []
        return runtime
