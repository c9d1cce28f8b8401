"""One diffusion series as two: halves of its directions, and the series that the tensor of each predicts."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.split import split_directions
from n2a_bids.algorithms.diffusion.tensor import fit_tensor, synthesize_signal

_N_TRIES = 2000
"""Random partitions of the directions that are compared."""


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
    table : Gradients
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
