"""Finds hot pixels of a camera, and whole columns and rows that are unlike those beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.micrographs.drift import Drift

_LEAST_DRIFT_PIXELS = 1.5
"""Between two exposures: nearer, a bright grain of the specimen could be the same pixel."""
_FAR = 5.0
"""SDs of what is around, above its mean, that a hot pixel is in every exposure."""
_AROUND = 11
_MOST_SPREAD = 0.3
"""Of the excess of a pixel in that of the eight beside it: optics spread a grain, a sensor nothing."""
_BEYOND_CHANCE = 10.0
"""Times the number of places at which exposures of a few counts have single bright pixels by chance."""
_MOST_PART = 0.01
"""Of the pixels: more are a lattice of the specimen that has drifted by its period."""
_SEGMENTS, _SHORTEST_SEGMENT = 8, 8
"""In each of which, of so many pixels at the least, a line of the camera differs from those beside it, by"""
_UNLIKE = 2.0
"""SDs of the same difference of all lines."""
_BESIDE, _WIDEST = 4, 3
"""Lines on each side that one is compared with, and neighbours that may be broken together. Of what lies that
near to a border nothing is known: scanners and programs leave lines of their own there."""
_SHARP = 0.25
"""Of the difference of a line in that of the next one that is sound: optics spread a line of the specimen."""
_DRAWN = 0.5
"""Part of the pixels that are the same in all exposures, of a line that was not measured."""
_MOST_LINES = 0.02
"""Of the lines: more are a pattern."""


def find_hot_pixels(exposures: NDArray[np.float32], drift: Drift) -> NDArray[np.bool_]:
    """Where every exposure has a single bright pixel at the same place as it was stored.

    What belongs to the specimen drifts with it: it is found, moved, in the other exposures, and stays.

    Parameters
    ----------
    exposures : (R, X, Y, Z, C) float array
        As they were stored, before any alignment.
    drift : Drift
        Of the specimen.

    Returns
    -------
    hot : (X, Y, Z) bool array
        Nothing where the specimen moved by less than 1.5 pixels.
    """
    hot = np.zeros(exposures.shape[1:4], bool)
    steps = drift.shift_pixels - drift.shift_pixels[0]
    moved = int(np.argmax(np.hypot(*steps.T)))
    if np.hypot(*steps[moved]) < _LEAST_DRIFT_PIXELS:
        return hot
    for plane in range(hot.shape[2]):
        far = [_any_stands_out(exposure) for exposure in exposures[..., plane, :]]
        stays = np.logical_and.reduce(far)
        by_chance = stays.size * np.prod([one.mean() for one in far])
        if np.count_nonzero(stays) > _BEYOND_CHANCE * by_chance:
            hot[..., plane] = stays & ~_came_along(stays, far[moved], steps[moved])
    return hot if hot.mean() <= _MOST_PART else np.zeros_like(hot)


def _any_stands_out(exposure: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(X, Y) single pixels far above what is around them in a channel of an exposure, (X, Y, C)."""
    return np.any([single_bright_pixels(channel) for channel in np.moveaxis(exposure, -1, 0)], axis=0)


def single_bright_pixels(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(X, Y) single pixels far above what is around them."""
    mean = ndimage.uniform_filter(image, _AROUND)
    variance = ndimage.uniform_filter(np.square(image), _AROUND) - np.square(mean)
    excess = image - mean
    beside = (9 * ndimage.uniform_filter(image, 3) - image) / 8 - mean
    return (
        (excess > _FAR * np.sqrt(np.maximum(variance, 0))) & (beside < _MOST_SPREAD * excess) & (excess > 0)
    )


def _came_along(
    stays: NDArray[np.bool_], grains: NDArray[np.bool_], step: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which of these pixels another exposure shows where the drift has brought them, to one pixel."""
    near = ndimage.binary_dilation(grains, np.ones((3, 3)))
    places = np.argwhere(stays)
    there = np.round(places + step).astype(int)
    inside = ((there >= 0) & (there < stays.shape)).all(axis=1)
    found = np.zeros_like(stays)
    kept, there = places[inside], there[inside]
    found[tuple(kept.T)] = near[tuple(there.T)]
    return found


def find_camera_lines(exposures: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Columns and rows that are brighter or darker than those beside them, at one place in all exposures.

    From one border to the other, and sharp: a specimen hardly shows such a line, whether it drifts or not.

    Parameters
    ----------
    exposures : (R, X, Y, Z, C) float array
        As they were stored, before any alignment.

    Returns
    -------
    lines : (X, Y, Z) bool array
    """
    found = np.zeros(exposures.shape[1:4], bool)
    for plane, channel in np.ndindex(exposures.shape[3:]):
        images = exposures[..., plane, channel]
        for axis in (0, 1):
            unlike = _unlike_lines(np.moveaxis(images, axis + 1, 1))
            found[..., plane] |= np.expand_dims(unlike, 1 - axis)
    return found


def _unlike_lines(images: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(X,) lines of (R, X, Y) images that differ from those beside them all along, in all images alike."""
    n_lines, length = images.shape[1:]
    none = np.zeros(n_lines, bool)
    if length < _SEGMENTS * _SHORTEST_SEGMENT or n_lines <= 2 * _BESIDE:
        return none
    stays = np.ones(n_lines, bool)
    total = np.zeros(n_lines)
    for image in images:
        segments = np.stack([part.mean(axis=1) for part in np.array_split(image, _SEGMENTS, axis=1)], axis=1)
        excess = segments - _of_lines_beside(segments)
        spread = 1.4826 * np.median(np.abs(excess), axis=0)
        is_bright, is_dark = excess > _UNLIKE * spread, excess < -_UNLIKE * spread
        stays &= is_bright.all(axis=1) | is_dark.all(axis=1)
        total += excess.mean(axis=1)
    # In a data bar, where nothing is measured, lines are drawn.
    is_drawn = (images == images[0]).all(axis=0).mean(axis=1) > _DRAWN
    beside = ndimage.minimum_filter1d(is_drawn, 2 * _WIDEST + 1)
    unlike = stays & _ends_sharply(stays, np.abs(total)) & ~beside
    return unlike if unlike.mean() <= _MOST_LINES else none


def _of_lines_beside(segments: NDArray[np.float32]) -> NDArray[np.float32]:
    """(X, S) median of the lines on each side of each of (X, S)."""
    # Beyond a border lie the lines inside of it once more.
    padded = np.pad(segments, ((_BESIDE, _BESIDE), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _BESIDE + 1, axis=0)
    return np.median(np.delete(windows, _BESIDE, axis=2), axis=2)


def _ends_sharply(stays: NDArray[np.bool_], excess: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(X,) lines of groups that are narrow, beside which the next sound line differs by next to nothing."""
    labels, _ = ndimage.label(stays)
    sharp = np.zeros_like(stays)
    for (part,) in ndimage.find_objects(labels):
        is_inside = part.start >= _BESIDE and part.stop <= len(stays) - _BESIDE
        if is_inside and part.stop - part.start <= _WIDEST:
            sharp[part] = excess[[part.start - 1, part.stop]].max() < _SHARP * excess[part].min()
    return sharp
