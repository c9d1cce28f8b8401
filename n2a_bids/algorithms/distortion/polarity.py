"""Tells from two b0s whether they are distorted in opposite directions, whatever their sidecars say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from n2a_bids.algorithms.distortion.blip_pair import BlipPair, agreement
from n2a_bids.algorithms.distortion.field import COARSE_FIELD, DistortionConfig
from n2a_bids.algorithms.normalization import Mask, Volume
from n2a_bids.algorithms.shading import ANY, DISTORTED, FINE, with_shading_of

_LEAST_GAIN = 0.5
"""Part of the disagreement that a field must remove for the blips to count as opposite."""
_LEAST_MARGIN = 0.02
"""Of the correlation, likewise: noise alone lets a field gain a little."""
_LEAST_OF_OPPOSITE = 0.4
"""Part of the disagreement that the field of opposite blips removes. In two real pairs 0.95 and 0.98, 0.56
where all but a quarter of the distortion of one was undone before and noise of 15 % was added; of two series
of one polarity whose head was turned 0.24."""
_LEAST_MARGIN_OF_OPPOSITE = 0.01
"""Of the correlation, likewise: two interpolated images have less noise than one."""
_NOTICEABLE_VOXELS = 1.0
_ENOUGH_OF_AXIS = 0.9
"""Part of the disagreement that a field removes whose axis need not be looked at again. Of a phantom 0.93
along the true axis, 0.65 and 0.15 along the others."""
_LEAST_SHOWN_OF_AXIS = 8
"""Voxels along an axis in which a field could be seen."""
_LEAST_COARSE_GAIN = 0.25
"""Part of the disagreement that a coarse field must remove before the fine one, which takes longer."""


@dataclass(frozen=True, slots=True)
class OppositeDistortion:
    """A field that explains how two images differ which were taken for repetitions."""

    axis: int
    """Array axis along which it moves them in opposite directions."""
    correlation_alike: float
    """Of the images as they lie, of one shading."""
    correlation_opposite: float
    """Of the images without the field."""
    apart_mm: float
    """How far the field moves a place of one image from where the other shows it, in 95 % of the brain at
    most."""

    def reason(self, name: str) -> str:
        """Why an image distorted otherwise than the first, whose name this is, cannot be averaged with it."""
        return (
            f"it is distorted otherwise than {name}, as by the opposite phase encoding: their b0s lie up to "
            f"{self.apart_mm:.1f} mm apart (correlation {self.correlation_alike:.2f}, "
            f"{self.correlation_opposite:.2f} once a field moves them together); check "
            "PhaseEncodingDirection and TotalReadoutTime in the sidecars of both"
        )


def explains_more(opposite: float, alike: float) -> bool:
    """Whether images are rather of opposite polarity than of the same, by their correlations as both.

    A field has thousands of parameters, so that it is believed only where it gains much.

    Examples
    --------
    >>> explains_more(0.99, 0.85), explains_more(0.99, 0.98), explains_more(0.90, 0.85)
    (True, False, False)
    """
    return opposite - alike > _LEAST_MARGIN and _removes(_LEAST_GAIN, opposite, alike)


def polarity_doubt(alike: float, opposite: float, moved_voxels: float) -> str:
    """Why two b0s whose blips are said to be opposite look as if they were not; empty where they do not.

    Of one polarity, images differ by noise and motion, which a small field follows where it can.

    Parameters
    ----------
    alike, opposite : float
        Correlation with the motion alone undone, as of one polarity, and with motion and distortion undone.
    moved_voxels : float
        By which the field moves 95 % of the brain at most, beside a shift of the head.

    Examples
    --------
    >>> polarity_doubt(0.85, 0.99, 0.7), polarity_doubt(0.85, 0.86, 2.0)
    ('', '')
    >>> polarity_doubt(0.917, 0.937, 0.4)[:58]
    'the distortion that was found is small and explains little'
    """
    gains = opposite - alike > _LEAST_MARGIN_OF_OPPOSITE and _removes(_LEAST_OF_OPPOSITE, opposite, alike)
    if gains or not is_small(moved_voxels):
        return ""
    return (
        "the distortion that was found is small and explains little of how the b0s differ (correlation "
        f"{alike:.3f} without it, {opposite:.3f} with it): either they are hardly distorted, as where it was "
        "corrected before, or both have one phase encoding and keep their distortion; check "
        "PhaseEncodingDirection in the sidecars of both"
    )


def axis_doubt(
    images: tuple[Volume, Volume],
    mask: Mask,
    voxel_size_mm: tuple[float, float, float],
    axis: int,
    after: float,
) -> str:
    """Why the phase of two b0s was rather encoded along another axis; empty where nothing speaks for it.

    Along a wrong axis a field explains something, too, and bends the brain where there was nothing to undo.

    Parameters
    ----------
    images : pair of (X, Y, Z) arrays
        On one grid, motion undone, distortion not.
    mask : (X, Y, Z) bool array
        Brain that both show.
    voxel_size_mm : tuple of three floats
    axis : int
        Array axis along which they were corrected.
    after : float
        Their correlation once that is done.
    """
    if _removes(_ENOUGH_OF_AXIS, after, agreement(*images, mask)):
        return ""
    axes = [one for one in range(3) if one == axis or mask.shape[one] >= _LEAST_SHOWN_OF_AXIS]
    coarse = {one: _along(one, images, mask, voxel_size_mm, COARSE_FIELD)[0] for one in axes}
    best = max(coarse, key=coarse.__getitem__)
    gain = coarse[best] - coarse[axis]
    if not (gain > _LEAST_MARGIN and _removes(_LEAST_OF_OPPOSITE, coarse[best], coarse[axis])):
        return ""
    said, seen = "ijk"[axis], "ijk"[best]
    return (
        f"the b0s are distorted along axis {seen} of the array rather than along {said}, which the sidecars "
        f"give (correlation {coarse[best]:.3f} with a coarse field along {seen}, {coarse[axis]:.3f} along "
        f"{said}): the correction bends the brain and leaves the distortion; check PhaseEncodingDirection in "
        "the sidecars of both, which counts the axes of the image as it is stored"
    )


def is_small(moved_voxels: float) -> bool:
    """Whether a field that moves 95 % of the brain by so much at most could be made of noise and motion."""
    return moved_voxels < _NOTICEABLE_VOXELS


def _removes(part: float, opposite: float, alike: float) -> bool:
    """Whether so much of the disagreement goes."""
    return 1 - opposite < (1 - part) * (1 - alike)


def find_opposite_distortion(
    first: Volume,
    second: Volume,
    mask: Mask,
    voxel_size_mm: tuple[float, float, float],
    axes: Sequence[int],
) -> OppositeDistortion | None:
    """Look for a distortion that two aligned b0s have in opposite directions.

    Distortion brightens where it compresses, which could be shading: what is left when shading is taken out
    is compared with what a field leaves.

    Parameters
    ----------
    first, second : (X, Y, Z) arrays
        Mean b0s on one grid, motion undone.
    mask : (X, Y, Z) bool array
        Brain, where both were measured.
    voxel_size_mm : tuple of three floats
    axes : sequence of int
        Along which phase may have been encoded.

    Returns
    -------
    found : OppositeDistortion or None
        That of the axis which explains most; None where none explains much more than shading does.
    """
    levels = [float(one[mask].mean()) if mask.any() else 0.0 for one in (first, second)]
    if not min(levels) > 0 or 1 - agreement(first, second, mask) < _LEAST_MARGIN:
        return None
    alike, finely_alike = (
        agreement(first, with_shading_of(first, second, mask, voxel_size_mm, scale), mask)
        for scale in (ANY, FINE)
    )
    pair = first, with_shading_of(first, second, mask, voxel_size_mm, DISTORTED)
    coarse = {axis: _along(axis, pair, mask, voxel_size_mm, COARSE_FIELD)[0] for axis in axes}
    best = max(coarse, key=coarse.__getitem__)
    if not _removes(_LEAST_COARSE_GAIN, coarse[best], alike):
        return None
    opposite, apart_mm = _along(best, pair, mask, voxel_size_mm, DistortionConfig())
    # Fine shading could stand for much of a distortion, but not for all that a field explains.
    if not (explains_more(opposite, alike) and _removes(_LEAST_GAIN, opposite, finely_alike)):
        return None
    return OppositeDistortion(best, alike, opposite, apart_mm)


def _along(
    axis: int,
    images: tuple[Volume, Volume],
    mask: Mask,
    voxel_size_mm: tuple[float, float, float],
    config: DistortionConfig,
) -> tuple[float, float]:
    """Correlation of two images without a field along one axis, and how far it has them apart, mm."""
    pair, still = BlipPair(*images, mask, voxel_size_mm, (axis, axis)), np.eye(4)
    field = pair.estimate(pair.images(still), config)
    corrected, other = pair.images(still, field)
    opposite = agreement(corrected, with_shading_of(corrected, other, mask, voxel_size_mm, ANY), mask)
    apart_mm = 2 * float(np.percentile(np.abs(field[mask]), 95)) * voxel_size_mm[axis]
    return opposite, apart_mm
