"""Scores what was made of one measurement by another one that the method never saw: no truth is needed.

Two measurements of one signal ``s`` are ``y1 = s + e1`` and ``y2 = s + e2``, their noise independent.
Whatever is made of the first alone, ``x``, is independent of ``e2``, too, so that

    mean (x - y2)^2  =  mean (x - s)^2  +  mean e2^2       (expected)

ranks methods by their true squared error, and the last term leaves every difference between two of them. For
decibels the noise of the first is needed. It is what fine detail of the first does not share with the second:

    mean e1^2  =  mean h(y1) (y1 - y2) / k,

with ``h`` a linear filter that takes anatomy away, and ``k`` the part of the noise that it leaves. Unlike
half of the squared difference that holds where one measurement is noisier. What the second measurement shows
otherwise (motion, shading) is one more constant, as long as the error of a method does not resemble it; a
second measurement that is blurred would flatter whatever blurs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.noise.covariance_estimates import flat_places, residual_covariance
from n2a_bids.algorithms.risk.stacking import average_blocks
from n2a_bids.record.typed_json import JsonObject

_DETAIL_SD_VOXELS = 1.5
"""Narrower kernels hold too little of noise that neighbours share. Wider ones let anatomy in, which a gain
that is 1 % off turns into noise: in a real pair of 1 mm detail has four times as much anatomy as noise."""
BLOCK_VOXELS = 16
"""Edge of the cubes whose spread tells the standard errors."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two measurements of one signal on one grid, the second in the intensity of the first."""

    first: NDArray[np.float32]
    """(X, Y, Z, C) as acquired: what methods get."""
    second: NDArray[np.float32]
    """(X, Y, Z, C) by which they are scored; no method sees it."""
    mask: NDArray[np.bool_]
    """(X, Y, Z) where it counts."""


@dataclass(frozen=True, slots=True)
class Detail:
    """Fine detail of the first measurement, which holds little but noise."""

    image: NDArray[np.float64]
    """(X, Y, Z, C)."""
    part: float
    """Of the noise variance that is in it."""


@dataclass(frozen=True, slots=True)
class Score:
    """What the second measurement says of one method."""

    removed: float
    """Squared error that was taken from the first measurement: its mean squared difference from the second,
    minus that of the result."""
    removed_error: float
    """Standard error over blocks."""
    gain_db: float
    """Squared error of the first measurement over that of the result; NaN where all of it seems removed, or
    the noise of the first is not known."""
    gain_error_db: float
    """Standard error by the jackknife over blocks."""
    gain_equal_db: float
    """The same gain, if both measurements were equally noisy and differed by noise alone."""


class Scorer:
    """Compares results of the first measurement of a pair with the second, block by block.

    Parameters
    ----------
    pair : Pair
    detail : Detail, optional
        Of the first measurement; without it there are no decibels.
    block_voxels : int
        Edge of a block.
    """

    def __init__(self, pair: Pair, detail: Detail | None = None, block_voxels: int = BLOCK_VOXELS):
        self._pair = pair
        self._block = _number_blocks(pair.mask, block_voxels)
        self._counts = np.bincount(self._block[pair.mask]) * pair.first.shape[-1]
        self.weights = self._counts / self._counts.sum()
        """(B,) part of the voxels in every block."""
        self.undenoised = self.differences(pair.first)
        self.noise = np.full_like(self.weights, np.nan)
        """(B,) noise variance of the first measurement."""
        if detail is not None:
            self.noise = self._means(detail.image * (pair.first - pair.second)) / detail.part

    @property
    def noise_variance(self) -> tuple[float, float]:
        """Noise variance of the first measurement, and its standard error."""
        return _average(self.noise, self.weights)

    @property
    def difference(self) -> float:
        """Mean squared difference of the two measurements as they are."""
        return _average(self.undenoised, self.weights)[0]

    def differences(self, image: NDArray[np.float32]) -> NDArray[np.float64]:
        """(B,) mean squared difference of an image from the second measurement in every block."""
        return self._means((image.astype(np.float64) - self._pair.second) ** 2)

    def score(self, differences: NDArray[np.float64]) -> Score:
        """Score a method by its (B,) `differences`."""
        removed, error = _average(self.undenoised - differences, self.weights)

        def gain(kept: NDArray[np.bool_]) -> float:
            return _gain_db(
                *(self._mean(values, kept) for values in (self.noise, self.undenoised, differences))
            )

        every = np.ones(len(self.weights), bool)
        return Score(
            removed,
            error,
            gain(every),
            _jackknife(gain, len(every)),
            _gain_db(self.difference / 2, removed, 0.0),
        )

    def lead(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
        """How much less squared error one method has than another, and the standard error of that."""
        return _average(other - one, self.weights)

    def _mean(self, values: NDArray[np.float64], kept: NDArray[np.bool_]) -> float:
        return float(np.average(values[kept], weights=self.weights[kept]))

    def _means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = self._pair.mask
        return np.bincount(self._block[inside], weights=values[inside].sum(axis=-1)) / self._counts


SCORE_COLUMNS = (
    *("difference", "removed", "removed_error", "gain_db", "gain_error_db", "gain_equal_db"),
    *("noise_sd", "n_blocks"),
)


def score_row(scorer: Scorer, differences: NDArray[np.float64]) -> JsonObject:
    """Columns of a table that say what the second measurement says of a method."""
    score = scorer.score(differences)
    return {
        "difference": scorer.difference - score.removed,
        **{column: getattr(score, column) for column in SCORE_COLUMNS[1:6]},
        "noise_sd": float(np.sqrt(max(scorer.noise_variance[0], 0))),
        "n_blocks": len(scorer.weights),
    }


def _average(values: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float]:
    average, error = average_blocks(values, weights)
    return float(average), float(error)


def _gain_db(noise: float, before: float, after: float) -> float:
    left = noise - (before - after)
    return float(10 * np.log10(noise / left)) if left > 0 and noise > 0 else float("nan")


def _jackknife(estimate: Callable[[NDArray[np.bool_]], float], n_blocks: int) -> float:
    """Standard error of an estimate from what it is without each block."""
    found = np.array([estimate(np.arange(n_blocks) != left_out) for left_out in range(n_blocks)])
    return float(np.sqrt((n_blocks - 1) * np.var(found)))


def _number_blocks(mask: NDArray[np.bool_], edge: int) -> NDArray[np.int64]:
    """(X, Y, Z) number of the cube that a voxel lies in, of those that the mask reaches."""
    cubes = np.ravel_multi_index(
        np.indices(mask.shape) // edge, tuple(-(-size // edge) for size in mask.shape)
    )
    numbers = np.zeros(mask.shape, np.int64)
    numbers[mask] = np.unique(cubes[mask], return_inverse=True)[1]
    return numbers


def spatial_detail(pair: Pair) -> Detail:
    """What a narrow Gaussian takes away from the first measurement.

    Neighbours that share their noise leave less of it there: their correlation in the difference of the two
    measurements tells how much. It is 0.98 of white noise.
    """
    counted = flat_places(pair.first.mean(axis=-1), pair.mask)
    found = residual_covariance(np.moveaxis(pair.first - pair.second, -1, 0), counted)
    point = np.zeros(found.correlation.shape)
    point[tuple(size // 2 for size in point.shape)] = 1
    kernel = ndimage.gaussian_filter(point, _DETAIL_SD_VOXELS, mode="constant")
    first = pair.first.astype(np.float64)
    image = first - ndimage.gaussian_filter(first, (*[_DETAIL_SD_VOXELS] * 3, 0))
    return Detail(image, 1 - float((kernel * found.correlation).sum()))
