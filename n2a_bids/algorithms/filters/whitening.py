"""Whitens patches of correlated noise for non-local Bayes, and colours them again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Whitening:
    """What makes the noise of patches white, and what undoes that.

    With the noise covariance v R = v L L', the posterior of a patch y is that of ``L^-1 y``, whose noise is
    white, times L.
    """

    root: Tensor
    """(D, D) L, for patches of D intensities."""
    inverse: Tensor
    """(D, D) L^-1."""

    precision: Tensor
    """(D, D) R^-1."""

    @classmethod
    def of(cls, correlation: NDArray[np.float64], n_channels: int, device: torch.device) -> Whitening:
        """Whitening of patches of several channels, of independent noise that is correlated alike in space.

        Parameters
        ----------
        correlation : (V, V) array
            Of the noise of the V voxels of a patch, positive definite.
        n_channels : int
            A patch has ``D = V n_channels`` intensities, those of one voxel next to each other.
        """
        factor = np.kron(np.linalg.cholesky(correlation), np.eye(n_channels))
        inverse = solve_triangular(factor, np.eye(len(factor)), lower=True)
        matrices = (factor, inverse, inverse.T @ inverse)
        return cls(
            *(
                torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32)).to(device)
                for matrix in matrices
            )
        )

    def whiten(self, patches: Tensor) -> Tensor:
        """(..., D) patches with white noise."""
        return patches @ self.inverse.T

    def divide(self, patches: Tensor) -> Tensor:
        """(..., D) patches times R^-1: whitened, and seen by what whitens them."""
        return patches @ self.precision

    def colour(self, patches: Tensor) -> Tensor:
        """(..., D) patches with the noise that they had."""
        return patches @ self.root.T

    def coloured_diagonal(self, matrices: Tensor) -> Tensor:
        """(..., D) diagonal of ``L M L'`` for (..., D, D) symmetric matrices."""
        return ((self.root @ matrices) * self.root).sum(dim=-1)
