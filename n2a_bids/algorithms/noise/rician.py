"""Rician formulas: bias and variance that noise gives magnitudes of one coil, and removal of that floor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ive

from n2a_bids.contrasts import B0_THRESHOLD

_SNR_TABLE = np.concatenate((np.linspace(0.0, 12.0, 4801), np.linspace(12.0, 100.0, 2201)[1:]))

_HIGHEST_SNR = 1e3
"""Past it two terms are exact to double precision, and the Bessel functions fail in the end."""

_FASTEST = 3.2e-3
"""Largest diffusivity that a signal may show, in mm2/s."""
_HIDDEN = 2.0
"""Noise SDs below which noise hides a signal."""
_UNDERSHOOTS = 1e-3
"""Part of the voxels of a brain that interpolation may make negative."""
_ENOUGH_VOXELS = 20_000
"""Voxels that settle a figure of the whole brain."""

_FEWEST_ITERATIONS, _MOST_ITERATIONS, _SCALE_TOLERANCE = 12, 60, 1e-4
"""The noise of complex images has settled where an iteration changes it by no larger part."""


def rician_mean(signal: NDArray, noise_sd: NDArray | float) -> NDArray[np.float64]:
    """Expectation of the magnitude of `signal` plus complex Gaussian noise.

    Parameters
    ----------
    signal : array
        True magnitude, any unit, not negative.
    noise_sd : array or float
        SD of the noise in each of the real and imaginary parts, same unit, positive.

    Returns
    -------
    mean : array
        At zero signal ``noise_sd * sqrt(pi / 2)``; `signal` plus half the noise variance over it when high.

    References
    ----------
    Koay and Basser, J Magn Reson 179 (2006), equation 5.

    Examples
    --------
    >>> rician_mean(np.array([0.0, 10.0]), 1.0).round(3)
    array([ 1.253, 10.05 ])
    """
    signal = np.asarray(signal, dtype=float)
    ratio = signal / noise_sd
    half = np.square(np.minimum(ratio, _HIGHEST_SNR)) / 4
    # The scaled Bessel functions carry the exponential of the Laguerre polynomial L_1/2.
    exact = np.sqrt(np.pi / 2) * noise_sd * ((1 + 2 * half) * ive(0, half) + 2 * half * ive(1, half))
    return np.where(ratio > _HIGHEST_SNR, signal + noise_sd / np.maximum(ratio, 1) / 2, exact)


def rician_bias(signal: NDArray, noise_sd: NDArray | float) -> NDArray[np.float32]:
    """What the magnitude adds to a signal: ``rician_mean(signal) - signal``, of no less than zero signal."""
    signal = np.maximum(signal, 0)
    return (rician_mean(signal, np.maximum(noise_sd, 1e-12)) - signal).astype(np.float32)


def rician_variance(signal: NDArray, noise_sd: NDArray | float) -> NDArray[np.float64]:
    """Variance of the magnitude: 0.429 of the noise variance at zero signal, all of it when high."""
    signal = np.asarray(signal, dtype=float)
    return np.maximum(signal**2 + 2 * np.square(noise_sd) - rician_mean(signal, noise_sd) ** 2, 0.0)


def noise_sd_of_moments(mean: float, variance: float) -> float:
    """SD of the complex noise from mean and variance of magnitudes of one signal.

    Parameters
    ----------
    mean, variance : float
        Of the magnitudes; a mean that noise alone would exceed bounds the noise.

    References
    ----------
    Koay and Basser, J Magn Reson 179 (2006).

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0, 1, (2, 100_000))
    >>> round(noise_sd_of_moments(*(lambda m: (m.mean(), m.var()))(np.hypot(1 + noise[0], noise[1]))), 1)
    1.0
    """
    means, variances = rician_mean(_SNR_TABLE, 1.0), rician_variance(_SNR_TABLE, 1.0)
    ratio = mean / np.sqrt(max(variance, np.finfo(float).tiny))
    of_variance = np.sqrt(variance / np.interp(ratio, means / np.sqrt(variances), variances))
    return float(min(of_variance, mean / means[0]))


def remove_noise_floor(mean: NDArray, noise_sd: NDArray | float) -> NDArray[np.float32]:
    """Signal whose noisy magnitude has the expectation `mean`.

    To be applied to *denoised* magnitudes, which estimate that expectation:
    on noisy data the curved inverse would add a bias of its own.

    Parameters
    ----------
    mean : array
        Denoised magnitude, any unit.
    noise_sd : array or float
        SD of the complex noise of one acquisition (not of an average), same unit; zero leaves
        `mean` as it is.

    Returns
    -------
    signal : array of float32
        Zero where `mean` is at or below the floor of ``1.2533 * noise_sd``.
    """
    mean = np.asarray(mean, dtype=float)
    sd = np.broadcast_to(np.asarray(noise_sd, dtype=float), mean.shape)
    ratio = np.divide(mean, sd, out=np.full(mean.shape, np.inf), where=sd > 0)
    table = rician_mean(_SNR_TABLE, 1.0)
    inside = np.interp(ratio, table, _SNR_TABLE)
    # Past the table the two-term expansion is exact to single precision.
    beyond = ratio >= table[-1]
    corrected = np.where(beyond, mean, inside * sd)
    return corrected.astype(np.float32)


def plausible_signal(
    signal: NDArray,
    b0: NDArray | None,
    bvals: NDArray[np.float64],
    noise_sd: NDArray,
    *,
    b0_threshold: float = B0_THRESHOLD,
) -> NDArray[np.float32]:
    """Raise signals that noise hides to what free water would give.

    Nothing diffuses faster than free water at body temperature (3.0e-3 mm2/s), so that a weighted signal
    below ``b0 * exp(-b * 3.2e-3)`` is noise: left alone, it would make the diffusivity of CSF soar. Signals
    that stand out of the noise are not raised: blood in capillaries, and CSF that flows, lose theirs faster
    than free water does (Le Bihan et al., Radiology 1988), and that is what was measured.

    Parameters
    ----------
    signal : (N, C) array
    b0 : (N,) array or None
        Signal without weighting; None leaves `signal` as it is.
    bvals : (C,) array
        In s/mm2.
    noise_sd : array that broadcasts to `signal`
        Of the images as acquired; nothing is raised above twice as much.
    b0_threshold : float
        Largest b-value that counts as b0, in s/mm2.

    Examples
    --------
    >>> b0, bvals = np.array([100.0]), np.array([0.0, 1000.0])
    >>> plausible_signal(np.array([[100.0, 0.0]]), b0, bvals, np.array([5.0])).round(1)
    array([[100. ,   4.1]], dtype=float32)
    >>> plausible_signal(np.array([[100.0, 0.0]]), b0, bvals, np.array([0.5])).round(1)
    array([[100.,   1.]], dtype=float32)
    """
    if b0 is None:
        return signal.astype(np.float32)
    # Several b0s scatter about their mean: they are no evidence of each other's noise.
    weighted = bvals > b0_threshold
    free_water = np.where(weighted, b0[:, None] * np.exp(-bvals * _FASTEST), -np.inf)
    return np.maximum(signal, np.minimum(free_water, _HIDDEN * noise_sd)).astype(np.float32)


def holds_magnitudes(repetitions: NDArray, mask: NDArray[np.bool_]) -> bool:
    """Whether intensities are magnitudes, which are never negative, but for rare undershoots of splines.

    Parameters
    ----------
    repetitions : (R, X, Y, Z, C) array
    mask : (X, Y, Z) bool array
        Brain: where a real-valued image is positive all over it, its signal is so high that the two kinds
        of noise are alike.

    Examples
    --------
    >>> noise, brain = np.random.default_rng(0).normal(0, 1, (1, 4, 4, 4, 9)), np.ones((4, 4, 4), bool)
    >>> holds_magnitudes(noise, brain), holds_magnitudes(np.abs(noise), brain)
    (False, True)
    """
    negative = [np.count_nonzero(series[mask] < 0) for series in repetitions]
    return bool(sum(negative) <= _UNDERSHOOTS * len(repetitions) * mask.sum() * repetitions.shape[-1])


def complex_noise_sd(magnitude_sd: NDArray, mean: NDArray) -> NDArray[np.float64]:
    """SD of the complex noise from the SD of magnitudes.

    Where there is little signal, magnitudes vary less than the complex noise
    does. One factor makes up for it everywhere: maps of the SD are smooth, so
    a factor of each voxel's own would inflate the noise of CSF.

    Parameters
    ----------
    magnitude_sd : (N,) array
        SD of the magnitudes, pooled over volumes and neighbourhood.
    mean : (N, C) array
        Denoised magnitudes of the C volumes.

    Returns
    -------
    noise_sd : (N,) array
        1 to 1.53 times `magnitude_sd` (1.53: no signal at all).
    """
    sd = np.asarray(magnitude_sd, dtype=float)
    some = slice(None, None, max(1, sd.size // _ENOUGH_VOXELS))
    known = np.maximum(sd[some], 1e-12)[:, None]
    scale = 1.0
    for iteration in range(_MOST_ITERATIONS):
        noise_sd, before = scale * known, scale
        signal = remove_noise_floor(mean[some], noise_sd)
        factor = float(np.mean(rician_variance(signal, noise_sd) / noise_sd**2))
        scale = 1 / np.sqrt(np.clip(factor, 0.4292, 1.0))
        if iteration + 1 >= _FEWEST_ITERATIONS and abs(scale / before - 1) < _SCALE_TOLERANCE:
            break
    return scale * sd
