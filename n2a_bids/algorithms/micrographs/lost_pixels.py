"""Finds and fills lost pixels of an exposure: dead or hot lines, dead blocks, cosmic rays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.constant_places import near_any

_WINDOW = 5
"""Edge of the squares that hold one value; noise fills none of them alike."""
_LEAST_PIXELS = 50
"""Of a zone, and of a line one pixel wide."""
_MOST_HIT = 9
"""Pixels of a cosmic ray at the most."""
_FAR = 5.0
"""Times the distance of the highest 1 % of the pixels from the median."""
_BRIGHT_RIM = 0.5
"""Part of the pixels around it that may be as bright as the highest 1 %."""
_DRIFT_PIXELS = 31
"""Edge of the square in which another exposure may show the same bright grain, or the same dark hole."""
_SAMPLES = 100_000
_SHOWN = 0.5
"""Part of the pixels of a zone in which another exposure must differ: that none of them does in the exposure
itself by chance is then less likely than one in 10^15."""
_SAME_HOLE = 0.5
"""Part of a zone that another exposure has in zones near it, at the least, if both are one hole."""


def find_lost_pixels(exposures: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where an exposure holds one value, its lowest or padding, and another does not; hot lines, cosmic rays.

    What is dark in all of them, as an aperture or a hole that drift has moved, is no loss; nor are single
    dark pixels. Hot lines are thin, and at the highest value. A cosmic ray is a few pixels wide, many times
    as far from the median as 1 % of the pixels are, and alone: no other exposure has such pixels near there,
    where drift may have moved a bright grain.

    Parameters
    ----------
    exposures : (R, X, Y, Z, C) float array
        As they were stored, before any alignment.

    Returns
    -------
    lost : (R, X, Y, Z) bool array
    """
    lost = _find_rays(exposures)
    for extreme, zones_of in ((np.min, _zones_of), (np.max, _lines_of)):
        at_end = (exposures == extreme(exposures, axis=(1, 2), keepdims=True)).all(axis=-1)
        lost |= _lost_at_end(at_end, zones_of)
    return lost | _find_padding(exposures)


def _find_padding(exposures: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(R, X, Y, Z) what was filled with one value, whichever, from a border on, and others show.

    As by programs that align images: with zero, white, or the mean of the image.
    """
    padded = np.zeros(exposures.shape[:4], bool)
    for index, plane in np.ndindex(padded.shape[0], padded.shape[3]):
        padded[index, :, :, plane] = _of_one_value(exposures[index, :, :, plane])
    lost = np.zeros_like(padded)
    for index, plane in np.ndindex(padded.shape[0], padded.shape[3]):
        own = padded[index, :, :, plane]
        if own.any():
            others = np.delete(exposures[..., plane, :], index, axis=0)
            alike = (others == exposures[index, :, :, plane]).all(axis=-1)
            lost[index, :, :, plane] = _lost_zones(own, alike, np.delete(padded[..., plane], index, axis=0))
    return lost


def _of_one_value(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(X, Y) whole lines of one value at the borders of an (X, Y, C) image, and wide zones that touch one.

    What is saturated, or black, is so for a reason of its own where no whole line is.
    """
    size = (_WINDOW, _WINDOW, 1)
    even = (ndimage.maximum_filter(image, size) == ndimage.minimum_filter(image, size)).all(axis=-1)
    inner = (image > image.min(axis=(0, 1))) & (image < image.max(axis=(0, 1)))
    zones = ndimage.binary_dilation(even, np.ones((_WINDOW, _WINDOW))) & inner.all(axis=-1)
    labels, _ = ndimage.label(zones)
    edges = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    zones &= np.isin(labels, np.concatenate(edges))
    for axis in (0, 1):
        is_line = (np.ptp(image, axis=1 - axis) == 0).all(axis=-1)
        from_border = np.logical_and.accumulate(is_line) | np.logical_and.accumulate(is_line[::-1])[::-1]
        zones |= np.expand_dims(from_border, 1 - axis)
    return zones


def _lost_at_end(
    at_end: NDArray[np.bool_], zones_of: Callable[[NDArray[np.bool_]], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """(R, X, Y, Z) zones of an exposure at its lowest or highest value that others do not have."""
    zones, lost = np.zeros_like(at_end), np.zeros_like(at_end)
    for index, plane in np.ndindex(at_end.shape[0], at_end.shape[3]):
        here = at_end[index, :, :, plane]
        if np.count_nonzero(here) >= _LEAST_PIXELS:
            zones[index, :, :, plane] = zones_of(here)
    for index, plane in np.ndindex(at_end.shape[0], at_end.shape[3]):
        own = zones[index, :, :, plane]
        if own.any():
            others = [np.delete(of_all[..., plane], index, axis=0) for of_all in (at_end, zones)]
            lost[index, :, :, plane] = _lost_zones(own, *others)
    return lost


def _zones_of(dark: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(X, Y) parts of what is dark that are as wide as a square, or long lines of a row or column."""
    zones = ndimage.binary_opening(dark, np.ones((_WINDOW, _WINDOW)))
    for axis, edge in enumerate(dark.shape):
        length = min(edge, _LEAST_PIXELS)
        inner = ndimage.minimum_filter1d(dark, length, axis, mode="constant")
        # Of an even length the middle lies off by one: what was drawn in is spread the other way.
        zones |= ndimage.maximum_filter1d(inner, length, axis, mode="constant", origin=-(1 - length % 2))
    return zones


def _lines_of(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(X, Y) thin lines of what is bright: what is wide was saturated by light."""
    wide = ndimage.binary_opening(bright, np.ones((_WINDOW, _WINDOW)))
    return _zones_of(bright & ~near_any(wide))


def _lost_zones(
    zones: NDArray[np.bool_], others_dark: NDArray[np.bool_], others_zones: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(X, Y) zones of an exposure where another one, (R - 1, X, Y), shows something, and has no such hole."""
    labels, n_zones = ndimage.label(zones)
    sizes = np.bincount(labels.ravel(), minlength=n_zones + 1)
    shown = np.zeros(n_zones + 1)
    for dark in others_dark:
        n_bright = np.bincount(labels.ravel(), weights=~dark.ravel())
        shown = np.maximum(shown, n_bright / np.maximum(sizes, 1))
    is_lost = (shown > _SHOWN) & (sizes >= _LEAST_PIXELS)
    is_lost[0] = False
    boxes = ndimage.find_objects(labels)
    for zone in np.flatnonzero(is_lost):
        is_lost[zone] = not _has_drifted(boxes[zone - 1], sizes[zone], others_zones)
    return is_lost[labels]


def _has_drifted(box: tuple[slice, slice], size: int, others_zones: NDArray[np.bool_]) -> bool:
    """Whether another exposure has a hole near a zone that may be the same; no line is such a hole."""
    if any(part.stop - part.start == edge for part, edge in zip(box, others_zones.shape[1:], strict=True)):
        return False
    reach = _DRIFT_PIXELS // 2
    near = tuple(slice(max(0, part.start - reach), part.stop + reach) for part in box)
    return bool((others_zones[:, *near].sum(axis=(1, 2)) >= _SAME_HOLE * size).any())


def _find_rays(exposures: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(R, X, Y, Z) whether a pixel, or one beside it, was hit in one exposure alone."""
    far, bright = np.stack(
        [[_is_above(exposure, times) for times in (_FAR, 1.0)] for exposure in exposures], 1
    )
    hit = np.zeros_like(far)
    if len(exposures) < 2:
        return hit
    for index, plane in np.ndindex(far.shape[0], far.shape[3]):
        here = far[index, :, :, plane]
        if not here.any():
            continue
        elsewhere = np.delete(far[..., plane], index, axis=0).any(axis=0)
        near = ndimage.maximum_filter(elsewhere, _DRIFT_PIXELS) if elsewhere.any() else elsewhere
        labels, _ = ndimage.label(here, np.ones((3, 3)))
        is_ray = np.bincount(labels.ravel()) <= _MOST_HIT
        is_ray[np.unique(labels[near])] = False
        # Light of a grain that optics have spread: what is around is bright, too.
        rim = ndimage.grey_dilation(labels, size=(3, 3)) * (labels == 0)
        n_rim, n_bright = (
            np.bincount(rim.ravel(), weights=weights, minlength=len(is_ray))
            for weights in (None, bright[index, :, :, plane].ravel())
        )
        is_ray &= n_bright < _BRIGHT_RIM * n_rim
        is_ray[0] = False
        hit[index, :, :, plane] = near_any(is_ray[labels])
    return hit


def _is_above(exposure: NDArray[np.float32], times: float) -> NDArray[np.bool_]:
    """(X, Y, Z) where a channel is so many times as far from its median as its highest 1 %.

    Nowhere, where these are no higher than the median, as of few counts.
    """
    values = exposure.reshape(-1, exposure.shape[-1])
    middle, high = np.percentile(values[:: max(1, len(values) // _SAMPLES)], (50, 99), axis=0)
    limit = np.where(high > middle, middle + times * (high - middle), np.inf)
    return (exposure > limit.astype(np.float32)).any(axis=-1)


def fill_lost_pixels(exposures: NDArray[np.float32], lost: NDArray[np.bool_]) -> None:
    """Give lost pixels the value of the nearest that was measured, so that no edge is left; in place."""
    for index, plane in np.ndindex(lost.shape[0], lost.shape[3]):
        here = lost[index, :, :, plane]
        if here.any() and not here.all():
            nearest = ndimage.distance_transform_edt(here, return_distances=False, return_indices=True)
            exposures[index, :, :, plane] = exposures[index, :, :, plane][tuple(nearest)]
