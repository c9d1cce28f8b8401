"""Correlation of two aligned images, and the contrast-to-noise by which the reference is chosen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.noise.estimate import single_image_noise_sd
from n2a_bids.algorithms.normalization import Mask, MaskedSmoother, Volume
from n2a_bids.algorithms.registration.noise_attenuation import without_attenuation


def contrast_to_noise(image: Volume, mask: Mask) -> float:
    """SD of the tissue contrast inside the brain over the SD of the noise.

    Parameters
    ----------
    image : (X, Y, Z) float array
        Not interpolated: the noise estimate assumes white noise.
    mask : (X, Y, Z) bool array
        Brain mask.

    Returns
    -------
    ratio : float
        0 where the image is constant inside the mask.
    """
    contrast = float(MaskedSmoother(mask, 1.5).in_mask(image).std())
    noise_sd = single_image_noise_sd(image, mask)
    return contrast / max(noise_sd, 1e-3 * contrast) if contrast > 0 else 0.0


NO_NOISE = (0.0, 0.0)
"""Variances of images whose noise is not known: their correlation is what is measured."""


def smooth_correlation(
    first: Volume,
    second: Volume,
    mask: Mask,
    sd_voxels: float = 2.0,
    noise_variances: tuple[float, float] = NO_NOISE,
) -> float:
    """Correlation inside the mask of two smoothed images.

    Parameters
    ----------
    first, second : (X, Y, Z) float arrays
        On one grid.
    mask : (X, Y, Z) bool array
    sd_voxels : float
        SD of the Gaussian kernel.
    noise_variances : tuple of two floats
        Of the noise that smoothing leaves in each (`filtered_noise_variance`): what it takes from the
        correlation is given back.

    Returns
    -------
    correlation : float
        -1 to 1; 0 where an image is constant.
    """
    smooth = MaskedSmoother(mask, sd_voxels)
    return _correlation(smooth.in_mask(first), smooth.in_mask(second), noise_variances)


def structure_correlation(
    first: Volume,
    second: Volume,
    mask: Mask,
    sd_voxels: tuple[float, float] = (1.2, 3.0),
    noise_variances: tuple[float, float] = NO_NOISE,
) -> float:
    """Correlation of gyral detail: what is alike in two scans of one brain, and not in two brains.

    Both images are reduced to the band between two Gaussian scales, inside the mask and away from its
    border, which all brains share.

    Parameters
    ----------
    first, second : (X, Y, Z) float arrays
        Aligned, on one grid.
    mask : (X, Y, Z) bool array
    sd_voxels : tuple of float
        Fine and coarse scale; choose about 1.2 and 3 mm.
    noise_variances : tuple of two floats
        Of the noise in that band of each: as for `smooth_correlation`.

    Returns
    -------
    correlation : float
        -1 to 1; 0 where an image is constant.
    """
    inner = ndimage.binary_erosion(mask, iterations=max(1, round(2 * sd_voxels[0])))
    kept = inner[mask] if inner.any() else slice(None)
    fine, coarse = (MaskedSmoother(mask, sd) for sd in sd_voxels)
    bands = [(fine.in_mask(image) - coarse.in_mask(image))[kept] for image in (first, second)]
    return _correlation(*bands, noise_variances)


def _correlation(
    first: NDArray[np.floating], second: NDArray[np.floating], noise_variances: tuple[float, float]
) -> float:
    first, second = first.astype(np.float64), second.astype(np.float64)
    first, second = first - first.mean(), second - second.mean()
    variances = (float((first**2).mean()), float((second**2).mean()))
    scale = np.sqrt(variances[0] * variances[1])
    if not scale > 0:
        return 0.0
    return without_attenuation(float((first * second).mean() / scale), variances, noise_variances)
