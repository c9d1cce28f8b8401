"""Node that removes the bias field of a denoised T1w image, as fMRIPrep wants it."""

from __future__ import annotations

import os
from pathlib import Path

from nipype.interfaces.base import File, TraitedSpec, traits

from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.system.child import run_ants


class _BiasCorrectInputSpec(StepInputSpec):
    in_file = File(exists=True, mandatory=True, desc="image")
    mask_file = File(exists=True, mandatory=True, desc="brain mask, same grid: where the field is estimated")
    sidecar = traits.Dict(desc="sidecar of the image")
    random_seed = traits.Int(1, usedefault=True, desc="seed of ANTs")


class _BiasCorrectOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="image without bias field")
    sidecar = traits.Dict(desc="sidecar that says so")


class BiasCorrect(ResumableInterface):
    """N4 bias field correction with ANTs: fMRIPrep expects it of a ``desc-preproc_T1w``."""

    input_spec = _BiasCorrectInputSpec
    output_spec = _BiasCorrectOutputSpec

    def _run_interface(self, runtime):
        folder = Path(runtime.cwd)
        out_file = folder / "bias_corrected.nii.gz"
        files = {"image": self.inputs.in_file, "mask": self.inputs.mask_file, "out_file": os.fspath(out_file)}
        run_ants("bias_corrected", files, folder, random_seed=self.inputs.random_seed)
        sidecar = dict(self.inputs.sidecar)
        sidecar["Description"] = f"{sidecar.get('Description', 'Denoised')}; bias field removed (ANTs N4)"
        self._results.update(out_file=os.fspath(out_file), sidecar=sidecar)
        return runtime
