"""Compares each volume of a diffusion series with what the others of its contrast predict for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.volume_prediction import predictors
from n2a_bids.algorithms.registration.rigid_fit import SmoothImage, Target

_FEWEST_TRUSTED, _GOOD_PERCENT, _BEYOND_NOISE = 5, 10, 4.0
"""Volumes by which places are told apart where predictions are good; percentile of the squared misfit that is
taken for good; and misfit over it, up to which it may be noise. Of a still head of crossing bundles (2.7 mm,
b = 2000, b0 at 30 times the noise) volumes moved by 0.68, 0.29 and 0.12 mm (6, 12 and 20 directions) where
all points counted alike, by 0.41, 0.17 and 0.09 mm with 4, 0.31, 0.15 and 0.08 mm with 2. With 2 and less,
points are chosen by their noise: a jump of 2.9 mm of noisy volumes was found as 1.9 mm, or early."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Where diffusion volumes are compared with what the others predict for them, and how."""

    points: NDArray[np.float64]
    """(N, 3) in mm."""
    groups: list[NDArray[np.intp]]
    """Volumes that predict each other, each group in the order of acquisition."""
    gradients: Gradients
    noise: float
    """Over the signal."""
    times: NDArray[np.float64]
    """(C,) when each was acquired, in volumes."""
    size: float = 1.0
    """Edge length of a small head over that of a larger one, by `size_factor`."""


def predictions(
    images: list[SmoothImage], compared: Comparison, motions: NDArray, members: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """What the volumes of a group show, by which weights they predict each other, and where that is good.

    Parameters
    ----------
    images : list of C SmoothImage
        All volumes of the series.
    motions : (C, 6) array
        Of the points to each volume.
    members : (M,) int array
        The group.

    Returns
    -------
    seen : (M, 4 N) array
        Values and three slopes of each volume at the points, by `target_row`.
    weights : (M, M) array
        See `predictors`.
    trust : (N,) array
        See `place_weights`.
    """
    points = compared.points
    seen = np.stack([target_row(images[index].target(points, motions[index])) for index in members])
    weights = predictors(compared.gradients.subset(members), compared.noise).astype(np.float32)
    return seen, weights, place_weights(seen[:, : len(points)], weights)


def target_row(target: Target) -> NDArray[np.float32]:
    """Values and slopes behind each other, so that those of all volumes are weighted in one product."""
    return np.concatenate((target.values, target.slopes.T.ravel())).astype(np.float32)


def row_target(row: NDArray[np.float32], trust: NDArray[np.float64]) -> Target:
    """The (4 N) row of values and slopes as a target, with the weights of its points."""
    values, *slopes = row.reshape(4, -1).astype(float)
    return Target(values, np.stack(slopes, axis=1), trust)


def place_weights(seen: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,) weight of each point: where predictions of the (C, N) volumes fail, contrast looks like motion.

    They fail where fibres of one direction lie, and are good in CSF, grey matter and at the surface. The
    median over volumes: one that moved must not blind its own registration.
    """
    if len(seen) < _FEWEST_TRUSTED:
        return np.ones(seen.shape[1])
    misfit = np.median(np.abs(seen - weights @ seen), axis=0).astype(float) ** 2
    good = _BEYOND_NOISE * float(np.percentile(misfit, _GOOD_PERCENT))
    return np.minimum(good / np.maximum(misfit, np.finfo(float).tiny), 1) ** 2
