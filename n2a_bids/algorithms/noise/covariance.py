"""Noise covariance of neighbouring voxels (coloured noise): noise drawn from it, and what filters leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import fft

LARGEST_LAG = 4
"""Voxels between neighbours that are compared: what patches of five voxels need."""

FAR_LAG = 16
"""The same along the axes alone."""

_WHITE = 0.05
"""Correlation of neighbours up to which noise counts as white: interpolation by a Lanczos or quintic kernel
leaves as much in the mean of two repetitions, and zero-filling by a tenth 0.1."""

_STANDARD_ERRORS = 4.0
"""By which a correlation must differ from that of white noise."""


@dataclass(frozen=True)
class NoiseCovariance:
    """Correlation of the noise of voxels a few voxels apart, the same all over the image.

    The SD may vary in space: the noise is taken over its local SD first.

    Examples
    --------
    >>> white_noise().fwhm_voxels
    (1.0, 1.0, 1.0)
    """

    correlation: NDArray[np.float64]
    """(2 L + 1, 2 L + 1, 2 L + 1) by distance in voxels; 1 in the centre, symmetric."""
    along_axes: NDArray[np.float64]
    """(3, M + 1) correlation at 0 to M voxels along each axis."""
    standard_error: float
    """Of a correlation, from the spread between blocks."""

    @cached_property
    def is_white(self) -> bool:
        """Whether no neighbour is alike beyond measurement, or beyond what matters."""
        others = np.abs(self.correlation)
        others[(LARGEST_LAG,) * 3] = 0
        limit = max(_WHITE, _STANDARD_ERRORS * self.standard_error)
        return bool(others.max() < limit)

    @cached_property
    def fwhm_voxels(self) -> tuple[float, float, float]:
        """Full width at half maximum along each axis of the kernel that makes white noise as smooth.

        1 for white noise, 1.7 for an axis that was zero-filled by half, 2.4 by as much again.
        """
        x, y, z = (_kernel_fwhm(row) for row in self.along_axes)
        return x, y, z

    def patch_correlation(self, edge: int, exponent: float = 1.0) -> NDArray[np.float64]:
        """(edge**3, edge**3) correlation of the noise within a cube of voxels, in the order of `ravel`.

        Positive definite: where voxels determine each other (zero-filling), a little white noise is added.

        Parameters
        ----------
        edge : int
            Voxels, at most `LARGEST_LAG` + 1.
        exponent : float
            Of the matrix: below 1 neighbours are less alike than was measured (0: not at all), above it more.
        """
        if not 1 <= edge <= LARGEST_LAG + 1:
            raise ValueError(f"expected an edge of 1 to {LARGEST_LAG + 1} voxels, found {edge}")
        offsets = np.array(list(product(range(edge), repeat=3)))
        lags = offsets[:, None] - offsets[None] + LARGEST_LAG
        found = self.correlation[lags[..., 0], lags[..., 1], lags[..., 2]]
        values, vectors = np.linalg.eigh(found)
        matrix = (vectors * np.maximum(values, _LEAST_EIGENVALUE) ** exponent) @ vectors.T
        return matrix / matrix.diagonal().mean()


_LEAST_EIGENVALUE = 0.01
"""Of a correlation matrix, whose eigenvalues have the mean 1: no noise is known better than to a tenth."""


def white_noise() -> NoiseCovariance:
    """Noise whose neighbours have nothing in common."""
    edge = 2 * LARGEST_LAG + 1
    correlation = np.zeros((edge,) * 3)
    correlation[(LARGEST_LAG,) * 3] = 1
    return NoiseCovariance(correlation, np.eye(1, FAR_LAG + 1).repeat(3, axis=0), 0.0)


def covariance_from_power(power: NDArray[np.float64]) -> NoiseCovariance:
    """Covariance of noise whose power spectrum is known.

    Parameters
    ----------
    power : (X, Y, Z) float array
        In the order of `numpy.fft.fftfreq`, any unit; at least 34 frequencies along each axis.

    Returns
    -------
    covariance : NoiseCovariance
        Its standard error is 0.
    """
    full = np.fft.ifftn(power).real
    full /= full[0, 0, 0]
    near = np.arange(-LARGEST_LAG, LARGEST_LAG + 1)
    far = np.arange(FAR_LAG + 1)
    along_axes = np.stack([full[far, 0, 0], full[0, far, 0], full[0, 0, far]])
    return NoiseCovariance(full[np.ix_(near, near, near)], along_axes, 0.0)


def covariance_of_axes(rows: NDArray[np.float64], standard_error: float) -> NoiseCovariance:
    """Covariance that is a product over axes.

    Parameters
    ----------
    rows : (3, L + 1) float array
        Correlation at 0 to `LARGEST_LAG` voxels along each axis.
    standard_error : float
    """
    x, y, z = (np.concatenate([row[:0:-1], row]) for row in rows)
    along_axes = np.pad(rows, [(0, 0), (0, FAR_LAG - LARGEST_LAG)])
    return NoiseCovariance(x[:, None, None] * y[:, None] * z, along_axes, standard_error)


def fill_with_zeros(covariance: NoiseCovariance, parts: Sequence[float]) -> NoiseCovariance:
    """Covariance of noise on a finer grid, after its k-space was filled with zeros.

    Parameters
    ----------
    covariance : NoiseCovariance
        On the acquired matrix; taken for a product over axes.
    parts : three floats
        Acquired over stored matrix along each axis, at most 1.

    Examples
    --------
    >>> fill_with_zeros(white_noise(), (0.5, 1, 1)).along_axes[:, 1].round(2).tolist()
    [0.64, 0.0, 0.0]
    """
    phase = 2 * np.pi * np.outer(np.arange(LARGEST_LAG + 1), (np.arange(256) + 0.5) / 512)
    rows = []
    for row, part in zip(covariance.along_axes[:, : LARGEST_LAG + 1], parts, strict=True):
        power = np.maximum(row[0] + 2 * row[1:] @ np.cos(phase[1:]), 0)
        rows.append(np.cos(part * phase) @ power / power.sum())
    return covariance_of_axes(np.stack(rows), covariance.standard_error)


def _kernel_fwhm(correlation: NDArray[np.float64]) -> float:
    """FWHM in voxels of the kernel whose own correlation at 0, 1, ... voxels is given."""
    rounded = np.where(np.abs(correlation) < 0.02, 0, correlation)
    full = np.concatenate([rounded, np.zeros(8 * len(rounded)), rounded[:0:-1]])
    spectrum = np.maximum(np.fft.rfft(full).real, 0)
    kernel = np.fft.irfft(np.sqrt(spectrum), len(full))[: len(correlation)]
    below = np.flatnonzero(kernel < kernel[0] / 2)
    if not below.size:
        return 2.0 * len(kernel)
    first = int(below[0])
    above = kernel[first - 1]
    return float(2 * (first - 1 + (above - kernel[0] / 2) / (above - kernel[first])))


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


def draw_noise(
    noise_sd: NDArray[np.float32], covariance: NoiseCovariance | None, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw noise of an SD that may vary in space, as alike between neighbours as a covariance says.

    Parameters
    ----------
    noise_sd : (X, Y, Z) float32 array
    covariance : NoiseCovariance or None
        None for white noise.
    rng : Generator
    """
    drawn = rng.standard_normal(noise_sd.shape, np.float32)
    return (drawn if covariance is None else colour_noise(drawn, covariance)) * noise_sd


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
