"""Applies a 3D network to a whole volume, in overlapping blocks without seams."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.nn.blocks import plan_blocks
from n2a_bids.algorithms.nn.networks import receptive_radius
from n2a_bids.algorithms.nn.precision import precision_for

FLIPS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
"""Mirror images over which a prediction can be averaged."""

MARGIN_VOXELS = 4
"""Reflected around a volume, so that zero padding hardly reaches it; 8 are no better."""

_ACTIVATION_COPIES = 5
"""Full-resolution feature maps alive at once, measured as peak memory over one map."""

_SMALLEST_CORE = 16
"""Below this a block is nearly all halo; memory is then exceeded rather than time."""


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
        (halo = receptive field) up to rounding.
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
    device = volumes[0].device
    precision = precision_for(device)
    shape = tuple(volumes[0].shape[2:])
    residual = torch.empty_like(volumes[0])
    for block in plan_blocks(shape, *_block_size(network, shape, memory_gb, precision), network.stride):
        box = (..., *block.box)
        inputs = [volume[box].contiguous(memory_format=torch.channels_last_3d) for volume in volumes]
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            values = network(*inputs)
        residual[(..., *block.core)] = values[(..., *block.core_in_box)].float()
    return residual


def _block_size(
    network: nn.Module, shape: tuple[int, ...], memory_gb: float, precision: torch.dtype
) -> tuple[tuple[int, int, int], int]:
    """Core edges and halo of the largest blocks that fit the memory.

    The longest core is halved until the block fits: every cut adds two halos of
    double work, so there should be few.
    """
    stride, halo = network.stride, receptive_radius(network)
    voxels = memory_gb * 1e9 / (_ACTIVATION_COPIES * network.tail.in_channels * precision.itemsize)
    cores = list(shape)
    while np.prod([min(core + 2 * halo, size) for core, size in zip(cores, shape)]) > voxels:
        longest = int(np.argmax(cores))
        if cores[longest] <= _SMALLEST_CORE:
            break
        cores[longest] = -(-cores[longest] // (2 * stride)) * stride
    return tuple(cores), halo
