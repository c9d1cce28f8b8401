"""Nearest neighbours among diffusion directions (q-space), and groups of volumes with similar directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients, antipodal_angle_deg
from n2a_bids.algorithms.diffusion.shells import FEWEST_VOLUMES, find_shells, pool_small_shells

_NEIGHBOUR_DEG = 15.0
"""Volumes at this angle or farther are no neighbours."""


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
