"""`Gain` over the plain mean in dB: the one definition for sidecars, reports and tables.

The reference is the plain mean of the repetitions, with equal weights, as averaging gives it. The noise
variance ``s**2`` of one repetition is that of the repetitions on average (its root is their root mean
square noise SD), so that the plain mean of R repetitions has the noise variance ``s**2 / R`` whether or not
all are equally noisy. An image of mean squared error ``e**2`` is then worth ``s**2 / e**2`` averages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_LEAST_ERROR = 0.01
"""Of the error of the mean: an estimated error can come out at zero or below."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Ratios of squared errors inside the brain, from the plain mean to the denoised image.

    The noise floor of magnitudes, which averaging leaves, counts as an error of a denoised image, but not
    of a mean: means of more repetitions have the same one.

    Examples
    --------
    >>> gain = Gain(weighting=2.0, denoising=5.0)
    >>> gain.decibels, gain.equivalent_averages(2), round(gain.error_denoised(10.0), 3)
    (10.0, 20.0, 3.162)
    """

    weighting: float = 1.0
    """Noise variance of the plain mean over that of the mean weighted by noise; 1 where weights are equal."""
    denoising: float = 1.0
    """Noise variance of the weighted mean over the squared error of the denoised image; 1 of a mean."""

    @property
    def decibels(self) -> float:
        """Gain of weighting and denoising together, in dB."""
        return decibels(self.weighting * self.denoising)

    def equivalent_averages(self, n_repetitions: int) -> float:
        """Repetitions of the average noise variance whose plain mean has the same squared error."""
        return n_repetitions * self.weighting * self.denoising

    def error_denoised(self, noise_sd_mean: float) -> float:
        """Root mean squared error of the denoised image, from the noise SD of the plain mean (same unit)."""
        return noise_sd_mean / math.sqrt(self.weighting * self.denoising)


def denoising_gain(noise_variance: float, mean_error: float, risk: float) -> float:
    """Noise variance of a mean over the squared error of what a denoiser made of it.

    Parameters
    ----------
    noise_variance : float
        Of the mean that was denoised, on the voxels where the risk was measured.
    mean_error : float
        Squared error of that mean there: its noise variance and the square of its noise floor.
    risk : float
        Squared error of the denoised image less `mean_error`: negative where something was gained.

    Examples
    --------
    >>> denoising_gain(1.0, 1.0, -0.75), denoising_gain(1.0, 1.0, -1.5)
    (4.0, 100.0)
    """
    return noise_variance / max(mean_error + risk, _LEAST_ERROR * mean_error)


def decibels(ratio: float) -> float:
    """Ratio of squared errors in dB, to three decimals."""
    return round(10 * math.log10(ratio), 3)
