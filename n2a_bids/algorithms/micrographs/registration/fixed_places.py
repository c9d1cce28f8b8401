"""Finds what stays in the image while the specimen drifts: data bars, scale bars, text, frames, apertures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_ANY = np.ones((3, 3), bool)
_BLOCK = 32
"""Edge of the squares in which the part of pixels that are alike by chance is counted."""
_BY_CHANCE = 1e-3
"""Areas of one image that may be found where noise alone made pixels alike."""
_GROWTH = 8
"""Neighbours by which an area of pixels that are alike may grow."""
_LEAST_PIXELS, _LEAST_EDGE = 8, 3
_MOST_GOES_ON, _MOST_OF_SMALL = 0.35, 0.15
"""Part of the pixels around an area in which an exposure may go on with the values of the area: what ends in
all exposures at one place stays; a dark or saturated place of the specimen ends elsewhere in each. Small
areas are frayed where noise of the specimen is cut off."""
_SMALL_PIXELS, _ONE_VALUE = 200, 0.7
"""Of small areas at least such a part of the pixels has one value, as ink has, and chance has not."""
_THIN_PIXELS = 4
"""Width of lines of the camera, in whose place others show the specimen."""
_RING = 1.5
"""Pixels around an area."""
_SMOOTHING = 3.0
_DARK = 0.15
"""Of the way from the dark of the corners to the highest 1 %."""
_LEAST_SURROUND, _MOST_SURROUND = 0.05, 0.85
"""Part of the image."""
_SAME_SURROUND = 0.85
"""Part of the dark of any exposure that all of them share."""
_EDGE_PIXELS = 4
"""By which the dark is widened: edges of apertures are soft."""


def find_fixed_places(exposures: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Areas where all exposures hold the same values, of more pixels than chance explains, and end alike.

    Parameters
    ----------
    exposures : (R, X, Y, Z, C) array
        As they were stored, before any alignment.

    Returns
    -------
    fixed : (X, Y) bool array
    """
    alike = (exposures[1:] == exposures[0]).all(axis=(0, 3, 4))
    if len(exposures) < 2 or np.count_nonzero(alike) < _LEAST_PIXELS or alike.all():
        return np.zeros(alike.shape, bool)
    areas = _areas(alike)
    if not areas.any():
        return areas
    labels, n_areas = ndimage.label(areas, _ANY)
    keeps = _ends_alike(labels, n_areas, exposures) & _is_ink(labels, n_areas, exposures[0])
    keeps[0] = False
    return keeps[labels]


def without_thin_lines(fixed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fixed places but for lines of the camera, a few pixels wide and as long as half of the image."""
    labels, _ = ndimage.label(fixed, _ANY)
    kept = fixed.copy()
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        edges = [part.stop - part.start for part in box]
        is_long = any(2 * edge >= size for edge, size in zip(edges, fixed.shape, strict=True))
        if is_long and min(edges) <= _THIN_PIXELS:
            kept[box] &= labels[box] != number
    return kept


def find_dark_surround(planes: NDArray[np.floating]) -> NDArray[np.bool_]:
    """What lies outside of an aperture: dark in all exposures, at one place, from the corners on.

    Parameters
    ----------
    planes : (R, X, Y) array

    Returns
    -------
    dark : (X, Y) bool array
        Nothing, where the corners are not dark, or what is dark has moved.
    """
    common, ever = np.ones(planes.shape[1:], bool), np.zeros(planes.shape[1:], bool)
    for plane in planes:
        dark = _dark_from_corners(plane)
        common, ever = common & dark, ever | dark
        if not common.any():
            return common
    is_one = common.sum() > _SAME_SURROUND * ever.sum()
    if not (is_one and _LEAST_SURROUND < ever.mean() < _MOST_SURROUND):
        return np.zeros(common.shape, bool)
    return ndimage.binary_dilation(ever, iterations=_EDGE_PIXELS)


def _areas(alike: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Connected pixels, and squares, that are too many for chance."""
    part = _part_by_chance(alike)
    expected = np.log(_BY_CHANCE / alike.size)
    edge = max(_LEAST_EDGE, int(np.ceil(np.sqrt(expected / np.log(part)))))
    areas = ndimage.binary_opening(alike, np.ones((edge, edge)))
    if _GROWTH * part < 0.5:
        least = max(_LEAST_PIXELS, int(np.ceil(expected / np.log(_GROWTH * part))))
        labels, _ = ndimage.label(alike, _ANY)
        is_large = np.bincount(labels.ravel()) >= least
        is_large[0] = False
        areas |= is_large[labels]
    return areas & _too_large_there(areas, alike, expected) if areas.any() else areas


def _too_large_there(
    areas: NDArray[np.bool_], alike: NDArray[np.bool_], expected: float
) -> NDArray[np.bool_]:
    """(X, Y) areas that are too large for chance also by the pixels around them: the dark has less noise."""
    labels, n_areas = ndimage.label(areas, _ANY)
    numbers = np.arange(n_areas + 1)
    others = ndimage.uniform_filter((~areas).astype(np.float64), _BLOCK + 1, mode="constant")
    near = ndimage.uniform_filter((alike & ~areas).astype(np.float64), _BLOCK + 1, mode="constant")
    part = np.clip(ndimage.maximum(near / np.maximum(others, 1e-3), labels, numbers), 1 / areas.size, 0.99)
    sizes = np.bincount(labels.ravel(), minlength=n_areas + 1)
    inner = ndimage.distance_transform_cdt(areas, "chessboard")
    is_wide = (2 * ndimage.maximum(inner, labels, numbers) - 1) ** 2 >= expected / np.log(part)
    is_large = sizes >= expected / np.log(np.minimum(_GROWTH * part, 0.99))
    keeps = is_wide | (is_large & (_GROWTH * part < 0.5))
    keeps[0] = False
    return keeps[labels]


def _part_by_chance(alike: NDArray[np.bool_]) -> float:
    """Part of the pixels that are alike in squares that are no fixed places."""
    x, y = (max(size // _BLOCK, 1) * min(_BLOCK, size) for size in alike.shape)
    edges = [min(_BLOCK, size) for size in alike.shape]
    blocks = alike[:x, :y].reshape(x // edges[0], edges[0], y // edges[1], edges[1]).mean(axis=(1, 3))
    usual = blocks[blocks < 0.5]
    part = float(np.median(usual)) if usual.size else 0.99
    return min(max(part, 1 / alike.size), 0.99)


def _is_ink(labels: NDArray[np.int_], n_areas: int, exposure: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether each area, from 0 on, is large, or holds one value for the most part."""
    values = exposure[:, :, 0, 0]
    middle = np.zeros(n_areas + 1)
    middle[1:] = ndimage.median(values, labels, np.arange(1, n_areas + 1))
    sizes = np.bincount(labels.ravel(), minlength=n_areas + 1)
    n_alike = np.bincount(labels.ravel(), (values == middle[labels]).ravel(), minlength=n_areas + 1)
    return (sizes >= _SMALL_PIXELS) | (n_alike >= _ONE_VALUE * sizes)


def _ends_alike(labels: NDArray[np.int_], n_areas: int, exposures: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether around each area, from 0 on, no exposure goes on with its values."""
    distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    ring = (distance > 0) & (distance <= _RING)
    inner = tuple(places[ring] for places in nearest)
    numbers = labels[inner]
    n_around = np.maximum(np.bincount(numbers, minlength=n_areas + 1), 1)
    is_small = np.bincount(labels.ravel(), minlength=n_areas + 1) < _SMALL_PIXELS
    most = np.where(is_small, _MOST_OF_SMALL, _MOST_GOES_ON) * n_around
    stays = np.ones(n_areas + 1, bool)
    for exposure in exposures:
        goes_on = (exposure[ring] == exposure[inner]).all(axis=(1, 2))
        stays &= np.bincount(numbers, goes_on, minlength=n_areas + 1) <= most
    return stays


def _dark_from_corners(plane: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(X, Y) what is as dark as the corners, and hangs together with all four of them."""
    smooth = ndimage.gaussian_filter(plane.astype(np.float32), _SMOOTHING)
    corners = smooth[[0, 0, -1, -1], [0, -1, 0, -1]]
    limit = np.median(corners) + _DARK * (np.percentile(smooth, 99) - np.median(corners))
    labels, _ = ndimage.label(smooth < limit)
    held = labels[[0, 0, -1, -1], [0, -1, 0, -1]]
    return np.isin(labels, held) if (held > 0).all() else np.zeros(plane.shape, bool)
