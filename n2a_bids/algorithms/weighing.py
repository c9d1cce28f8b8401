"""Weights of repetitions whose noise is unequal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import helmert, null_space

from n2a_bids.algorithms.candidates import Candidate, estimate_average
from n2a_bids.algorithms.gain import weighting_gain
from n2a_bids.algorithms.local_pca import PatchPlan, shrink_local_pca
from n2a_bids.algorithms.noise import high_pass, local_sd, repetition_noise_ratio
from n2a_bids.algorithms.preparation import EQUAL_NOISE_RATIO, Prepared, reweight
from n2a_bids.algorithms.realizations import Context
from n2a_bids.algorithms.risk import HeldOut

_ROUNDS = 4
"""Each finds most of what the ones before it left of a difference in noise."""

_MOST_VOLUMES = 24
"""Of a diffusion series, evenly spread, that the noise of the series is compared in."""

WEIGHTED_MEAN = "weighted mean"
"""What the mean is called in records where the repetitions do not count alike."""


@dataclass(frozen=True, slots=True)
class RepetitionWeights:
    """How repetitions of unequal noise are averaged, and told apart from their average."""

    weights: NDArray[np.float64]
    """(R,) of the average, sum 1."""
    variance_ratio: NDArray[np.float64]
    """(R,) noise variance of each repetition over their mean."""

    @property
    def is_weighted(self) -> bool:
        """Whether the average is another one than the plain mean."""
        return bool(np.ptp(self.weights) > 0)

    @property
    def gain(self) -> float:
        """Noise variance of the plain mean over that of the average."""
        return weighting_gain(self.weights, self.variance_ratio)

    @property
    def noise_factor(self) -> float:
        """Noise SD of the average over that of one repetition (root mean square)."""
        return float(np.sqrt((self.weights**2 * self.variance_ratio).sum()))

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

        That is of the average and of each other, and as strong as that of one repetition (root mean square).

        Examples
        --------
        >>> unequal = RepetitionWeights(np.array([0.8, 0.2]), np.array([0.4, 1.6]))
        >>> contrast = unequal.contrasts()[0].astype(float)
        >>> float((contrast**2 * unequal.variance_ratio).sum().round(6)), float(abs(contrast.sum()).round(6))
        (1.0, 0.0)
        >>> float(abs((contrast * unequal.weights * unequal.variance_ratio).sum()).round(6))
        0.0
        """
        if not self.is_weighted:
            return helmert(len(self.weights)).astype(np.float32)
        # In units of their own noise, the signal of the repetitions lies along one direction.
        spread = np.sqrt(self.variance_ratio)
        return (null_space(1 / spread[None]).T / spread).astype(np.float32)


def equal_weights(n_repetitions: int) -> RepetitionWeights:
    """Those of the plain mean."""
    return RepetitionWeights(np.full(n_repetitions, 1 / n_repetitions), np.ones(n_repetitions))


def weigh_series(
    repetitions: NDArray[np.float32], mask: NDArray[np.bool_], plan: PatchPlan
) -> RepetitionWeights:
    """Inverse-variance weights of diffusion series, where their noise is clearly unequal.

    Parameters
    ----------
    repetitions : (R, X, Y, Z, C) array
        In one intensity unit.
    mask : (X, Y, Z) bool array
    plan : PatchPlan
        Of the local principal components that tell signal from noise.

    Returns
    -------
    weights : RepetitionWeights
        Equal ones where noise is equal within measurement.
    """
    count, n_volumes = len(repetitions), repetitions.shape[-1]
    found = equal_weights(count)
    if count == 1:
        return found
    volumes = np.unique(np.linspace(0, n_volumes - 1, min(n_volumes, _MOST_VOLUMES)).astype(int))
    some = np.ascontiguousarray(repetitions[..., volumes])
    centre = some.mean(axis=0)
    deviations = np.stack([_detail(series - centre, mask) for series in some])
    for _ in range(_ROUNDS):
        contrast = np.tensordot(found.contrasts()[:1], some, axes=1)[0]
        squares = [local_sd(high_pass(volume), mask) ** 2 for volume in np.moveaxis(contrast, -1, 0)]
        noise_sd = np.sqrt(np.mean(squares, axis=0)) * np.float32(found.noise_factor)
        clean = shrink_local_pca(found.average(some), mask, noise_sd, plan)
        ratio = repetition_noise_ratio(
            np.stack([_detail(series - clean, mask) for series in some]), deviations
        )
        if ratio.max() / ratio.min() < EQUAL_NOISE_RATIO:
            break
        weights = (1 / ratio) / (1 / ratio).sum()
        found = RepetitionWeights(weights, ratio)
    return found


def _detail(series: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """High-passed values in the mask, volume after volume."""
    return np.concatenate([high_pass(volume)[mask] for volume in np.moveaxis(series, -1, 0)])


def weigh_repetitions(
    candidate: Candidate, prepared: Prepared, held_out: HeldOut, context: Context
) -> Prepared:
    """Weigh repetitions by their noise, as a denoised average shows it on some blocks.

    Parameters
    ----------
    candidate : Candidate
        What denoises.
    prepared : Prepared
        At least two repetitions.
    held_out : HeldOut
        Blocks that are looked at.
    context : Context

    Returns
    -------
    weighted : Prepared
        `prepared` itself where the noise is equal within measurement.
    """
    for _ in range(_ROUNDS):
        residuals, deviations = [], []
        for box in held_out.boxes:
            images, counted = prepared.images[(slice(None), *box)], (prepared.mask & held_out.mask)[box]
            (estimate,) = estimate_average([candidate], prepared, context, box=box)
            residuals.append(np.stack([high_pass(image - estimate)[counted] for image in images]))
            centre = images.mean(axis=0)
            deviations.append(np.stack([high_pass(image - centre)[counted] for image in images]))
        ratio = repetition_noise_ratio(np.hstack(residuals), np.hstack(deviations))
        weighted = reweight(prepared, ratio)
        if weighted is prepared:
            break
        prepared = weighted
    return prepared
