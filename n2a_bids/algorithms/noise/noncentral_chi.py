"""Noncentral chi formulas: noise floor of several coils (sum of squares), their number, and its removal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, hyp1f1

from n2a_bids.algorithms.noise.rician import (
    remove_noise_floor,
    rician_bias,
    rician_variance,
)

_SNR_TABLE = np.linspace(0.0, 20.0, 2001)
_MOST_COILS = 128.0
_COILS_TABLE = np.geomspace(1.0, _MOST_COILS, 400)
_ITERATIONS = 30
"""Of the noise SD, which settle it to a thousandth."""


def chi_mean_of_air(n_coils: NDArray | float) -> NDArray[np.float64]:
    """Expectation of the magnitude without signal, in noise SDs of one part of one coil.

    Examples
    --------
    >>> chi_mean_of_air(np.array([1.0, 4.0, 32.0])).round(3)
    array([1.253, 2.742, 7.969])
    """
    return np.sqrt(2) * np.exp(gammaln(np.asarray(n_coils) + 0.5) - gammaln(n_coils))


def chi_bias(signal: NDArray, noise_sd: NDArray | float, n_coils: float) -> NDArray[np.float32]:
    """What the root sum of squares adds to a signal.

    Parameters
    ----------
    signal : array
        True magnitude, any unit; negative values count as zero.
    noise_sd : array or float
        SD of the noise where the signal is high: that of one part of one coil, same unit.
    n_coils : float
        Effective number of coils, at least 1, which is Rician noise; need not be whole.

    Returns
    -------
    bias : float32 array
        ``(2 * n_coils - 1) / 2`` of the noise variance over the signal, where that is high.

    References
    ----------
    Constantinides et al., Magn Reson Med 38 (1997) 852. Effective numbers of coils: Aja-Fernandez et al.,
    Magn Reson Imaging 31 (2013) 272.
    """
    if n_coils <= 1:
        return rician_bias(signal, noise_sd)
    noise_sd = np.maximum(noise_sd, 1e-12)
    ratio = np.maximum(np.asarray(signal, float), 0) / noise_sd
    table = _mean_table(n_coils) - _SNR_TABLE
    # Past the table its last value falls as the inverse of the signal.
    beyond = table[-1] * _SNR_TABLE[-1] / np.maximum(ratio, _SNR_TABLE[-1])
    return (np.where(ratio > _SNR_TABLE[-1], beyond, np.interp(ratio, _SNR_TABLE, table)) * noise_sd).astype(
        np.float32
    )


def without_chi_floor(estimate: NDArray, noise_sd: NDArray | float, n_coils: float) -> NDArray[np.float32]:
    """Signal from an estimate of which Rician bias alone was taken out, as networks learn it.

    Parameters
    ----------
    estimate : array
        Denoised magnitude, any unit.
    noise_sd, n_coils
        As in `chi_bias`.

    Returns
    -------
    signal : float32 array
        Not negative.
    """
    noise_sd = np.maximum(noise_sd, 1e-12)
    return remove_chi_floor(estimate + rician_bias(estimate, noise_sd), noise_sd, n_coils)


def remove_chi_floor(mean: NDArray, noise_sd: NDArray | float, n_coils: float) -> NDArray[np.float32]:
    """Signal whose noisy root sum of squares has the expectation `mean`.

    Parameters
    ----------
    mean : array
        Denoised magnitude, any unit; its bias still in it.
    noise_sd, n_coils
        As in `chi_bias`.

    Returns
    -------
    signal : float32 array
        Not negative.

    Examples
    --------
    >>> signal = np.array([0.0, 100.0, 2000.0])
    >>> remove_chi_floor(signal + chi_bias(signal, 50.0, 4.0), 50.0, 4.0).round(1)
    array([   0.,  100., 2000.], dtype=float32)
    """
    if n_coils <= 1:
        return remove_noise_floor(mean, noise_sd)
    noise_sd = np.maximum(noise_sd, 1e-12)
    expected = np.maximum(mean, 0) / noise_sd
    means = _mean_table(n_coils)
    # Beyond the table the square of the signal is that of the expectation less the floor's.
    far = np.sqrt(np.maximum(expected**2 - (means[-1] ** 2 - _SNR_TABLE[-1] ** 2), 0))
    ratio = np.where(expected > means[-1], far, np.interp(expected, means, _SNR_TABLE))
    return (ratio * noise_sd).astype(np.float32)


def _mean_table(n_coils: float) -> NDArray[np.float64]:
    """Expectation of the magnitude over `_SNR_TABLE`, in noise SDs."""
    return chi_mean_of_air(n_coils) * hyp1f1(-0.5, n_coils, -(_SNR_TABLE**2) / 2)


def noise_sd_of_coils(mean: float, noise_sd: float, n_coils: float) -> float:
    """Noise SD of several coils, from that which was told as if magnitudes were those of one.

    Where there is little signal, the root sum of squares varies less than its noise. Of one coil it does so
    nearer to its floor only.

    Parameters
    ----------
    mean : float
        Magnitude at which the noise was told, its bias still in it.
    noise_sd : float
        SD of the complex noise, as told of one coil.
    n_coils : float
        Effective number of coils.

    Examples
    --------
    >>> from n2a_bids.algorithms.noise.rician import noise_sd_of_moments
    >>> sampled = np.random.default_rng(0).normal(0, 1, (8, 100_000))
    >>> air = np.sqrt((sampled**2).sum(axis=0))
    >>> told = noise_sd_of_moments(air.mean(), air.var())
    >>> round(told, 2), round(noise_sd_of_coils(air.mean(), told, 4.0), 2)
    (0.71, 1.0)
    """
    variance = float(rician_variance(remove_noise_floor(np.array(mean), noise_sd), noise_sd))
    found = float(noise_sd)
    for _ in range(_ITERATIONS):
        signal = float(remove_chi_floor(np.array(mean), found, n_coils))
        expected = signal + float(chi_bias(np.array(signal), found, n_coils))
        own = max(signal**2 + 2 * n_coils * found**2 - expected**2, 1e-6 * found**2)
        found *= float(np.sqrt(variance / own))
    return found


@dataclass(frozen=True, slots=True)
class SeriesFloor:
    """Noise floor of the volumes of a diffusion series, to be taken out once they are denoised."""

    noise_factor: float
    """Noise SD that sets the floor, over the noise SD that was told from the brain."""
    n_coils: float = 1.0
    """Effective number of coils that were combined by the root sum of squares; 1 is Rician noise."""

    def remove(self, mean: NDArray, noise_sd: NDArray) -> NDArray[np.float32]:
        """Signal of denoised magnitudes.

        Parameters
        ----------
        mean : array
            Its floor still in it.
        noise_sd : array
            SD of the complex noise of one acquisition, as told from the brain.
        """
        return remove_chi_floor(mean, noise_sd * np.float32(self.noise_factor), self.n_coils)


def coils_of_air(mean: float, sd: float) -> float:
    """Effective number of coils from the mean and the SD of the air of a magnitude whose zero is 0.

    Examples
    --------
    >>> round(coils_of_air(2.742, 0.694), 1)
    4.0
    """
    ratios = chi_mean_of_air(_COILS_TABLE)
    ratios = ratios / np.sqrt(2 * _COILS_TABLE - ratios**2)
    return float(np.interp(mean / max(sd, 1e-30), ratios, _COILS_TABLE))


def coils_of_brain(mean: float, sd: float, brain_noise_sd: float) -> float:
    """Effective number of coils from the mean square of the air and the noise SD of the brain.

    With the noise of the brain it gives the right floor there, whatever the correlation of the coils: the
    mean square of the magnitude is that of the signal plus that of the air.
    """
    return (mean**2 + sd**2) / (2 * brain_noise_sd**2)
