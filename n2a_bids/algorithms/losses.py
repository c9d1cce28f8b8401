"""Losses: plain functions of tensors."""

from __future__ import annotations

from torch import Tensor


def masked_mse(estimate: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error over weighted voxels.

    Parameters
    ----------
    estimate, target : (N, C, X, Y, Z) tensor
    weight : tensor that broadcasts to `estimate`
        Zero where a voxel does not count.

    Returns
    -------
    loss : scalar tensor
        Zero where no voxel counts.
    """
    weight = weight.expand_as(estimate)
    return ((estimate - target) ** 2 * weight).sum() / weight.sum().clamp(min=1)
