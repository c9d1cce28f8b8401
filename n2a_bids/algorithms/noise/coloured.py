"""Noise whose neighbours are alike, drawn from white noise; and what filters leave of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from n2a_bids.algorithms.noise.covariance import NoiseCovariance


def colour_noise(white: NDArray[np.float32], covariance: NoiseCovariance) -> NDArray[np.float32]:
    """Turn white noise into noise of a covariance.

    Parameters
    ----------
    white : (X, Y, Z) or (X, Y, Z, C) float array
        That of volumes is independent.
    covariance : NoiseCovariance

    Returns
    -------
    noise : float32 array of the shape of `white`
        Of the same SD.
    """
    shape, edge = white.shape[:3], covariance.correlation.shape[0]
    grid = tuple(fft.next_fast_len(size + edge, real=True) for size in shape)
    gain = _frequency_gain(covariance, grid)
    noise = np.empty((*shape, white[0, 0, 0].size), np.float32)
    x, y, z = shape
    for number, volume in enumerate(np.moveaxis(white.reshape(noise.shape), -1, 0)):
        # Beyond the image stand values of the image itself, so that its ends are noise as any other.
        padded = np.pad(volume, [(0, long - size) for long, size in zip(grid, shape)], "wrap")
        noise[..., number] = fft.irfftn(fft.rfftn(padded) * gain, grid)[:x, :y, :z]
    return noise.reshape(white.shape)


def _frequency_gain(covariance: NoiseCovariance, grid: tuple[int, ...]) -> NDArray[np.float32]:
    """Factor on the half spectrum of a real image that keeps the variance of white noise."""
    edge = covariance.correlation.shape[0]
    kernel = np.zeros(grid)
    kernel[:edge, :edge, :edge] = covariance.correlation
    power = np.maximum(fft.fftn(np.roll(kernel, [-(edge // 2)] * 3, axis=(0, 1, 2))).real, 0)
    gain = np.sqrt(power / power.mean())
    return gain[..., : grid[2] // 2 + 1].astype(np.float32)


def detail_kept(covariance: NoiseCovariance, sd_voxels: float = 3.0) -> float:
    """SD of noise in the high-passed image over that of white noise of the same SD.

    Parameters
    ----------
    covariance : NoiseCovariance
    sd_voxels : float
        As for `noise.estimate.high_pass`.

    Examples
    --------
    >>> from n2a_bids.algorithms.noise.covariance import white_noise
    >>> detail_kept(white_noise())
    1.0
    """
    middle = covariance.correlation.shape[0] // 2
    distance = np.arange(-middle, middle + 1)
    blurs = []
    for sd in (sd_voxels, np.sqrt(2) * sd_voxels):
        line = np.exp(-(distance**2) / (2 * sd**2)) / (np.sqrt(2 * np.pi) * sd)
        blurs.append(line[:, None, None] * line[:, None] * line)
    # The variance of an image less its blur: its own, less twice what both share, and that of the blur.
    kernel = blurs[1] - 2 * blurs[0]
    coloured = 1 + (covariance.correlation * kernel).sum()
    return float(np.sqrt(max(coloured, 0.01) / (1 + kernel[middle, middle, middle])))
