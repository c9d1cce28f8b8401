"""Diffusion gradient tables: shells, angles, neighbours in q-space, well-spread subsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from n2a_bids.algorithms.realizations import Gradients
from n2a_bids.algorithms.shells import FEWEST_VOLUMES as FEWEST_VOLUMES
from n2a_bids.algorithms.shells import find_shells as find_shells
from n2a_bids.algorithms.shells import pool_small_shells
from n2a_bids.algorithms.shells import round_to_shells as round_to_shells

_B_ROUNDING, _B_STEP = 0.05, 8.0
"""b-values of one measurement differ by at most this part, or this much (s/mm2)."""
_B0_SPAN = 16.0
"""In s/mm2: b0s of one table that are no farther apart are of one kind, not steps of a protocol."""
_TIE, _OTHER_B0, _NEVER = 1e-6, 4.0, 1e6
"""Cost of pairing volumes of other places, b0s that are written with other b, and what does not fit."""


def antipodal_angle_deg(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle between axes: a direction and its opposite encode the same diffusion.

    Parameters
    ----------
    first, second : (N, 3) and (M, 3) arrays
        Unit vectors.

    Returns
    -------
    angles : (N, M) array
        Degrees, 0 to 90.

    Examples
    --------
    >>> antipodal_angle_deg(np.array([[1.0, 0, 0]]), np.array([[-1.0, 0, 0], [0, 1, 0]]))
    array([[ 0., 90.]])
    """
    cosine = np.abs(np.asarray(first) @ np.asarray(second).T)
    return np.degrees(np.arccos(np.clip(cosine, 0.0, 1.0)))


def nearest_neighbours(gradients: Gradients, max_angle_deg: float = 15.0) -> NDArray[np.intp]:
    """Nearest other volume on the same shell, or the volume itself where none is near.

    Parameters
    ----------
    gradients : Gradients
        Table of C volumes.
    max_angle_deg : float
        Volumes at this angle or farther are no neighbours.

    Returns
    -------
    neighbours : (C,) int array
        Index of the neighbour; b0 volumes are their own.
    """
    shells = find_shells(gradients)
    angles = antipodal_angle_deg(gradients.bvecs, gradients.bvecs)
    angles[shells[:, None] != shells[None, :]] = np.inf
    np.fill_diagonal(angles, np.inf)
    nearest = np.argmin(angles, axis=1)
    own = np.arange(shells.size)
    near = (np.take_along_axis(angles, nearest[:, None], axis=1)[:, 0] < max_angle_deg) & (shells > 0)
    return np.where(near, nearest, own)


def rotate_bvecs(bvecs: NDArray[np.float64], rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn directions with the image they belong to.

    Parameters
    ----------
    bvecs : (C, 3) array
        Unit vectors, zero for b0.
    rotation : (3, 3) array
        Maps old coordinates to new ones; scaling and shear are removed (polar decomposition).

    Returns
    -------
    rotated : (C, 3) array
        Unit vectors, zero where the input is zero.
    """
    left, _, right = np.linalg.svd(rotation)
    rotated = np.asarray(bvecs) @ (left @ right).T
    norms = np.linalg.norm(rotated, axis=1, keepdims=True)
    return np.divide(rotated, norms, out=np.zeros_like(rotated), where=norms > 0)


def match_tables(first: Gradients, second: Gradients, *, max_angle_deg: float = 5.0) -> list[tuple[int, int]]:
    """Pair the volumes of two series that measure the same thing.

    As many pairs as possible are made; among the ways to make them, the one with the smallest differences
    is taken, and volumes that measure the same are paired in their order. b-values of a pair differ by
    at most 5 % or 8 s/mm2: scanners round to 5, and protocols of low b-values step by 10. b0s without
    direction are paired whatever b is written for them, as long as each table has one kind of b0.

    Parameters
    ----------
    first, second : Gradients
        Tables; directions are compared in the world and up to sign.
    max_angle_deg : float
        Largest angle within a pair; of two b0s with directions, the angle only decides between equals.

    Returns
    -------
    pairs : list of (int, int)
        Index in `first` and in `second`, in the order of `first`; every volume is used at most once.
    """
    b_first, b_second = first.bvals[:, None], second.bvals[None, :]
    apart = np.abs(b_first - b_second) / np.maximum(_B_STEP, _B_ROUNDING * np.maximum(b_first, b_second))
    angles = antipodal_angle_deg(first.bvecs, second.bvecs)
    directed, also_directed = np.any(first.bvecs, axis=1)[:, None], np.any(second.bvecs, axis=1)[None, :]
    both_low = (b_first <= first.b0_threshold) & (b_second <= second.b0_threshold)
    angles = np.where(directed & also_directed, angles / np.where(both_low, 90.0, max_angle_deg), 0.0)
    fits = (apart <= 1) & (angles <= 1) & (both_low | (directed == also_directed))
    b0s = np.logical_and.outer(_plain_b0s(first), _plain_b0s(second))
    apart, fits = np.where(b0s & ~fits, _OTHER_B0, apart), fits | b0s
    places = np.subtract.outer(np.arange(first.bvals.size), np.arange(second.bvals.size))
    order = _TIE * (places / max(places.shape)) ** 2
    rows, columns = linear_sum_assignment(np.where(fits, apart + angles + order, _NEVER))
    return [(int(row), int(column)) for row, column in zip(rows, columns) if fits[row, column]]


def _plain_b0s(table: Gradients) -> NDArray[np.bool_]:
    """(C,) True for b0s without direction, where the table has no b0s of several b-values or directions."""
    b0s = table.is_b0
    one_kind = b0s.any() and not np.any(table.bvecs[b0s]) and np.ptp(table.bvals[b0s]) <= _B0_SPAN
    return b0s if one_kind else np.zeros_like(b0s)


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


def angular_groups(gradients: Gradients, max_volumes: int) -> list[NDArray[np.intp]]:
    """Cut a long series into groups of volumes that resemble each other.

    Every group holds volumes of one shell, ordered along a chain of nearest directions, or of neighbouring
    b-values where shells are small (IVIM, DSI), so that long series are denoised with bounded memory.

    Parameters
    ----------
    gradients : Gradients
        Table of C volumes.
    max_volumes : int
        Largest group, but for volumes of shells too small for a group of their own (b0s, say): they go
        with the neighbouring shell, since of fewer than seven volumes noise and signal cannot be told apart.

    Returns
    -------
    groups : list of int arrays
        Every volume is in exactly one group; one group if C is at most `max_volumes`.
    """
    shells = find_shells(gradients)
    if shells.size <= max_volumes:
        return [np.arange(shells.size)]
    groups: list[NDArray[np.intp]] = []
    waiting = np.zeros(0, np.intp)
    pools = pool_small_shells(shells, max_volumes)
    for pool in np.unique(pools):
        members = np.flatnonzero(pools == pool)
        if np.unique(shells[members]).size == 1:
            chain = _nearest_chain(members, gradients.bvecs)
        else:
            chain = members[np.argsort(gradients.bvals[members], kind="stable")]
        parts = np.array_split(chain, -(-chain.size // max_volumes))
        parts[0] = np.concatenate((waiting, parts[0]))
        waiting = parts.pop() if parts[-1].size < FEWEST_VOLUMES else waiting[:0]
        groups.extend(parts)
    if waiting.size:
        groups[-1] = np.concatenate((groups[-1], waiting))
    return [np.sort(group) for group in groups]


def _nearest_chain(members: NDArray[np.intp], bvecs: NDArray[np.float64]) -> NDArray[np.intp]:
    angles = antipodal_angle_deg(bvecs[members], bvecs[members])
    chain, left = [0], set(range(1, members.size))
    while left:
        nearest = min(left, key=lambda index: (angles[chain[-1], index], index))
        chain.append(nearest)
        left.remove(nearest)
    return members[chain]
