"""Diffusion tensor fit (weighted, log-linear): FA, MD, main direction, and the signal that it predicts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.shells import find_shells

_CHUNK = 20_000
"""Voxels fitted at a time: bounds the memory of the batched normal equations."""


_LARGEST_B = 1500.0
"""b-value (s/mm2) up to which the tensor is a fair model of the signal."""


@dataclass(frozen=True, slots=True)
class TensorFit:
    """A tensor in every voxel of a mask."""

    mask: NDArray[np.bool_]
    """(X, Y, Z) voxels fitted, N of them."""
    log_s0: NDArray[np.float64]
    """(N,) logarithm of the signal without diffusion weighting."""
    elements: NDArray[np.float64]
    """(N, 6) Dxx, Dyy, Dzz, Dxy, Dxz, Dyz in mm2/s."""

    def eigen(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Eigenvalues (N, 3), largest first, negative ones 0, and eigenvectors (N, 3, 3) as columns."""
        xx, yy, zz, xy, xz, yz = self.elements.T
        matrices = np.stack((xx, xy, xz, xy, yy, yz, xz, yz, zz), axis=1).reshape(-1, 3, 3)
        values, vectors = np.linalg.eigh(matrices)
        return np.clip(values[:, ::-1], 0.0, None), vectors[:, :, ::-1]

    def to_volume(self, values: NDArray) -> NDArray[np.float32]:
        """Place per-voxel `values` (N, ...) on the grid, zero outside the mask."""
        volume = np.zeros(self.mask.shape + values.shape[1:], dtype=np.float32)
        volume[self.mask] = values
        return volume


def tensor_design(gradients: Gradients) -> NDArray[np.float64]:
    """Columns of the log-linear model: 1 and ``-b g g^T`` in 1e3 s/mm2 (so elements are in 1e-3 mm2/s).

    Returns
    -------
    design : (C, 7) array
        Ones, then the xx, yy, zz, xy, xz, yz terms.
    """
    b = np.asarray(gradients.bvals, dtype=float)[:, None] / 1000.0
    return np.concatenate((np.ones((len(b), 1)), -b * direction_products(gradients.bvecs)), axis=1)


def direction_products(bvecs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C, 6) xx, yy, zz, xy, xz, yz terms of directions, mixed ones twice."""
    x, y, z = np.asarray(bvecs, dtype=float).T
    return np.stack((x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z), axis=1)


def tensor_volumes(gradients: Gradients) -> NDArray[np.intp]:
    """Volumes to fit a tensor to: up to a shell of 1500 where these suffice, else all; none without b0.

    Without a b0 small differences between the b-values of one shell may make the equations solvable,
    and the solution worthless.

    Examples
    --------
    >>> tensor_volumes(Gradients(np.array([0.0, 1000.0]), np.array([[0.0, 0, 0], [1, 0, 0]])))
    array([], dtype=int64)
    """
    everything = np.arange(gradients.bvals.size)
    if not gradients.is_b0.any():
        return everything[:0]
    design = tensor_design(gradients)
    for volumes in (everything[find_shells(gradients) <= _LARGEST_B], everything):
        if volumes.size and np.linalg.matrix_rank(design[volumes]) == 7:
            return volumes
    return everything[:0]


def fit_tensor(
    data: NDArray, gradients: Gradients, mask: NDArray[np.bool_], *, n_iterations: int = 2
) -> TensorFit:
    """Fit a tensor to every voxel by weighted least squares on the log signal.

    Weights are the squared signal predicted by the fit before (first: ordinary
    least squares), which undoes the distortion that the logarithm makes of the
    noise (Salvador et al., Hum Brain Mapp 2005).

    Parameters
    ----------
    data : (X, Y, Z, C) array
        Signal; values at or below zero are raised to a small positive floor.
    gradients : Gradients
        Table of the C volumes.
    mask : (X, Y, Z) bool array
        Voxels to fit.
    n_iterations : int
        Weighted fits after the unweighted one.

    Raises
    ------
    ValueError
        If the table has fewer than seven volumes, does not match `data`, or cannot determine a tensor.
    """
    design = tensor_design(gradients)
    if data.shape[-1] != len(design):
        raise ValueError(f"{data.shape[-1]} volumes, but {len(design)} gradients")
    if np.linalg.matrix_rank(design) < 7:
        raise ValueError("these gradients cannot determine a tensor: it takes a b0 and six spread directions")
    signal = np.asarray(data[mask], dtype=float)
    floor = max(1e-4 * float(np.mean(signal, where=signal > 0)) if (signal > 0).any() else 1.0, 1e-12)
    logs = np.log(np.maximum(signal, floor))
    solution = logs @ np.linalg.pinv(design).T
    for _ in range(n_iterations):
        for start in range(0, len(logs), _CHUNK):
            part = slice(start, start + _CHUNK)
            solution[part] = _weighted_solution(design, logs[part], solution[part])
    return TensorFit(mask=mask, log_s0=solution[:, 0], elements=solution[:, 1:] / 1000.0)


def _weighted_solution(design: NDArray, logs: NDArray, previous: NDArray) -> NDArray[np.float64]:
    predicted = previous @ design.T
    weights = np.exp(2 * (predicted - predicted.max(axis=1, keepdims=True)))
    # A weight of zero would let one voxel of pure noise make the system singular.
    weights = np.maximum(weights, 1e-4)
    normal = np.einsum("nc,ci,cj->nij", weights, design, design, optimize=True)
    right = np.einsum("nc,nc,ci->ni", weights, logs, design, optimize=True)
    return np.linalg.solve(normal, right[..., None])[..., 0]


def synthesize_signal(fit: TensorFit, gradients: Gradients) -> NDArray[np.float32]:
    """Signal that the fitted tensors predict.

    Parameters
    ----------
    fit : TensorFit
        N voxels of a grid (X, Y, Z).
    gradients : Gradients
        Table of the C volumes to predict; need not be the one fitted.

    Returns
    -------
    signal : (X, Y, Z, C) float32 array
        Zero outside the mask of `fit`.
    """
    coefficients = np.concatenate((fit.log_s0[:, None], fit.elements * 1000.0), axis=1)
    return fit.to_volume(np.exp(coefficients @ tensor_design(gradients).T))


def mean_diffusivity(fit: TensorFit) -> NDArray[np.float64]:
    """Mean of the eigenvalues, (N,) in mm2/s."""
    return fit.eigen()[0].mean(axis=1)


def fractional_anisotropy(fit: TensorFit) -> NDArray[np.float64]:
    """Fractional anisotropy, (N,), from 0 (sphere) to 1 (stick)."""
    values = fit.eigen()[0]
    spread = np.sum((values - values.mean(axis=1, keepdims=True)) ** 2, axis=1)
    size = np.sum(values**2, axis=1)
    return np.sqrt(1.5 * np.divide(spread, size, out=np.zeros_like(size), where=size > 0))


def principal_direction(fit: TensorFit) -> NDArray[np.float64]:
    """Eigenvector of the largest eigenvalue, (N, 3), unit length, sign arbitrary."""
    return fit.eigen()[1][:, :, 0]
