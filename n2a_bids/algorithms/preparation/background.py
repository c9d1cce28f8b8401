"""Noisy background of MP2RAGE ratio images (UNIT1): air of the full intensity range, found and emptied.

The uniform image of MP2RAGE is a ratio of two images. Where neither has signal it can have any value, so that
its air is far noisier than its tissue, and no darker. Such air tells nothing of the noise in the brain, and
there is nothing in it to denoise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.normalization import Mask, Volume

_TIMES_AS_NOISY = 3.0
"""Noise SD over that of the brain. In magnitudes the air is quieter than the brain (0.65), and coil arrays
make the noise of one head vary by up to 2; the air of a UNIT1 has 5 to 20 times the noise of its tissue."""
_WINDOW_VOXELS = 5
_LEAST_PART = 0.02
"""Of the volume: less is a vessel that pulsates, or an eye that moved."""
_LAG_VOXELS = 2
_MOST_ALIKE = 0.2
"""Correlation of voxels two apart in it: near 0 for noise, interpolated or not, 0.6 and more in anatomy."""
_UNIFORM_PART = 0.5
"""Of the SD of noise that is uniform over the range of intensities: single images are judged by that."""
_ROOT_OF_NOISE = 0.822
"""Mean root of the size of Gaussian noise of SD 1."""


def find_noisy_background(images: NDArray[np.float32], mask: Mask) -> Mask | None:
    """Where repetitions differ by several times the noise of the brain, and show no structure.

    Parameters
    ----------
    images : (R, X, Y, Z) float array
        Aligned repetitions in one intensity scale, R >= 2.
    mask : (X, Y, Z) bool array
        Brain mask: never part of the background.

    Returns
    -------
    background : (X, Y, Z) bool array or None
        None where there is none, as in all magnitude images.
    """
    power = np.zeros(mask.shape, np.float32)
    for image in images - images.mean(axis=0):
        power += ndimage.uniform_filter(image * image, _WINDOW_VOXELS)
    brain = float(np.median(power[mask]))
    noisy = (power > _TIMES_AS_NOISY**2 * brain) & ~mask
    # Windows that reach from the air into the head are noisy, too.
    air = ndimage.binary_erosion(noisy, iterations=_WINDOW_VOXELS // 2)
    if air.mean() < _LEAST_PART:
        return None
    # A neck or a jaw that lies elsewhere differs as much, but shows anatomy.
    if max(_likeness(image, air) for image in images) > _MOST_ALIKE:
        return None
    return ndimage.binary_dilation(air, iterations=_WINDOW_VOXELS // 2) & ~mask


def _likeness(image: Volume, where: Mask) -> float:
    """Correlation of voxels a little apart, mean over the axes."""
    found = []
    for axis in range(3):
        both = where & np.roll(where, _LAG_VOXELS, axis)
        found.append(np.corrcoef(image[both], np.roll(image, _LAG_VOXELS, axis)[both])[0, 1])
    return float(np.mean(found))


def without_noisy_background(image: Volume) -> Volume:
    """A single ratio image with its noisy air at the lowest intensity, as a magnitude image would have it.

    Parameters
    ----------
    image : (X, Y, Z) float array
        UNIT1, in any unit. Not modified.

    Returns
    -------
    cleaned : (X, Y, Z) float32 array
        The same values where the noise is not that of the whole range of intensities.
    """
    low, high = np.percentile(image, [0.5, 99.5])
    values = np.asarray(image, np.float32)
    detail = values
    for axis in range(3):
        detail = np.diff(detail, axis=axis, append=detail.take([-1], axis)) / np.float32(np.sqrt(2))
    # Roots, so that single edges count for little where noise is everywhere.
    typical = (ndimage.uniform_filter(np.sqrt(np.abs(detail)), _WINDOW_VOXELS) / _ROOT_OF_NOISE) ** 2
    uniform_sd = (high - low) / np.sqrt(12)
    noisy = ndimage.binary_opening(typical > _UNIFORM_PART * uniform_sd, iterations=2)
    return np.where(noisy, np.float32(low), values)
