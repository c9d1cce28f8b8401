"""Finds the air around the head, and measures the noise floor of magnitudes in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.constant_places import find_constant, near_any
from n2a_bids.algorithms.masked_filters import blur_in_mask
from n2a_bids.algorithms.normalization import Mask, Volume

_LEAST_AIR = 500
"""Voxels without which the air says nothing."""

_LARGEST_PILE, _BEYOND_NEXT = 0.25, 3.0
"""Part of the air at its smallest value, and times the part at the next one. Of noise around zero that was
cut off at zero, half of the air is there; of magnitudes few, or, in coarse steps, many at the next value,
too."""

_AIR_DISTANCE = 3
"""Voxels between the brain and what may be air."""


@dataclass(frozen=True, slots=True)
class Magnitude:
    """Evidence that intensities are magnitudes with a noise floor."""

    zero_level: float
    """Intensity of zero signal without noise."""
    air_noise_sd: float
    """Noise SD that the air outside the head shows."""
    asymmetry: float
    """Upper over lower half of the air's spread: 1.26 for Rayleigh noise, 1 for Gaussian noise;
    interpolation takes it down to 1 and leaves the rest."""
    n_coils: float = 1.0
    """Effective number of coils that were combined by the root sum of squares; 1 is Rician noise."""


def possible_air(images: NDArray[np.float32], mask: Mask, shared: Mask | None = None) -> Mask:
    """Voxels away from the brain that noise reaches, as those do not that were filled or masked.

    Parameters
    ----------
    images, mask, shared
        As in `find_air`.

    Returns
    -------
    measured : (X, Y, Z) bool array
        Empty where fewer than 500 voxels qualify.
    """
    measured = ~ndimage.binary_dilation(mask, iterations=_AIR_DISTANCE)
    if shared is not None:
        measured &= shared
    for image in images:
        measured &= ~near_any(find_constant(image))
    return measured if measured.sum() >= _LEAST_AIR else np.zeros_like(mask)


def find_air(images: NDArray[np.float32], mask: Mask, noise_sd: float, shared: Mask | None = None) -> Mask:
    """Voxels that show noise alone: the darkest plateau around the brain.

    The darkest places of the smoothed average give the level of the air, and
    all within a quarter of the noise SD of it are air; skull, dura and ghosts
    lie above. Places that no noise reaches (filled or masked by the scanner,
    or a face that was removed) do not count.

    Parameters
    ----------
    images : (R, X, Y, Z) float array
        Aligned repetitions in one intensity scale.
    mask : (X, Y, Z) bool array
        Brain mask.
    noise_sd : float
        Noise SD of one repetition in the brain.
    shared : (X, Y, Z) bool array, optional
        Where all repetitions were measured; everywhere by default.

    Returns
    -------
    air : (X, Y, Z) bool array
        Empty where fewer than 500 voxels qualify.
    """
    return darkest_plateau(images, possible_air(images, mask, shared), noise_sd)


def darkest_plateau(images: NDArray[np.float32], possible: Mask, noise_sd: float) -> Mask:
    """Find the air around the head among voxels that may be air; none where it is no plateau of darkness."""
    if not possible.any():
        return possible
    smooth = blur_in_mask(images.mean(axis=0), possible, 1.5)
    darkest = np.partition(smooth[possible], _LEAST_AIR - 1)[:_LEAST_AIR]
    air = possible & (smooth < np.median(darkest) + 0.25 * noise_sd)
    return air if air.sum() >= _LEAST_AIR else np.zeros_like(air)


def find_magnitude(image: Volume, air: Mask) -> Magnitude | None:
    """Zero level of a magnitude image from the air around the head.

    Air of a single-channel magnitude image is Rayleigh distributed: mean
    1.253 sigma above zero, SD 0.655 sigma (Gudbjartsson and Patz, 1995). Both
    are read from the data, so an offset added to the image moves the zero
    level along.

    Parameters
    ----------
    image : (X, Y, Z) float array
        One repetition, not an average.
    air : (X, Y, Z) bool array
        Voxels of noise alone.

    Returns
    -------
    magnitude : Magnitude or None
        ``None`` where there is no air, or no noise in it, or where that was cut off at one value: noise
        around zero, of which the negative half became zero, is that of no magnitude.
    """
    if not air.any():
        return None
    values = image[air].astype(np.float64)
    if is_cut_off(values):
        return None
    low, middle, high = np.percentile(values, [15.87, 50, 84.13])
    # A Rayleigh variable has percentiles 0.588, 1.177 and 1.919 sigma at these points.
    sigma = (high - low) / 1.331
    if not sigma > 1e-6 * max(abs(high), 1e-30):
        return None
    return Magnitude(
        zero_level=float(middle - 1.1774 * sigma),
        air_noise_sd=float(sigma),
        asymmetry=float((high - middle) / max(middle - low, np.finfo(float).tiny)),
    )


def is_cut_off(values: NDArray[np.floating]) -> bool:
    """Whether noise was cut off: much of the air has the smallest value, and little the next one."""
    smallest = values.min()
    n_smallest, rest = np.count_nonzero(values == smallest), values[values > smallest]
    if n_smallest <= _LARGEST_PILE * values.size or not rest.size:
        return False
    return n_smallest > _BEYOND_NEXT * np.count_nonzero(rest == rest.min())
