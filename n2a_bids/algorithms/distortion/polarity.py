"""Tells from two b0s whether they are distorted in opposite directions, whatever their sidecars say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from n2a_bids.algorithms.distortion.blip_pair import BlipPair, agreement
from n2a_bids.algorithms.distortion.field import DistortionConfig
from n2a_bids.algorithms.normalization import Mask, Volume
from n2a_bids.algorithms.shading import ANY, DISTORTED, FINE, with_shading_of

_LEAST_GAIN = 0.5
"""Part of the disagreement that a field must remove for the blips to count as opposite."""
_LEAST_MARGIN = 0.02
"""Of the correlation, likewise: noise alone lets a field gain a little."""


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
        """Why an image that has it cannot be averaged with the first, of which this is the name."""
        return (
            f"its distortion is opposite to that of {name}: their b0s lie up to {self.apart_mm:.1f} mm "
            f"apart (correlation {self.correlation_alike:.2f}, without it {self.correlation_opposite:.2f}); "
            "if they are of opposite phase encoding, say so by PhaseEncodingDirection in their sidecars"
        )


def explains_more(opposite: float, alike: float) -> bool:
    """Whether images are rather of opposite polarity than of the same, by their correlations as both.

    A field has thousands of parameters, so that it is believed only where it gains much.

    Examples
    --------
    >>> explains_more(0.99, 0.85), explains_more(0.99, 0.98), explains_more(0.90, 0.85)
    (True, False, False)
    """
    return opposite - alike > _LEAST_MARGIN and _removes_much(opposite, alike)


def _removes_much(opposite: float, alike: float) -> bool:
    return 1 - opposite < (1 - _LEAST_GAIN) * (1 - alike)


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
    if not mask.any() or not first[mask].any() or not second[mask].any():
        return None
    if 1 - agreement(first, second, mask) < _LEAST_MARGIN:
        return None
    alike, finely_alike = (
        agreement(first, with_shading_of(first, second, mask, voxel_size_mm, scale), mask)
        for scale in (ANY, FINE)
    )
    shaded = with_shading_of(first, second, mask, voxel_size_mm, DISTORTED)
    found = [_along(axis, first, shaded, mask, voxel_size_mm, alike) for axis in axes]
    likeliest = max(found, key=lambda one: one.correlation_opposite)
    opposite = likeliest.correlation_opposite
    # Fine shading could stand for much of a distortion, but not for all that a field explains.
    is_opposite = explains_more(opposite, alike) and _removes_much(opposite, finely_alike)
    return likeliest if is_opposite else None


def _along(
    axis: int,
    first: Volume,
    second: Volume,
    mask: Mask,
    voxel_size_mm: tuple[float, float, float],
    alike: float,
) -> OppositeDistortion:
    """What a field along one axis makes of two images."""
    pair, still = BlipPair(first, second, mask, voxel_size_mm, (axis, axis)), np.eye(4)
    field = pair.estimate(pair.images(still), DistortionConfig())
    corrected, other = pair.images(still, field)
    opposite = agreement(corrected, with_shading_of(corrected, other, mask, voxel_size_mm, ANY), mask)
    apart_mm = 2 * float(np.percentile(np.abs(field[mask]), 95)) * voxel_size_mm[axis]
    return OppositeDistortion(axis, alike, opposite, apart_mm)
