"""Node that finds gaps (voxels without a measurement) before anything else looks at an image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits

from n2a_bids.algorithms.preparation.gaps import Gaps, find_gaps, without_gaps, zone_value
from n2a_bids.algorithms.registration.transforms import voxel_sizes_mm
from n2a_bids.io.gaps import stored_limits, write_gaps
from n2a_bids.io.images import load, save_like


class _FindGapsInputSpec(BaseInterfaceInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, desc="images, 3D, as acquired")


class _FindGapsOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="the images, plain in their gaps; untouched without any")
    gap_files = traits.List(traits.Str(), desc="map of the gaps of each image, empty where it has none")
    warnings = traits.List(traits.Str(), desc="one sentence for each image with specks")


class FindGaps(SimpleInterface):
    """Find what was not measured, and keep it from disturbing masks, registration and intensities.

    Specks become like their surroundings, and zones of NaN or of a value below all signal become 0. Where
    the gaps are is passed on, so that the result takes other repetitions there.
    """

    input_spec = _FindGapsInputSpec
    output_spec = _FindGapsOutputSpec

    def _run_interface(self, runtime):
        files, maps, warnings = [], [], []
        for index, name in enumerate(self.inputs.in_files):
            path, folder = Path(name), Path(runtime.cwd) / str(index)
            image, affine = load(path)
            gaps = find_gaps(image, voxel_sizes_mm(affine), stored_limits(path))
            files.append(name)
            maps.append("")
            if not gaps.any:
                continue
            maps[-1] = os.fspath(write_gaps(gaps, path, folder / "gaps.nii.gz"))
            if _is_disturbed(image, gaps):
                files[-1] = os.fspath(save_like(without_gaps(image, gaps), path, folder / path.name))
            if gaps.specks.any():
                warnings.append(describe_specks(path.name, image[gaps.specks]))
        self._results.update(out_files=files, gap_files=maps, warnings=warnings)
        return runtime


def _is_disturbed(image: np.ndarray, gaps: Gaps) -> bool:
    """Whether values in the gaps would mislead who does not know them."""
    values = image[gaps.zone]
    return bool(gaps.specks.any() or (values.size and (values != np.float32(zone_value(image, gaps))).any()))


def describe_specks(name: str, values: np.ndarray) -> str:
    """Note for the user on the values of the specks of a file."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        found = "NaN or infinity"
    elif np.ptp(finite) == 0:
        found = f"{finite[0]:g}"
    else:
        found = f"{finite.min():g} to {finite.max():g}"
    voxels = "1 voxel" if values.size == 1 else f"{values.size} voxels"
    return (
        f"{name}: {voxels} of impossible intensity ({found}), alone among others: taken for no "
        "measurement, in masks, registration and result; look at the conversion of the image"
    )
