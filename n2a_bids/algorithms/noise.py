"""Noise level of repetitions, in space and between repetitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.masked_filters import blur_in_mask
from n2a_bids.algorithms.normalization import Mask, MaskedSmoother, Volume

_LEAST_AIR = 500
"""Voxels without which the air says nothing."""

_AIR_DISTANCE = 3
"""Voxels between the brain and what may be air."""


def high_pass(image: Volume, sd_voxels: float = 3.0) -> Volume:
    """Image minus its Gaussian-smoothed self: takes out shading, keeps 99 % of white noise power."""
    return image - ndimage.gaussian_filter(image, sd_voxels, truncate=3)


def local_sd(values: Volume, mask: Mask, sd_voxels: float = 8.0, winsor: float = 3.5) -> Volume:
    """Map of the local standard deviation of a zero-mean image.

    Squares are capped at ``(winsor * SD)**2`` of a robust global SD, so that
    single structures (vessels, residual misalignment) do not raise the map.

    Parameters
    ----------
    values : (X, Y, Z) float array
        Zero-mean image, such as a difference of repetitions.
    mask : (X, Y, Z) bool array
        Voxels that count.
    sd_voxels : float
        SD of the Gaussian window.
    winsor : float
        Cap, in global SDs.

    Returns
    -------
    sd : (X, Y, Z) float32 array
        Positive everywhere; far from the mask, the global value.
    """
    spread = robust_sd(values[mask])
    squares = np.minimum(values.astype(np.float32) ** 2, (winsor * spread) ** 2)
    smooth = MaskedSmoother(mask, sd_voxels)
    variance = smooth(squares)
    reached = smooth(mask.astype(np.float32)) > 0
    floor = (0.05 * spread) ** 2
    return np.sqrt(np.where(reached, np.maximum(variance, floor), spread**2)).astype(np.float32)


def robust_sd(values: NDArray[np.floating]) -> float:
    """Standard deviation of a zero-mean Gaussian from the median of absolute values.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(0, 2, 100_000)
    >>> values[:1000] = 1e6
    >>> 1.98 < robust_sd(values) < 2.05
    True
    """
    return float(np.median(np.abs(values)) / 0.67449)


def difference_noise_sd(data: NDArray[np.float32], mask: Mask) -> Volume:
    """Noise SD map of one repetition, from the differences of repetitions.

    Parameters
    ----------
    data : (R, X, Y, Z) float array
        Aligned repetitions in one intensity scale, R >= 2.
    mask : (X, Y, Z) bool array
        Voxels that count (the whole head, say).

    Returns
    -------
    noise_sd : (X, Y, Z) float32 array
        Root mean square over repetitions of their noise SDs.
    """
    deviation = data - data.mean(axis=0)
    n_repetitions = data.shape[0]
    total = np.zeros(data.shape[1:], np.float32)
    for values in deviation:
        total += local_sd(high_pass(values), mask) ** 2
    return np.sqrt(total / (n_repetitions - 1)).astype(np.float32)


def repetition_noise_ratio(data: NDArray[np.float32], estimate: Volume, mask: Mask) -> NDArray[np.float64]:
    """Noise variance of each repetition over the mean of all.

    Parameters
    ----------
    data : (R, X, Y, Z) float array
        Repetitions in one intensity scale.
    estimate : (X, Y, Z) float array
        A denoised image in the same scale.
    mask : (X, Y, Z) bool array

    Returns
    -------
    ratio : (R,) float array
        Mean 1.
    """
    variance = np.array([robust_sd(high_pass(image - estimate)[mask]) ** 2 for image in data])
    return variance / variance.mean()


def single_image_noise_sd(image: Volume, mask: Mask) -> float:
    """Noise SD of one image from its finest diagonal Haar coefficients (Donoho's median rule).

    Assumes white noise: after interpolation the result is too low.
    """
    detail = image
    for axis in range(3):
        detail = np.diff(detail, axis=axis) / np.float32(np.sqrt(2))
    inner = ndimage.binary_erosion(mask)[1:, 1:, 1:]
    return robust_sd(detail[inner if inner.any() else mask[1:, 1:, 1:]])


@dataclass(frozen=True, slots=True)
class Magnitude:
    """Evidence that intensities are magnitudes with a Rician noise floor."""

    zero_level: float
    """Intensity of zero signal without noise."""
    air_noise_sd: float
    """Noise SD that the air outside the head shows."""
    asymmetry: float
    """Upper over lower half of the air's spread: 1.26 for Rayleigh noise, 1 for Gaussian noise;
    interpolation takes it down to 1 and leaves the rest."""


def find_air(images: NDArray[np.float32], mask: Mask, noise_sd: float) -> Mask:
    """Voxels that show noise alone: the darkest plateau around the brain.

    The darkest places of the smoothed average give the level of the air, and
    all within a quarter of the noise SD of it are air; skull, dura and ghosts
    lie above. Places that no noise reaches (filled or masked by the scanner)
    do not count.

    Parameters
    ----------
    images : (R, X, Y, Z) float array
        Aligned repetitions in one intensity scale.
    mask : (X, Y, Z) bool array
        Brain mask.
    noise_sd : float
        Noise SD of one repetition in the brain.

    Returns
    -------
    air : (X, Y, Z) bool array
        Empty where fewer than 500 voxels qualify.
    """
    measured = ~ndimage.binary_dilation(mask, iterations=_AIR_DISTANCE)
    for image in images:
        constant = ndimage.maximum_filter(image, 3) == ndimage.minimum_filter(image, 3)
        measured &= ~ndimage.maximum_filter(constant, 3)
    nothing = np.zeros_like(mask)
    if measured.sum() < _LEAST_AIR:
        return nothing
    smooth = blur_in_mask(images.mean(axis=0), measured, 1.5)
    darkest = np.partition(smooth[measured], _LEAST_AIR - 1)[:_LEAST_AIR]
    air = measured & (smooth < np.median(darkest) + 0.25 * noise_sd)
    return air if air.sum() >= _LEAST_AIR else nothing


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
        ``None`` where there is no air, or no noise in it.
    """
    if not air.any():
        return None
    values = image[air].astype(np.float64)
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
