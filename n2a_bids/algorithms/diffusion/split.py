"""One diffusion scan split into two: halves of its directions, and the series that each tensor predicts."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.tensor import direction_products, fit_tensor, synthesize_signal

_N_TRIES = 2000
"""Random partitions of the directions that are compared."""


def tensor_condition_number(bvecs: NDArray[np.float64]) -> float:
    """Condition number of the six-column tensor design of a set of directions.

    The best possible is 1.58 (the icosahedral six; Skare et al., J Magn Reson
    2000, count it thus); the lower, the less noise is amplified.

    Parameters
    ----------
    bvecs : (N, 3) array
        Unit vectors, N of at least 6 for a finite result.
    """
    if len(bvecs) < 6:
        return float("inf")
    return float(np.linalg.cond(direction_products(bvecs)))


def split_directions(
    bvecs: NDArray[np.float64], n_subsets: int, generator: torch.Generator, n_tries: int = 4000
) -> list[NDArray[np.intp]]:
    """Split directions into disjoint subsets that each determine a tensor well.

    Random partitions are drawn, and the one whose worst condition number is
    lowest is kept, then improved by swaps.

    Parameters
    ----------
    bvecs : (N, 3) array
        Unit vectors of the diffusion-weighted volumes.
    n_subsets : int
        Number of subsets; each gets ``N // n_subsets`` directions or one more.
    generator : torch.Generator
        Source of the random partitions.
    n_tries : int
        Partitions drawn.

    Returns
    -------
    subsets : list of int arrays
        Sorted indices into `bvecs`; every direction is in exactly one subset.

    Raises
    ------
    ValueError
        If a subset would have fewer than six directions.
    """
    n_directions = len(bvecs)
    if n_directions // n_subsets < 6:
        raise ValueError(f"{n_directions} directions cannot fill {n_subsets} subsets of at least 6")
    best, best_cost = None, float("inf")
    for _ in range(n_tries):
        order = torch.randperm(n_directions, generator=generator).numpy()
        subsets = np.array_split(order, n_subsets)
        cost = max(tensor_condition_number(bvecs[subset]) for subset in subsets)
        if cost < best_cost:
            best, best_cost = subsets, cost
    return [np.sort(subset) for subset in _swap_until_best(best, bvecs)]


def _swap_until_best(subsets: list[NDArray[np.intp]], bvecs: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Exchange single directions between subsets while the worst condition number falls."""
    costs = [tensor_condition_number(bvecs[subset]) for subset in subsets]
    improved = True
    while improved:
        improved = False
        for a, b in combinations(range(len(subsets)), 2):
            for i, j in np.ndindex(len(subsets[a]), len(subsets[b])):
                first, second = subsets[a].copy(), subsets[b].copy()
                first[i], second[j] = second[j], first[i]
                pair = tensor_condition_number(bvecs[first]), tensor_condition_number(bvecs[second])
                if max(pair) < max(costs[a], costs[b]) - 1e-9:
                    subsets[a], subsets[b] = first, second
                    costs[a], costs[b] = pair
                    improved = True
    return subsets


def split_volumes(table: Gradients, generator: torch.Generator) -> list[NDArray[np.intp]]:
    """Volumes of each half: well-spread directions, and b0s of its own where there are two or more.

    Returns
    -------
    halves : list of two int arrays
        They share volumes only where there is a single b0.
    """
    weighted, b0 = np.flatnonzero(~table.is_b0), np.flatnonzero(table.is_b0)
    directions = split_directions(table.bvecs[weighted], 2, generator, n_tries=_N_TRIES)
    own_b0 = [b0[0::2], b0[1::2]] if b0.size > 1 else [b0, b0]
    return [np.sort(np.concatenate((b, weighted[d]))) for b, d in zip(own_b0, directions)]


def split_series(
    data: NDArray[np.float32], table: Gradients, mask: NDArray[np.bool_], halves: list[NDArray[np.intp]]
) -> list[NDArray[np.float32]]:
    """Series of the whole table, synthesized from each half.

    Parameters
    ----------
    data : (X, Y, Z, C) array
    mask : (X, Y, Z) bool array
    halves : list of int arrays

    Returns
    -------
    series : list of (X, Y, Z, C) arrays
        Outside the mask the acquired signal.
    """
    result = []
    for volumes in halves:
        fit = fit_tensor(data[..., volumes], table.subset(volumes), mask)
        result.append(np.where(mask[..., None], synthesize_signal(fit, table), data).astype(np.float32))
    return result
