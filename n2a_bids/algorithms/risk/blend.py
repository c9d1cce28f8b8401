"""Applies the chosen blend of candidates to the whole volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.preparation.repetitions import Prepared
from n2a_bids.algorithms.risk.candidates import Candidate, estimate_average
from n2a_bids.algorithms.risk.uncertainty import Clues


def estimate_blend(
    candidates: Sequence[Candidate],
    weights: NDArray[np.float64],
    prepared: Prepared,
    context: Context,
    flips: tuple[tuple[int, ...], ...],
) -> tuple[NDArray[np.float32], Clues]:
    """Denoise the average of the repetitions by a blend, and keep what its stages show of its error.

    Parameters
    ----------
    weights : (K,) float array
        Of the candidates in the blend.
    flips : tuple of tuple of int
        Mirror images that a network's prediction is averaged over.

    Returns
    -------
    estimate : (X, Y, Z) float32 array
        In z-scores.
    clues : Clues
    """
    used = [(candidate, weight) for candidate, weight in zip(candidates, weights) if weight > 0]
    estimates, clues = estimate_with_clues([one for one, _ in used], prepared, context, flips)
    total = np.zeros_like(prepared.images[0])
    for estimate, (_, weight) in zip(estimates, used):
        total += np.float32(weight) * estimate
    return total, clues


def estimate_with_clues(
    candidates: Sequence[Candidate],
    prepared: Prepared,
    context: Context,
    flips: tuple[tuple[int, ...], ...],
) -> tuple[list[NDArray[np.float32]], Clues]:
    """Denoise the average of the repetitions by every candidate, and keep what the stages show.

    Parameters
    ----------
    candidates : sequence of K Candidate
    prepared, context, flips
        As of `estimate_blend`.

    Returns
    -------
    estimates : list of K (X, Y, Z) float32 arrays
        In z-scores.
    clues : Clues
    """
    asked = list(candidates)
    if not any(candidate.nonlocal_passes for candidate in asked):
        # For the posterior alone, where a network was kept without what may follow it.
        asked += [replace(one, nonlocal_passes=1) for one in asked[-1:] if one.network is not None]
    number = _count_stages(asked)

    def tell(done: int) -> None:
        context.report(f"denoising the whole volume, stage {done} of {number}")

    clues = Clues(tell=tell)
    return estimate_average(asked, prepared, context, flips, clues=clues)[: len(candidates)], clues


def _count_stages(candidates: Sequence[Candidate]) -> int:
    """Predictions of networks and passes of non-local Bayes, those that several share once."""
    stages: set[tuple[float, ...]] = set()
    for one in candidates:
        if one.network is not None and one.function is None:
            of_network = (id(one.network), one.noise_factor, id(one.correlation))
            stages |= {
                (*of_network, passes) if passes else of_network[:2]
                for passes in range(one.nonlocal_passes + 1)
            }
            if one.fusion is not None:
                stages.add((*of_network, one.nonlocal_passes, id(one.fusion)))
    return len(stages)
