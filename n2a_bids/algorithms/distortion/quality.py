"""Checks whether a distortion field can be true: largest shift, folding, and whether the b0s match better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion.field import in_view, intensity_factor, resample
from n2a_bids.algorithms.distortion.pepolar import PairCorrection
from n2a_bids.algorithms.normalization import Mask, Volume
from n2a_bids.algorithms.registration.similarity import smooth_correlation

_MOST_FOLDED = 0.05
"""Part of the brain: beyond a few percent, near air, a field is no field of a head."""
_FARTHEST_MM = 25.0
"""In 95 % of the brain, less in the small brains of animals. Real pairs of people at 3 T have 3 to 12 mm."""
_NOTICEABLE_VOXELS = 1.0
_SMOOTHING_VOXELS = 0.7


@dataclass(frozen=True, slots=True)
class DistortionQuality:
    """Metrics of the correction of a pair, all inside the brain."""

    correlation_before: float
    """Of the b0s, where the headers put them."""
    correlation_aligned: float
    """With head motion undone, but not the distortion."""
    correlation_after: float
    displacement_mm: dict[str, float]
    """``median``, ``percentile_95`` and ``largest`` of the first series."""
    folded_fraction: float
    reason: str
    """Why the field cannot be true; empty where it can."""
    shown: float = 1.0
    """Part of the brain that both b0s show: correlations are of that; elsewhere the field is not known."""


def judge_distortion(
    first: Volume,
    second: tuple[Volume, Volume],
    correction: PairCorrection,
    mask: Mask,
    axis: int,
    axis_voxel_mm: float,
    second_axis: int,
    size: float = 1.0,
) -> DistortionQuality:
    """Measure a correction and look for what no head does.

    Parameters
    ----------
    first : (X, Y, Z) array
        First b0, as acquired.
    second : pair of arrays
        The second b0 on the grid of the first as its header says, and as acquired.
    mask : (X, Y, Z) bool array
        Brain in `first`.
    axis, second_axis : int
        Phase-encoding axis of each, in its own array.
    axis_voxel_mm : float
        Voxel size of `first` along `axis`.
    size : float
        Edge length of the brain of an animal over that of one of 200 ml, by `PlacedImage.brain_size`.
    """
    still = np.zeros_like(correction.displacement)
    placed = resample(second[1], correction.voxel_map, still, second_axis, 0)
    fields = (
        (correction.displacement, axis, np.eye(4)),
        (correction.second_displacement, second_axis, correction.voxel_map),
    )
    folds = [intensity_factor(field, along, 1, voxel_map) == 0 for field, along, voxel_map in fields]
    moved_voxels = np.abs(correction.displacement[mask])
    views = (
        in_view(image.shape, voxel_map, field, along, 1)
        for image, (field, along, voxel_map) in zip((first, second[1]), fields, strict=True)
    )
    both = np.logical_and.reduce([mask, *views])
    before, aligned, after = (
        smooth_correlation(*pair, both if both.any() else mask, _SMOOTHING_VOXELS)
        for pair in ((first, second[0]), (first, placed), correction.corrected)
    )
    moved_mm = _sizes_mm(moved_voxels * axis_voxel_mm)
    folded = round(float(((folds[0] | folds[1]) & mask).sum() / mask.sum()), 5)
    useless = bool(np.percentile(moved_voxels, 95) > _NOTICEABLE_VOXELS) and after < aligned
    return DistortionQuality(
        *(round(value, 4) for value in (before, aligned, after)),
        moved_mm,
        folded,
        _reason(
            moved_mm["percentile_95"], folded, (aligned, after) if useless else None, size * _FARTHEST_MM
        ),
        round(float(both.sum() / mask.sum()), 4),
    )


def _sizes_mm(moved_mm: NDArray[np.floating]) -> dict[str, float]:
    return {
        "median": round(float(np.median(moved_mm)), 3),
        "percentile_95": round(float(np.percentile(moved_mm, 95)), 3),
        "largest": round(float(moved_mm.max()), 3),
    }


def _reason(
    percentile_95_mm: float, folded: float, useless: tuple[float, float] | None, farthest_mm: float
) -> str:
    reasons = []
    if folded > _MOST_FOLDED:
        reasons.append(f"the image folds in {folded:.0%} of the brain (plausible: up to {_MOST_FOLDED:.0%})")
    if percentile_95_mm > farthest_mm:
        plausible = f"plausible: up to {farthest_mm:.3g}"
        reasons.append(f"it moves the brain by {percentile_95_mm:.0f} mm ({plausible})")
    if useless is not None:
        reasons.append(
            f"it moves the brain by {percentile_95_mm:.1f} mm without making the b0s more alike (correlation "
            f"{useless[0]:.3f} without it, {useless[1]:.3f} with it)"
        )
    return "; ".join(reasons)
