"""Division of diffusion directions into subsets that each determine a tensor well."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray


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
    x, y, z = np.asarray(bvecs, dtype=float).T
    design = np.stack((x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z), axis=1)
    return float(np.linalg.cond(design))


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
