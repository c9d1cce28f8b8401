"""Weights of micrograph exposures in their average, by dose and readout noise of each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.averaging import RepetitionWeights, equal_weights

_CERTAINTY = 4.0
"""Standard errors by which noise variances must differ before weights do, and"""
_LEAST_DIFFERENCE = 0.1
"""by how much, relative to their mean: less changes the error of the average by a thousandth."""
_OUTLIER_DEVIATIONS = 5.0
"""Differences of exposures count as no more noise SDs: dust, hot pixels, moved edges."""
_LEAST_RATIO = 0.02


def weigh_exposures(images: NDArray[np.float32], counted: NDArray[np.bool_]) -> RepetitionWeights:
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
    weighting : RepetitionWeights
        Equal unless variances differ beyond doubt.
    """
    n_exposures, total = len(images), images.sum(axis=0)
    inner = counted[:, 1:-1, 1:-1]
    if n_exposures < 2 or not inner.any():
        return equal_weights(n_exposures)
    variances, errors = np.ones((2, n_exposures)), np.ones((2, n_exposures))
    for index, image in enumerate(images):
        difference = (image - (total - image) / (n_exposures - 1))[:, 1:-1, 1:-1][inner].astype(np.float64)
        limit = _OUTLIER_DEVIATIONS * np.sqrt(np.median(difference**2) / 0.455)
        usual = np.clip(difference - difference.mean(), -limit, limit)
        for way, detail in enumerate(_details(image)):
            products = usual * detail[inner]
            variances[way, index] = products.mean()
            errors[way, index] = products.std() / np.sqrt(products.size)
    return RepetitionWeights.of_variances(min(map(_certain_ratio, variances, errors), key=np.ptp))


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
