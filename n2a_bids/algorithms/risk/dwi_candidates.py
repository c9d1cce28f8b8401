"""Risk of the candidates for a diffusion series, on held-out cubes, and the choice among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.filters.learned import Pair, Series
from n2a_bids.algorithms.quality.gain import decibels
from n2a_bids.algorithms.risk.choice import MOST_GAIN_OF_MEAN, Decision, decide
from n2a_bids.algorithms.risk.stacking import average_blocks
from n2a_bids.record.denoising import CandidateRisk

_LEAST_ERROR = 1e-3
"""Of the mean's, that is told: noise can make an estimate negative."""

_EQUAL_GAIN = 0.05
"""Part of the gain by which candidates are too alike to be told apart."""

_CUBE = 8
"""Edge of the cubes whose errors count as independent, in voxels."""


def compare_candidates(
    pairs: Sequence[Pair],
    estimates: Mapping[str, Sequence[Series]],
    mean_noise_sd: NDArray[np.float32],
    mask: NDArray[np.bool_],
    strength: float,
) -> tuple[CandidateRisk, ...]:
    """Squared error of each candidate beyond that of the mean, in the mean's noise variance.

    The candidates are judged with the stronger noise of the pairs, so they are not flattered.

    Parameters
    ----------
    pairs : sequence of Pair
        Equal signal, independent noise in input and target.
    estimates : mapping of str to sequence of arrays
        By the name of the candidate: what it made of the input of each pair, without the target of
        the same voxel.
    mean_noise_sd : (X, Y, Z) array
    mask : (X, Y, Z) bool array
    strength : float
        Noise added to the inputs, in noise SDs of the mean.

    Returns
    -------
    rows : tuple of CandidateRisk
        Of ``mean`` and every candidate.
    """
    scale = mean_noise_sd[mask][:, None] ** 2
    gains: dict[str, list[NDArray]] = {name: [] for name in estimates}
    for index, pair in enumerate(pairs):
        baseline = np.square(pair.noisy[mask] - pair.target[mask])
        for name, series in estimates.items():
            error = np.square(series[index][mask] - pair.target[mask])
            gains[name].append(((error - baseline) / scale).mean(axis=1))
    rows = [CandidateRisk("mean", 0.0, 0.0, gain_over_mean_db=0.0)]
    cubes = _cube_labels(mask)
    for name in estimates:
        per_voxel = np.mean(gains[name], axis=0) + strength**2
        risk = float(per_voxel.mean())
        error = _standard_error(per_voxel, cubes)
        rows.append(
            CandidateRisk(
                name,
                risk=round(risk, 5),
                standard_error=round(error, 5) if math.isfinite(error) else None,
                gain_over_mean_db=decibels(1 / max(1 + risk, _LEAST_ERROR)),
            )
        )
    return tuple(rows)


def error_difference(
    pairs: Sequence[Pair],
    estimates: Sequence[Series],
    others: Sequence[Series],
    noise_sd: NDArray[np.float32],
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Squared error of one candidate less that of another in every voxel, in noise variances.

    Parameters
    ----------
    pairs : sequence of Pair
    estimates, others : sequence of (X, Y, Z, C) arrays
        What each made of the input of each pair, without the target of the same voxel.
    noise_sd : (X, Y, Z) array
    mask : (X, Y, Z) bool array

    Returns
    -------
    difference : (X, Y, Z) float32 array
        Mean over volumes and pairs, negative where the first is better; 0 outside of the mask.
    """
    difference = np.zeros(mask.shape, np.float32)
    for pair, one, other in zip(pairs, estimates, others, strict=True):
        target = pair.target[mask]
        excess = np.square(one[mask] - target) - np.square(other[mask] - target)
        difference[mask] += excess.mean(axis=1) / (len(pairs) * noise_sd[mask] ** 2)
    return difference


def is_lower_beyond_doubt(difference: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    """Whether a difference of errors, of `error_difference`, is below zero beyond its uncertainty."""
    values = difference[mask]
    return decide(float(values.mean()), _standard_error(values, _cube_labels(mask))) == "won"


def choose(rows: Sequence[CandidateRisk]) -> str:
    """Name of the candidate of least risk; the mean unless that beats it beyond doubt.

    Of candidates whose gains differ by less than a twentieth, the last one is taken: what is left of
    misalignment in the differences of repetitions counts as noise, and so favours what blurs more, by
    some percent, over what follows it.

    Examples
    --------
    >>> choose([CandidateRisk("mean", 0.0, 0.0), CandidateRisk("other", -0.1, 0.1)])
    'mean'
    """
    if is_impossible(rows):
        return "mean"
    least = min(row.risk for row in rows)
    best = [row for row in rows if row.risk <= (1 - _EQUAL_GAIN) * least][-1]
    return best.name if _decide_on(best) == "won" else "mean"


def is_impossible(rows: Sequence[CandidateRisk]) -> bool:
    """Whether a candidate seems to take away more error than there was, beyond doubt.

    Then the repetitions differ by more than independent noise, and no risk means anything.

    Examples
    --------
    >>> is_impossible([CandidateRisk("other", -1.3, 0.02)])
    True
    """
    return any(_decide_on(row) == "impossible" for row in rows)


def _decide_on(row: CandidateRisk) -> Decision:
    # Without a standard error nothing is beyond doubt.
    doubt = math.inf if row.standard_error is None else row.standard_error
    return decide(row.risk, doubt, MOST_GAIN_OF_MEAN)


def _cube_labels(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number of the cube that each voxel of the mask lies in."""
    counts = [-(-size // _CUBE) for size in mask.shape]
    return np.ravel_multi_index([index // _CUBE for index in np.nonzero(mask)], counts)


def _standard_error(values: NDArray, cubes: NDArray[np.intp]) -> float:
    """Of the mean; neighbouring voxels are not independent, cubes nearly are."""
    sizes = np.bincount(cubes)
    means = np.bincount(cubes, weights=values)[sizes > 0] / sizes[sizes > 0]
    return float(average_blocks(means, sizes[sizes > 0] / values.size)[1])
