"""Anscombe's transform, which gives counting noise one variance, and its exact unbiased inverse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.micrographs.counting_noise import CountingNoise

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stabiliser:
    """Intensities to values whose noise SD is 1, and expectations of these back to expected intensities.

    The generalised Anscombe transform of an exposure (Starck, Murtagh and Bijaoui, 1998), or of the mean of
    some: their counts add up, so that its gain and offset are those of one exposure over their number. The
    inverse is the closed form of the exact unbiased one (Makitalo and Foi, "Optimal inversion of the
    generalized Anscombe transformation for Poisson-Gaussian noise", IEEE TIP 22, 2013), which gives the
    expected intensity for the expectation of the stabilised value. Noise of one variance is only scaled.

    Examples
    --------
    >>> stabiliser = Stabiliser(CountingNoise(gain=2.0, offset=1.0))
    >>> round(float(stabiliser.invert(stabiliser.apply(np.float32([100.0])))[0] - 100), 1)
    0.5
    """

    noise: CountingNoise
    """Of one exposure."""
    n_exposures: float = 1
    """How many of the average noise were averaged."""

    @property
    def _gain(self) -> float:
        return abs(self.noise.gain) / self.n_exposures

    @property
    def _offset(self) -> float:
        return self.noise.offset / self.n_exposures

    @property
    def _sign(self) -> np.float32:
        # Where dark pixels hold the most counts, the negative is transformed.
        return np.float32(-1 if self.noise.gain < 0 else 1)

    def apply(self, image: Image) -> Image:
        """Stabilised values; the input is not modified."""
        if self.noise.gain == 0:
            return (image / np.float32(np.sqrt(self._offset))).astype(np.float32)
        gain = np.float32(self._gain)
        under = gain * self._sign * image + np.float32(0.375 * gain * gain + self._offset)
        return self._sign * (2 / gain) * np.sqrt(np.maximum(under, 0, dtype=np.float32))

    def invert(self, stable: Image) -> Image:
        """Expected intensities of expected stabilised values; the input is not modified."""
        if self.noise.gain == 0:
            return (stable * np.float32(np.sqrt(self._offset))).astype(np.float32)
        gain = self._gain
        # Below this value the series turns; it is the expectation for no counts at all.
        d = np.maximum(stable * self._sign, np.float32(2 * np.sqrt(0.375)))
        root = np.float32(np.sqrt(1.5))
        counts = d * d / 4 + root / (4 * d) - 11 / (8 * d * d) + 5 * root / (8 * d**3) - np.float32(0.125)
        return (self._sign * (gain * np.maximum(counts, 0) - np.float32(self._offset / gain))).astype(
            np.float32
        )
