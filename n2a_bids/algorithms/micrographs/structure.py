"""Compares how much structure of a few pixels micrograph exposures show: focus, black level."""

from __future__ import annotations

from collections.abc import Iterator
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
    usable = np.logical_and.reduce([counted[place] for axis in (0, 1) for place in _corners(axis)])
    return [
        _ratio(*(_structure(image, usable) for image in beside)) for beside in with_mean_of_others(exposures)
    ]


def with_mean_of_others(
    exposures: NDArray[np.float32],
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Each of two or more exposures (R, X, Y, Z), and the mean of the others."""
    total = exposures.sum(axis=0)
    for exposure in exposures:
        yield exposure, (total - exposure) / (len(exposures) - 1)


def sum_squares(image: NDArray, edge: int) -> NDArray[np.float64]:
    """Sums of a (X, Y, Z) image over squares of pixels of each plane."""
    rows, columns = (np.arange(0, size, edge) for size in image.shape[:2])
    return np.add.reduceat(np.add.reduceat(image, rows, 0, dtype=np.float64), columns, 1)


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
    return sum_squares(products, _BLOCK).ravel()


def _ratio(own: NDArray[np.float64], others: NDArray[np.float64]) -> StructureRatio | None:
    doubt = others.std() * np.sqrt(others.size)
    if others.size < 2 or others.sum() < _CERTAINTY * doubt:
        return None
    ratio = own.sum() / others.sum()
    error = (own - ratio * others).std() * np.sqrt(others.size) / others.sum()
    return StructureRatio(float(ratio), float(error))
