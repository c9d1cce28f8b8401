"""b-value shells of diffusion series, and neighbouring directions in q-space within each shell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients, antipodal_angle_deg
from n2a_bids.contrasts import B0_THRESHOLD

FEWEST_VOLUMES = 7
"""In a shorter series, noise and signal cannot be told apart."""
_SHELL_GAP, _SHELL_WIDTH, _SHELL_ROUNDING = 30.0, 50.0, 0.05
"""Largest gap between neighbours and largest width of a shell, in s/mm2; or this part of b, if it is more."""
_NEIGHBOUR_DEG = 15.0
"""Volumes at this angle or farther are no neighbours."""


def round_to_shells(bvals: NDArray[np.float64], *, b0_threshold: float = B0_THRESHOLD) -> NDArray[np.float64]:
    """Replace every b-value by that of its shell.

    Scanners write 995, 1000 and 1005 for one shell, and 2950 to 3050 for another. Neighbours at most 30 s/mm2
    or 5 % apart belong together, as long as the whole shell is at most 50 s/mm2 or 5 % wide: a chain of
    b-values is cut at its widest gaps, so that in schemes such as IVIM or DSI every b is a shell of its own.

    Parameters
    ----------
    bvals : (C,) array
        b-values in s/mm2, in any order.
    b0_threshold : float
        Largest b-value that counts as b0.

    Returns
    -------
    shells : (C,) array
        Median of each shell, rounded to 10 s/mm2 where this keeps shells apart; b0 volumes are exactly 0.

    Examples
    --------
    >>> round_to_shells(np.array([5.0, 995.0, 1005.0, 1990.0, 0.0]))
    array([   0., 1000., 1000., 1990.,    0.])
    >>> round_to_shells(np.array([0.0, 100.0, 200.0, 300.0]))
    array([  0., 100., 200., 300.])
    """
    bvals = np.asarray(bvals, dtype=float)
    shells = np.zeros_like(bvals)
    weighted = bvals > b0_threshold
    if not weighted.any():
        return shells
    clusters = _cut_to_width(np.unique(bvals[weighted]))
    members = [weighted & (bvals >= low) & (bvals <= high) for low, high in clusters]
    names = np.array([np.median(bvals[cluster]) for cluster in members])
    rounded = np.round(names / 10) * 10
    for cluster, exact, round_name in zip(members, names, rounded, strict=True):
        shells[cluster] = exact if np.count_nonzero(rounded == round_name) > 1 else round_name
    return shells


def _cut_to_width(bvals: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Lowest and highest b-value of every shell of these, sorted and different."""
    gaps, width = np.diff(bvals), bvals[-1] - bvals[0]
    apart = gaps > np.maximum(_SHELL_GAP, _SHELL_ROUNDING * bvals[:-1])
    if not apart.any() and width <= max(_SHELL_WIDTH, _SHELL_ROUNDING * np.median(bvals)):
        return [(bvals[0], bvals[-1])]
    # Of equal gaps that nearest to the middle, so that an even chain falls into even parts.
    middle = np.abs((bvals[:-1] + bvals[1:]) / 2 - (bvals[0] + bvals[-1]) / 2)
    cut = int(np.lexsort((middle, -gaps))[0]) + 1
    return _cut_to_width(bvals[:cut]) + _cut_to_width(bvals[cut:])


def find_shells(gradients: Gradients) -> NDArray[np.float64]:
    """Shell of every volume of a table: see `round_to_shells`; volumes without direction are b0, too.

    Returns
    -------
    shells : (C,) array
        s/mm2; exactly 0 for b0.
    """
    return round_to_shells(
        np.where(gradients.is_b0, 0.0, gradients.bvals), b0_threshold=gradients.b0_threshold
    )


def pool_small_shells(shells: NDArray[np.floating], fewest: int = FEWEST_VOLUMES) -> NDArray[np.float64]:
    """Take neighbouring shells together where each is too small to be judged by itself.

    Parameters
    ----------
    shells : (C,) array
        See `find_shells`.
    fewest : int
        Volumes that a pool should have.

    Returns
    -------
    pools : (C,) array
        Lowest shell of each pool. Shells of seven volumes or more, b0s, and small ones with no small
        neighbour are left alone.

    Examples
    --------
    >>> pool_small_shells(np.array([0.0, 10, 20, 30, 40] + [1000.0] * 7), fewest=2)[:5]
    array([ 0., 10., 10., 30., 30.])
    """
    names, counts = np.unique(shells, return_counts=True)
    pools, start, last_start = names.astype(float), None, None
    for index, (name, count) in enumerate(zip(names, counts, strict=True)):
        if count >= FEWEST_VOLUMES or name == 0:
            start = last_start = None
            continue
        if start is None:
            start = index
        pools[index] = names[start]
        if counts[start : index + 1].sum() >= fewest:
            start, last_start = None, start
        elif last_start is not None and (index + 1 == len(names) or counts[index + 1] >= FEWEST_VOLUMES):
            # What is left at the end of a run goes to the pool before.
            pools[start : index + 1] = names[last_start]
    return pools[np.searchsorted(names, shells)]


def nearest_neighbours(gradients: Gradients) -> NDArray[np.intp]:
    """Nearest other volume on the same shell, or the volume itself where none is near.

    Parameters
    ----------
    gradients : Gradients
        Table of C volumes.

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
    near = (np.take_along_axis(angles, nearest[:, None], axis=1)[:, 0] < _NEIGHBOUR_DEG) & (shells > 0)
    return np.where(near, nearest, own)


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
