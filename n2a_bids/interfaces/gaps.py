"""Node that finds gaps (voxels without a measurement) before anything else looks at an image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, traits

from n2a_bids.algorithms.preparation.gaps import Gaps, find_gaps, without_gaps, zone_value
from n2a_bids.algorithms.quality.dark_slices import DarkSlice, find_dark_slices
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.denoising.warnings import describe_specks
from n2a_bids.enumeration import enumerated
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.gaps import stored_limits, write_gaps
from n2a_bids.io.images import load, save_like

_MOST_NAMED = 5
"""Slices named one by one."""


class _FindGapsInputSpec(StepInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, desc="images, 3D, as acquired")


class _FindGapsOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="the images, plain in their gaps; untouched without any")
    gap_files = traits.List(traits.Str(), desc="map of the gaps of each image, empty where it has none")
    warnings = traits.List(traits.Str(), desc="a sentence for each image with specks or dark slices")


class FindGaps(ResumableInterface):
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
            warnings += _dark_slices(path.name, image)
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


def _dark_slices(name: str, image: np.ndarray) -> list[str]:
    """A sentence for each axis of a head across which slices have lost signal; those set to zero are gaps."""
    found = []
    for axis in range(3):
        dark = [one for one in find_dark_slices(image[..., None], axis, [0]) if one.remaining > 0]
        found += [describe_dark_slices(name, dark, axis)] if dark else []
    return found


def describe_dark_slices(
    name: str,
    dark: Sequence[DarkSlice],
    axis: int,
    numbers: Sequence[int] | None = None,
    *,
    others: bool = False,
) -> str:
    """Note for the user on slices of a file that have lost signal.

    Parameters
    ----------
    name : str
        Of the file.
    dark : sequence of DarkSlice
        At least one.
    axis : int
        Across the slices.
    numbers : sequence of int, optional
        Of each volume in its file, from 0; none of an image that is no series.
    others : bool
        Other series hold the same volumes, and stand in where they show these slices.
    """
    volumes = ["" if numbers is None else f" of volume {numbers[one.volume]}" for one in dark]
    places = [
        f"slice {one.index}{where} ({one.remaining:.0%})" for one, where in zip(dark, volumes, strict=True)
    ]
    places_named = (
        f"{name}: signal was lost in slices: {enumerated(places, _MOST_NAMED)}, counted from 0 along "
        f"{'ijk'[axis]}, with what is left of the signal beside. "
    )
    if others:
        return (
            f"{places_named}There the other series of the group stand in, with the noise of fewer averages, "
            "unless they are left out; the slices beside are darkened a little; look at them"
        )
    remedy = (
        "leave the image out" if numbers is None else "leave the volume out, or let eddy replace it (--repol)"
    )
    return (
        f"{places_named}Denoising does not bring it back, and the slices beside are darkened a little; look "
        f"at them, and {remedy}"
    )
