"""Applies a 3D network to a whole volume, in overlapping blocks without seams."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.nn.blocks import cut, largest_cores, most_voxels, plan_blocks, shape_of
from n2a_bids.algorithms.nn.networks import ResidualUNet, receptive_radius
from n2a_bids.algorithms.nn.precision import precision_for
from n2a_bids.algorithms.nn.unet_inference import residual_by_levels

FLIPS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
"""Mirror images over which a prediction can be averaged."""

MARGIN_VOXELS = 4
"""Reflected around a volume, so that zero padding hardly reaches it; 8 are no better."""


@torch.no_grad()
def predict(
    network: nn.Module,
    image: NDArray[np.float32],
    *others: NDArray[np.float32],
    device: torch.device,
    memory_gb: float = 6.0,
    flips: tuple[tuple[int, ...], ...] = ((),),
    margin_voxels: int = MARGIN_VOXELS,
) -> NDArray[np.float32]:
    """Denoise a whole volume.

    Parameters
    ----------
    network : nn.Module
        Predicts residuals; in eval mode.
    image : (X, Y, Z) float32 array
        In z-scores: what the residual is added to.
    *others : (X, Y, Z) float32 arrays
        What else the network takes: the noise level.
    memory_gb : float
        Bound on activations; smaller means smaller blocks, never another result
        (halo = receptive field) up to rounding. A U-Net is applied level by level where they do not fit.
    flips : tuple of tuple of int
        Axes of the mirror images to average over.
    margin_voxels : int
        Reflected around the volume.

    Returns
    -------
    denoised : (X, Y, Z) float32 array
        Neither input is modified.
    """
    stride = network.stride
    margin = margin_voxels
    pads = [(margin, margin + (-(size + 2 * margin)) % stride) for size in image.shape]
    mode = "reflect" if min(image.shape) > margin + stride else "edge"
    inputs = torch.from_numpy(np.stack([np.pad(volume, pads, mode=mode) for volume in (image, *others)]))
    inputs = inputs[:, None, None].to(device)
    total = torch.zeros_like(inputs[0])
    for flip in flips:
        axes = [axis + 2 for axis in flip]
        mirrored = [tensor.flip(axes) if axes else tensor for tensor in inputs]
        residual = _residual_in_blocks(network, mirrored, memory_gb)
        total += residual.flip(axes) if axes else residual
    inside = tuple(slice(low, low + size) for (low, _), size in zip(pads, image.shape))
    return image + (total / len(flips))[0, 0][inside].cpu().numpy()


def _residual_in_blocks(network: nn.Module, volumes: list[torch.Tensor], memory_gb: float) -> torch.Tensor:
    """What the network adds to a volume: at once where its features fit the memory, else in parts."""
    device = volumes[0].device
    precision = precision_for(device)
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        if isinstance(network, ResidualUNet):
            return residual_by_levels(network, volumes, memory_gb, precision)
        residual, shape, halo = torch.empty_like(volumes[0]), shape_of(volumes[0]), receptive_radius(network)
        fitting = most_voxels(memory_gb, network.tail.in_channels, precision)
        cores = largest_cores(shape, halo, network.stride, fitting)
        for block in plan_blocks(shape, cores, halo, network.stride):
            values = network(*(cut(volume, block.box) for volume in volumes))
            residual[(..., *block.core)] = values[(..., *block.core_in_box)].float()
    return residual
