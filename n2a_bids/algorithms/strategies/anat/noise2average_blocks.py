"""Block grid of the published Noise2Average code, for strategy ``noise2average``, without hard edges."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.nn.batches import Pair, as_batch
from n2a_bids.algorithms.nn.blocks import blend, cover_mask
from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.nn.training import Batch


def grid_batches(
    pairs: list[Pair], mask: NDArray[np.bool_], edge: int, left_right_axis: int, device: torch.device
) -> list[Batch]:
    """Every block of the regular grid over the mask, and its left-right mirror image, batch size 1.

    Parameters
    ----------
    pairs : list of Pair
        Targets are taken inside the mask only.
    mask : (X, Y, Z) bool array
    edge : int
        Block edge in voxels.
    """
    batches = []
    for pair in pairs:
        stacked = torch.from_numpy(np.stack((pair.noisy, pair.noise_sd, pair.target * mask, pair.weight)))
        for box in cover_mask(mask, edge):
            block = stacked[(slice(None), *box)][None]
            for version in (block, block.flip(2 + left_right_axis)):
                batches.append(as_batch(version.to(device)))
    return batches


def cycled(batches: list[Batch], generator: torch.Generator) -> Callable[[], Batch]:
    """All batches in random order, again and again."""
    order: list[int] = []

    def draw() -> Batch:
        if not order:
            order.extend(torch.randperm(len(batches), generator=generator).tolist())
        return batches[order.pop()]

    return draw


def predict_on_grid(
    network: nn.Module,
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    edge: int,
    left_right_axis: int,
    context: Context,
) -> NDArray[np.float32]:
    """Denoise the grid's blocks, averaged with their mirror images, blended and masked.

    Parameters
    ----------
    network : nn.Module
        In eval mode.
    image : (X, Y, Z) float32 array
        Masked z-scores.
    mask : (X, Y, Z) bool array

    Returns
    -------
    denoised : (X, Y, Z) float32 array
        Zero outside the mask.
    """
    boxes = cover_mask(mask, edge)
    flips = ((), (left_right_axis,))
    zero = np.zeros(image.shape, np.float32)
    blocks = [
        predict(
            network,
            image[box],
            zero[box],
            device=context.device,
            memory_gb=context.memory_gb,
            flips=flips,
        )
        for box in boxes
    ]
    return blend(blocks, boxes, image.shape) * mask
