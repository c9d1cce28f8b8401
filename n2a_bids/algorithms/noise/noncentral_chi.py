"""Noncentral chi formulas: noise floor of several coils (sum of squares), their number, and its removal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, hyp1f1

from n2a_bids.algorithms.noise.rician import rician_bias

_SNR_TABLE = np.linspace(0.0, 20.0, 2001)
_MOST_COILS = 128.0
_COILS_TABLE = np.geomspace(1.0, _MOST_COILS, 400)


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
    expected = np.maximum(estimate + rician_bias(estimate, noise_sd), 0) / noise_sd
    means = _mean_table(n_coils)
    # Beyond the table the square of the signal is that of the expectation less the floor's.
    far = np.sqrt(np.maximum(expected**2 - (means[-1] ** 2 - _SNR_TABLE[-1] ** 2), 0))
    ratio = np.where(expected > means[-1], far, np.interp(expected, means, _SNR_TABLE))
    return (ratio * noise_sd).astype(np.float32)


def _mean_table(n_coils: float) -> NDArray[np.float64]:
    """Expectation of the magnitude over `_SNR_TABLE`, in noise SDs."""
    return chi_mean_of_air(n_coils) * hyp1f1(-0.5, n_coils, -(_SNR_TABLE**2) / 2)


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
