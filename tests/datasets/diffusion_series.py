"""Gradient tables of random directions, and smooth series without noise, for tests of diffusion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients


def random_directions(n: int, seed: int = 0) -> NDArray[np.float64]:
    """(N, 3) unit vectors."""
    vectors = np.random.default_rng(seed).standard_normal((n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def random_table(n_b0: int, n_weighted: int, b: float = 1000.0, seed: int = 0) -> Gradients:
    """b0s first, then one shell."""
    bvecs = np.vstack((np.zeros((n_b0, 3)), random_directions(n_weighted, seed)))
    return Gradients(np.r_[np.zeros(n_b0), np.full(n_weighted, b)], bvecs)


def turning_fibres(
    shape: tuple[int, int, int], table: Gradients, *, stripes: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(X, Y, Z, C) tensors that turn through a box, S0 about 100 in stripes or smooth, and a mask."""
    x, y, z = np.meshgrid(*(np.linspace(0, np.pi, size) for size in shape), indexing="ij")
    fibre = np.stack((np.cos(x), np.sin(x) * np.cos(y), np.sin(x) * np.sin(y)), axis=-1)
    wave = np.sin(3 * y)
    s0 = 100 * (1 + 0.3 * (np.sign(wave) if stripes else wave) * np.cos(z))[..., None]
    is_b0 = table.bvals == 0
    weighted = s0 * np.exp(-(0.4 + 1.2 * (fibre @ table.bvecs[~is_b0].T) ** 2))
    mask = np.zeros(shape, bool)
    mask[1:-1, 1:-1, 1:-1] = True
    return np.concatenate((*[s0] * np.count_nonzero(is_b0), weighted), axis=-1), mask
