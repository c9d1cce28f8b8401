"""Applies a residual U-Net to a volume level by level, where its features do not all fit the memory.

An output voxel depends on 68 voxels on each side, but nearly all of that is the reach of the coarse levels,
whose features are small. Blocks of the whole network would therefore be nearly all halo (seven times the work
where memory lacks a tenth); a level alone reaches 6 to 12 voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from n2a_bids.algorithms.nn.blocks import Block, Index, largest_cores, plan_blocks
from n2a_bids.algorithms.nn.networks import ResidualUNet

ACTIVATION_COPIES = 5
"""Feature maps of the finest level alive at once, measured as peak memory over one map."""

_LEAST_SHARE = 0.2
"""Of the memory, left to blocks whatever is kept of the levels below."""


@dataclass(frozen=True, slots=True)
class _Passage:
    """How the features of a level come and go."""

    enter: Callable[[Index], Tensor]
    """(N, C, X, Y, Z) features of a box."""
    enter_radius: int
    """Voxels next to the border of the box where they are wrong, unless it is that of the volume."""
    leave: nn.Module
    """What is made of the features of the level in the end."""
    leave_radius: int
    out: Tensor
    """(N, C, X, Y, Z) what that fills."""
    memory_gb: float


def residual_by_levels(
    network: ResidualUNet, volumes: list[Tensor], memory_gb: float, precision: torch.dtype
) -> Tensor:
    """What the network adds to a volume, as at once, up to rounding.

    Parameters
    ----------
    network : ResidualUNet
        In 3D.
    volumes : list of (1, 1, X, Y, Z) tensors
        What it takes.
    memory_gb : float
        Bound on features.
    precision : torch.dtype
        Of the features that are kept.

    Returns
    -------
    residual : (1, 1, X, Y, Z) float32 tensor
    """
    residual = torch.empty_like(volumes[0])
    enter = _Entrance(network, volumes)
    _fill(network, 0, _Passage(enter, 1, network.tail, 1, residual, memory_gb), precision)
    return residual


class _Entrance:
    """The first convolution, of a box of the volumes."""

    def __init__(self, network: ResidualUNet, volumes: list[Tensor]):
        self._network, self._volumes = network, volumes

    def __call__(self, box: Index) -> Tensor:
        joined = self._network.join(*(volume[(..., *box)] for volume in self._volumes))
        return self._network.head(joined.contiguous(memory_format=torch.channels_last_3d))


def _fill(network: ResidualUNet, level: int, passage: _Passage, precision: torch.dtype) -> None:
    """Fill what leaves a level, block by block; what is below it comes first, whole."""
    width = _width(network, level)
    radius = passage.enter_radius + passage.leave_radius
    if level == len(network.encoder):
        reach = radius + 2 * len(network.bottom)
        for block in _blocks(passage, reach, width, precision, stride=1):
            _write(passage, block, network.bottom(passage.enter(block.box)))
        return
    if _fits(passage, width, precision):
        (block,) = plan_blocks(_shape(passage.out), _shape(passage.out), 0, 1)
        _write(passage, block, network.descend(passage.enter(block.box), level))
        return
    encoder, decoder, up = network.encoder[level], network.decoder[level], network.up[level]
    below = _below(network, level, passage, precision)
    reach = radius + 2 * len(encoder) + 2 * len(decoder)
    spared = replace(passage, memory_gb=_without(passage.memory_gb, below))
    for block in _blocks(spared, reach, width, precision, stride=2):
        # Made anew: kept, they would take as much memory as all else.
        features = encoder(passage.enter(block.box))
        _write(passage, block, decoder(up(_cut(below, _halved(block.box))).add_(features)))


def _below(network: ResidualUNet, level: int, passage: _Passage, precision: torch.dtype) -> Tensor:
    """All features that the levels below one bring back to it."""
    encoder, down = network.encoder[level], network.down[level]
    shape = (len(passage.out), down.out_channels, *(size // 2 for size in _shape(passage.out)))
    kept = torch.empty(
        shape, dtype=precision, device=passage.out.device, memory_format=torch.channels_last_3d
    )
    memory_gb = _without(passage.memory_gb, kept, kept)
    reach = passage.enter_radius + 2 * len(encoder)
    spared = replace(passage, memory_gb=memory_gb)
    for block in _blocks(spared, reach, _width(network, level), precision, stride=2):
        features = down(encoder(passage.enter(block.box)))
        kept[(..., *_halved(block.core))] = features[(..., *_halved(block.core_in_box))]
    returned = torch.empty_like(kept)
    deeper = _Passage(lambda box: _cut(kept, box), 0, nn.Identity(), 0, returned, memory_gb)
    _fill(network, level + 1, deeper, precision)
    return returned


def _width(network: ResidualUNet, level: int) -> int:
    """Channels of a level."""
    is_lowest = level == len(network.down)
    return network.bottom[0].first.in_channels if is_lowest else network.down[level].in_channels


def _blocks(
    passage: _Passage, reach: int, width: int, precision: torch.dtype, stride: int
) -> Iterator[Block]:
    """Blocks of a level of so many channels, read with all that their cores depend on."""
    halo = -(-reach // stride) * stride
    most = _most_voxels(passage.memory_gb, width, precision)
    shape = _shape(passage.out)
    return plan_blocks(shape, largest_cores(shape, halo, stride, most), halo, stride)


def _fits(passage: _Passage, width: int, precision: torch.dtype) -> bool:
    return np.prod(_shape(passage.out)) <= _most_voxels(passage.memory_gb, width, precision)


def _most_voxels(memory_gb: float, width: int, precision: torch.dtype) -> float:
    return memory_gb * 1e9 / (ACTIVATION_COPIES * width * precision.itemsize)


def _without(memory_gb: float, *kept: Tensor) -> float:
    """Memory that is left beside some tensors."""
    taken = sum(one.numel() * one.element_size() for one in kept) / 1e9
    return max(memory_gb - taken, _LEAST_SHARE * memory_gb)


def _shape(volume: Tensor) -> tuple[int, int, int]:
    return (volume.shape[2], volume.shape[3], volume.shape[4])


def _halved(box: Index) -> Index:
    """The same box on the next coarser level."""
    x, y, z = (slice(part.start // 2, part.stop // 2) for part in box)
    return (x, y, z)


def _cut(features: Tensor, box: Index) -> Tensor:
    return features[(..., *box)].contiguous(memory_format=torch.channels_last_3d)


def _write(passage: _Passage, block: Block, features: Tensor) -> None:
    """Put what leaves a block into its core."""
    values = passage.leave(features)[(..., *block.core_in_box)]
    passage.out[(..., *block.core)] = values.to(passage.out.dtype)
