"""Compares how much structure of a few pixels micrograph exposures show: focus, black level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LAG, _REACH = 2, 5
"""Pixels. Products of differences over `_REACH` that lie `_LAG` apart share no pixel, so that noise that is
white, or that a scintillator spreads over neighbours, averages out of them, whatever its level."""
_SPAN = _LAG + _REACH
_BLOCK = 32
_CERTAINTY = 4.0
"""Standard errors, by which structure must be there to be compared, and"""
_MOST_RATIO = 1.6
"""by which its variance must differ by more than this: uneven illumination of 0.6 to 1.4 makes 1.1."""


@dataclass(frozen=True, slots=True)
class StructureRatio:
    """Variance of the structure of one exposure over that of the mean of the others."""

    ratio: float
    standard_error: float

    @property
    def is_less(self) -> bool:
        """Whether it shows less structure than the others, beyond doubt."""
        return self.ratio + _CERTAINTY * self.standard_error < 1 / _MOST_RATIO


def compare_structure(
    exposures: NDArray[np.float32], counted: NDArray[np.bool_]
) -> list[StructureRatio | None]:
    """Compare the structure of each exposure with that of the mean of the others.

    Parameters
    ----------
    exposures : (R, X, Y, Z) float array
        Aligned, two or more, brought to one mean.
    counted : (X, Y, Z) bool array
        Pixels that all of them have measured.

    Returns
    -------
    ratios : list of StructureRatio or None
        None where the others show no structure beyond noise, so that nothing is known.
    """
    if min(counted.shape[:2]) < 2 * _SPAN:
        return [None] * len(exposures)
    total = exposures.sum(axis=0)
    usable = np.logical_and.reduce([counted[place] for axis in (0, 1) for place in _corners(axis)])
    ratios: list[StructureRatio | None] = []
    for exposure in exposures:
        others = (total - exposure) / (len(exposures) - 1)
        ratios.append(_ratio(*(_structure(image, usable) for image in (exposure, others))))
    return ratios


def _corners(axis: int) -> list[tuple[slice, slice]]:
    """Four places along an axis: two pixels `_REACH` apart, and two of them `_LAG` farther on."""
    along = [slice(start, start - _SPAN or None) for start in (0, _REACH, _LAG, _SPAN)]
    across = slice(0, -_SPAN)
    return [(one, across) if axis == 0 else (across, one) for one in along]


def _structure(image: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(B,) sums of products of differences over squares of pixels."""
    products = np.zeros(usable.shape)
    for axis in (0, 1):
        first, second, third, fourth = (image[place] for place in _corners(axis))
        products += np.where(usable, (first - second) * (third - fourth), 0)
    rows, columns = (np.arange(0, size, _BLOCK) for size in usable.shape[:2])
    return np.add.reduceat(np.add.reduceat(products, rows, 0), columns, 1).ravel()


def _ratio(own: NDArray[np.float64], others: NDArray[np.float64]) -> StructureRatio | None:
    doubt = others.std() * np.sqrt(others.size)
    if others.size < 2 or others.sum() < _CERTAINTY * doubt:
        return None
    ratio = own.sum() / others.sum()
    error = (own - ratio * others).std() * np.sqrt(others.size) / others.sum()
    return StructureRatio(float(ratio), float(error))
