"""Weights of repetitions in their average, by noise level, and how many plain images the average is worth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import helmert, null_space

EQUAL_NOISE_RATIO = 1.25
"""Noise variances within this ratio count as equal: the weighted mean would gain below 0.05 dB."""


@dataclass(frozen=True, slots=True)
class RepetitionWeights:
    """How repetitions of unequal noise are averaged, and told apart from their average."""

    weights: NDArray[np.float64]
    """(R,) of the average, sum 1."""
    variance_ratio: NDArray[np.float64]
    """(R,) noise variance of each repetition over their mean."""

    @classmethod
    def of_variances(cls, variances: NDArray[np.float64]) -> RepetitionWeights:
        """Weights inverse to noise variances in any unit.

        Examples
        --------
        >>> found = RepetitionWeights.of_variances(np.array([1.0, 0.25]))
        >>> found.weights.tolist(), round(found.n_effective, 3), float(found.variance_ratio.mean())
        ([0.2, 0.8], 3.125, 1.0)
        """
        ratio = variances / variances.mean()
        return cls((1 / ratio) / (1 / ratio).sum(), ratio)

    def for_noise(self, ratio: NDArray[np.float64]) -> RepetitionWeights:
        """Inverse-variance weights where noise variances, over their mean, are clearly unequal.

        Where they are not: weights once found stay, as an object; else equal ones.
        """
        if ratio.max() / ratio.min() < EQUAL_NOISE_RATIO:
            return self if self.is_weighted else replace(self, variance_ratio=ratio)
        return RepetitionWeights.of_variances(ratio)

    @property
    def is_weighted(self) -> bool:
        """Whether the average is another one than the plain mean."""
        return bool(np.ptp(self.weights) > 0)

    @property
    def gain(self) -> float:
        """Noise variance of the plain mean over that of the average.

        Examples
        --------
        >>> round(2 * RepetitionWeights.of_variances(np.array([1.0, 16.0])).gain, 2)
        9.03
        """
        return float(self.variance_ratio.mean() / len(self.variance_ratio) / self.variance)

    @property
    def variance(self) -> float:
        """Noise variance of the average over the mean one of the repetitions."""
        return float((self.weights**2 * self.variance_ratio).sum())

    def measured_variance(self, values: NDArray[np.floating]) -> float:
        """Noise variance of the average, from how repetitions differ.

        Parameters
        ----------
        values : (R, n) float array
            Of each repetition in n voxels, R >= 2.

        Examples
        --------
        >>> values = np.random.default_rng(0).normal(0, [[1], [1], [2]], (3, 100_000))
        >>> weighting = RepetitionWeights.of_variances(np.array([1.0, 1.0, 4.0]))
        >>> abs(weighting.measured_variance(values) - 1 / (1 + 1 + 1 / 4)) < 0.01
        True
        """
        deviations = values - (self.weights @ values)
        squares = (deviations**2 / self.variance_ratio[:, None]).sum(axis=0)
        return float(squares.mean() / (len(values) - 1) * self.variance)

    @property
    def noise_factor(self) -> float:
        """Noise SD of the average over that of one repetition (root mean square)."""
        return float(np.sqrt(self.variance))

    @property
    def n_effective(self) -> float:
        """How many repetitions of the average noise variance have a plain mean as noisy as the average is."""
        if not self.is_weighted:
            return len(self.weights)
        return 1 / self.variance

    @property
    def floor_factor(self) -> float:
        """Noise SD that sets the floor of averaged magnitudes, over that of one repetition.

        The floor of each rises with its noise variance where there is signal.
        """
        return float(np.sqrt((self.weights * self.variance_ratio).sum()))

    def average(self, repetitions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean of (R, ...) repetitions."""
        if not self.is_weighted:
            return repetitions.mean(axis=0)
        return np.tensordot(self.weights.astype(np.float32), repetitions, axes=1)

    def contrasts(self) -> NDArray[np.float32]:
        """(R - 1, R) combinations of repetitions without signal, their noise independent.

        That is of each other and of an average weighted by noise, and as strong as that of one repetition
        (root mean square). Of a plain mean it is independent as far as repetitions are equally noisy.

        Examples
        --------
        >>> unequal = RepetitionWeights(np.array([0.8, 0.2]), np.array([0.4, 1.6]))
        >>> contrast = unequal.contrasts()[0].astype(float)
        >>> float((contrast**2 * unequal.variance_ratio).sum().round(6)), float(abs(contrast.sum()).round(6))
        (1.0, 0.0)
        >>> float(abs((contrast * unequal.weights * unequal.variance_ratio).sum()).round(6))
        0.0
        """
        if len(self.weights) == 2 and not self.is_weighted:
            return helmert(len(self.weights)).astype(np.float32)
        # In units of their own noise, the signal of the repetitions lies along one direction.
        spread = np.sqrt(self.variance_ratio)
        return (null_space(1 / spread[None]).T / spread).astype(np.float32)


def equal_weights(n_repetitions: int) -> RepetitionWeights:
    """Weights of the plain mean: alike for every repetition."""
    return RepetitionWeights(np.full(n_repetitions, 1 / n_repetitions), np.ones(n_repetitions))
