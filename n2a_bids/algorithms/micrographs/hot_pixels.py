"""Finds hot pixels of a camera: bright at one place of all exposures, while the specimen drifts."""

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
