"""How noisy each exposure is, and its weight in their average: doses and readouts may differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CERTAINTY = 4.0
"""Standard errors by which noise variances must differ before weights do, and"""
_LEAST_DIFFERENCE = 0.1
"""by how much, relative to their mean: less changes the error of the average by a thousandth."""
_OUTLIER_DEVIATIONS = 5.0
"""Differences of exposures count as no more noise SDs: dust, hot pixels, moved edges."""
_LEAST_RATIO = 0.02


@dataclass(frozen=True, slots=True)
class Weighting:
    """Weights of exposures by the inverse of their noise variance.

    Examples
    --------
    >>> weighting = Weighting.of_variances(np.array([1.0, 0.25]))
    >>> weighting.weights.tolist(), round(weighting.n_effective, 3), float(weighting.variance_ratio.mean())
    ([0.2, 0.8], 3.125, 1.0)
    """

    weights: NDArray[np.float64]
    """(R,) sum 1."""
    variance_ratio: NDArray[np.float64]
    """(R,) noise variance of each exposure over their mean."""

    @classmethod
    def of_variances(cls, variances: NDArray[np.float64]) -> Weighting:
        """Inverse to variances in any unit."""
        ratio = variances / variances.mean()
        return cls((1 / ratio) / (1 / ratio).sum(), ratio)

    @classmethod
    def equal(cls, n_exposures: int) -> Weighting:
        """Of exposures that are equally noisy."""
        return cls(np.full(n_exposures, 1 / n_exposures), np.ones(n_exposures))

    @property
    def is_weighted(self) -> bool:
        """Whether the average is another one than the plain mean."""
        return bool(np.ptp(self.weights) > 0)

    @property
    def n_effective(self) -> float:
        """How many exposures of the average noise variance have a plain mean as noisy as the average is."""
        return (
            float(1 / (self.weights**2 * self.variance_ratio).sum())
            if self.is_weighted
            else len(self.weights)
        )

    def average(self, exposures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weighted mean along the first axis."""
        if not self.is_weighted:
            return exposures.mean(axis=0, dtype=np.float32)
        return np.tensordot(self.weights.astype(np.float32), exposures, axes=1)


def weigh_exposures(images: NDArray[np.float32], counted: NDArray[np.bool_]) -> Weighting:
    """Weigh exposures of one signal whose noise is white, by their own noise.

    The difference of an exposure from the mean of the others, times the exposure less its neighbours, has the
    noise variance of that exposure as its mean: signal and the noise of the others average out. Where focus,
    contrast or drift make the signals differ, fine structure that differs is left in it, more of it beside
    than across: of the two ways to take neighbours away, the one counts by which exposures are more alike.

    Parameters
    ----------
    images : (R, N, X, Y) array
        Stabilised exposures in one unit.
    counted : (N, X, Y) bool array
        Pixels that tell something.

    Returns
    -------
    weighting : Weighting
        Equal unless variances differ beyond doubt.
    """
    n_exposures, total = len(images), images.sum(axis=0)
    inner = counted[:, 1:-1, 1:-1]
    if n_exposures < 2 or not inner.any():
        return Weighting.equal(n_exposures)
    variances, errors = np.ones((2, n_exposures)), np.ones((2, n_exposures))
    for index, image in enumerate(images):
        difference = (image - (total - image) / (n_exposures - 1))[:, 1:-1, 1:-1][inner].astype(np.float64)
        limit = _OUTLIER_DEVIATIONS * np.sqrt(np.median(difference**2) / 0.455)
        usual = np.clip(difference - difference.mean(), -limit, limit)
        for way, detail in enumerate(_details(image)):
            products = usual * detail[inner]
            variances[way, index] = products.mean()
            errors[way, index] = products.std() / np.sqrt(products.size)
    return Weighting.of_variances(min(map(_certain_ratio, variances, errors), key=np.ptp))


def _details(image: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Inner pixels less the mean of those beside them, and less what those beside and across foretell."""
    middle = image[:, 1:-1, 1:-1]
    beside = (image[:, :-2, 1:-1] + image[:, 2:, 1:-1] + image[:, 1:-1, :-2] + image[:, 1:-1, 2:]) / 4
    yield middle - beside
    across = (image[:, :-2, :-2] + image[:, 2:, 2:] + image[:, 2:, :-2] + image[:, :-2, 2:]) / 4
    yield middle - 2 * beside + across


def _certain_ratio(variances: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variances over their mean; ones where they may be equal, or one is negative: signals differ."""
    mean = max(variances.mean(), 1e-12)
    ratio, doubt = variances / mean, _CERTAINTY * errors / mean
    if (ratio < -doubt).any() or (np.abs(ratio - 1) < np.maximum(doubt, _LEAST_DIFFERENCE)).all():
        return np.ones_like(ratio)
    return np.maximum(ratio, _LEAST_RATIO)
