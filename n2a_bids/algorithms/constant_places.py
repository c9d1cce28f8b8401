"""Places where an image has one value all around: filled, masked or defaced, without noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def find_constant(image: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Voxels whose 26 neighbours have their value; at a border, those that there are.

    Three comparisons and some logic on single bytes, where largest and smallest values of neighbourhoods
    would take ten times as long on a head.

    Parameters
    ----------
    image : (X, Y, Z) array

    Returns
    -------
    constant : (X, Y, Z) bool array
        False beside NaN.

    Examples
    --------
    >>> image = np.zeros((5, 5, 5))
    >>> image[4, 4, 4] = 1
    >>> int(find_constant(image).sum())
    117
    """
    lines = [_all_near(_equals_next(image, axis), axis) for axis in range(image.ndim)]
    constant = lines[0]
    # A line along the first axis is one value; its neighbours along the next axis have to be as well, and to
    # hang together by a line that crosses them.
    for axis in range(1, image.ndim):
        constant = _shifted(constant, axis, np.logical_and) & lines[axis]
    return constant & (image == image)


def find_zero_layers(image: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Voxels that are 0 with all their neighbours in one plane at least: what was not seen, be it one layer.

    Magnitudes of weak noise in whole numbers are 0 here and there, but not all over nine voxels of a plane.

    Parameters
    ----------
    image : (X, Y, Z) array

    Returns
    -------
    layers : (X, Y, Z) bool array

    Examples
    --------
    >>> image = np.ones((5, 5, 5))
    >>> image[0], image[3, 3, 3] = 0, 0
    >>> int(find_zero_layers(image).sum())
    25
    """
    is_zero = image == 0
    planes = (np.ones([1 if one == axis else 3 for one in range(3)], bool) for axis in range(3))
    inner = (ndimage.binary_erosion(is_zero, plane, border_value=1) for plane in planes)
    return np.logical_or.reduce(list(inner))


def near_any(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of a mask, and those that touch one of them, also by a corner.

    Examples
    --------
    >>> mask = np.zeros((5, 5, 5), bool)
    >>> mask[0, 2, 2] = True
    >>> int(near_any(mask).sum())
    18
    """
    for axis in range(mask.ndim):
        mask = _shifted(mask, axis, np.logical_or)
    return mask


def _equals_next(image: NDArray[np.generic], axis: int) -> NDArray[np.bool_]:
    """Whether a voxel has the value of the next one along an axis; one shorter there."""
    return _part(image, axis, 1, None) == _part(image, axis, None, -1)


def _all_near(equal: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Whether a voxel has the value of the one before and the one after."""
    shape = list(equal.shape)
    shape[axis] += 1
    found = np.ones(shape, bool)
    _part(found, axis, None, -1)[...] = equal
    _part(found, axis, 1, None)[...] &= equal
    return found


def _shifted(mask: NDArray[np.bool_], axis: int, joined: np.ufunc) -> NDArray[np.bool_]:
    """A mask joined with itself, moved by a voxel to either side of an axis."""
    found = mask.copy()
    for here, there in (((1, None), (None, -1)), ((None, -1), (1, None))):
        part = _part(found, axis, *here)
        joined(part, _part(mask, axis, *there), out=part)
    return found


def _part(volume: NDArray, axis: int, start: int | None, stop: int | None) -> NDArray:
    """What lies between two places of an axis."""
    return volume[(slice(None),) * axis + (slice(start, stop),)]
