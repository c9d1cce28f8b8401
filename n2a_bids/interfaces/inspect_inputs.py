"""What a user should know about the inputs of a unit, once its brain is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits

from n2a_bids.algorithms.mask_fit import is_stripped, misplacement_mm
from n2a_bids.images import load, load_mask, voxel_sizes_mm

_MOST_MISPLACED_MM = 8.0
"""Masks that fit, tight or generous, are 0 to 4 mm off, those shifted by 15 mm are 12 to 16 mm off (three real
T1w heads, two b0 images)."""


class _InspectInputsInputSpec(BaseInterfaceInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, desc="images of one unit, 3D, as acquired")
    mask_files = traits.List(File(exists=True), mandatory=True, desc="their brain masks")
    place = traits.Int(0, usedefault=True, desc="of the reference, whose mask the results take")
    given_mask = traits.Str("", usedefault=True, desc="name of the mask that the user brought, if any")


class _InspectInputsOutputSpec(TraitedSpec):
    warnings = traits.List(traits.Str(), desc="one sentence each")
    skull_stripped = traits.Bool(desc="whether the images are zero outside the brain")


class InspectInputs(SimpleInterface):
    """Look at the fit of a mask that was given, and for inputs without skull."""

    input_spec = _InspectInputsInputSpec
    output_spec = _InspectInputsOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        pairs = [
            (Path(image), Path(mask)) for image, mask in zip(inputs.in_files, inputs.mask_files, strict=True)
        ]
        warnings = []
        if inputs.given_mask:
            warnings += mask_fit_warnings(*pairs[inputs.place], inputs.given_mask)
        self._results["warnings"] = warnings
        self._results["skull_stripped"] = all(_without_skull(*pair) for pair in pairs)
        return runtime


def mask_fit_warnings(image: Path, mask: Path, name: str) -> list[str]:
    """A sentence where a mask would lie better elsewhere in the image.

    Parameters
    ----------
    image : Path
        The reference.
    mask : Path
        On its grid.
    name : str
        Of the file that the user brought.

    Returns
    -------
    warnings : list of str
    """
    data, affine = load(image)
    distance_mm = misplacement_mm(data, load_mask(mask, image), voxel_sizes_mm(affine))
    if distance_mm <= _MOST_MISPLACED_MM:
        return []
    return [
        f"the brain mask {name} does not seem to lie on the brain of the images: it would fit better about "
        f"{distance_mm:.0f} mm away; look at its contours in the report"
    ]


def _without_skull(image: Path, mask: Path) -> bool:
    data, affine = load(image)
    inside = load_mask(mask, image)
    return bool(np.any(inside)) and is_stripped(data, inside, voxel_sizes_mm(affine))
