"""Compares structure of a few pixels between exposures (focus, black level), and noise that they share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_LAG, _REACH = 2, 5
"""Pixels. Products of differences over `_REACH` that lie `_LAG` apart share no pixel, so that noise that is
white, or that a scintillator spreads over neighbours, averages out of them, whatever its level."""
_SPAN = _LAG + _REACH
_BLOCK = 32
_CERTAINTY = 4.0
"""Standard errors, by which structure must be there to be compared, and"""
_MOST_RATIO = 1.6
"""by which its variance must differ by more than this: uneven illumination of 0.6 to 1.4 makes 1.1."""
_SHARED, _EVEN = 0.15, 0.65
"""Correlation of the finest detail that may be noise, and its signal-to-noise ratio over that of detail a
little coarser: 0.8 to 0.9 of white noise, 0.2 to 0.45 of photographs and sections."""
_OUTLIER_SD, _BESIDE = 4.0, 5
_FEWEST_PIXELS = 2500
_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0], np.float32)


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


def find_shared_noise(exposures: NDArray[np.float32], counted: NDArray[np.bool_]) -> float:
    """Correlation of the noise of exposures that are no measurements of their own; 0 where nothing shows any.

    As of running sums, each of which holds the one before, or where one dark frame or gain image was applied
    to all. Such noise is white: the finest detail is as much alike as what is a little coarser. Of what
    optics show, the finest has next to nothing in common.

    Parameters
    ----------
    exposures : (R, X, Y, Z) float array
        Aligned, two or more.
    counted : (X, Y, Z) bool array
        Pixels that all of them have measured.

    Returns
    -------
    correlation : float
        The largest of an exposure with the mean of the others.
    """
    usable = ndimage.minimum_filter(counted, (3, 3, 1), mode="constant")
    if np.count_nonzero(usable) < _FEWEST_PIXELS:
        return 0.0
    found = 0.0
    for one, others in with_mean_of_others(exposures):
        pairs = [(_fine(one, axes), _fine(others, axes)) for axes in ((0, 1), (0,), (1,))]
        # Grains and their edges have detail of all sizes.
        even = usable & ~np.logical_or.reduce([_stands_out(image) for pair in pairs for image in pair])
        finest, *coarser = (_correlate(first[even], second[even]) for first, second in pairs)
        if finest > _SHARED and _signal_to_noise(finest) > _EVEN * _signal_to_noise(max(coarser)):
            found = max(found, finest)
    return found


def _correlate(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    is_flat = len(first) < _FEWEST_PIXELS or not (first.any() and second.any())
    return 0.0 if is_flat else float(np.corrcoef(first, second)[0, 1])


def _signal_to_noise(correlation: float) -> float:
    """Of what two images have in common, by their correlation."""
    return correlation / max(1 - correlation, 1e-6)


def _fine(image: NDArray[np.float32], axes: tuple[int, ...]) -> NDArray[np.float32]:
    """Second differences of a (X, Y, Z) image along some axes."""
    for axis in axes:
        image = ndimage.convolve1d(image, _SECOND_DIFFERENCE, axis)
    return image


def _stands_out(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where differences are far larger than usual, and what lies beside."""
    limit = _OUTLIER_SD * 1.4826 * np.median(np.abs(image))
    if limit == 0:
        return np.zeros(image.shape, bool)
    return ndimage.maximum_filter(np.abs(image) > limit, (_BESIDE, _BESIDE, 1))


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
