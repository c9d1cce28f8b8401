"""Applies a residual U-Net to a volume: at once, or level by level where its features do not fit the memory.

An output voxel depends on 68 voxels on each side, but nearly all of that is the reach of the coarse levels,
whose features are small. Blocks of the whole network would therefore be nearly all halo (seven times the work
where memory lacks a tenth); a level alone reaches 6 to 12 voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from n2a_bids.algorithms.nn.blocks import (
    Block,
    Index,
    cut,
    largest_cores,
    most_voxels,
    plan_blocks,
    shape_of,
)
from n2a_bids.algorithms.nn.networks import ResidualUNet

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


def residual_by_levels(
    network: ResidualUNet, volumes: list[Tensor], memory_gb: float, precision: torch.dtype
) -> Tensor:
    """What the network adds to a volume; less memory gives the same, up to rounding.

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
    passage = _Passage(partial(_head, network, volumes), 1, network.tail, 1, residual)
    _fill(network, 0, passage, memory_gb, precision)
    return residual


def _head(network: ResidualUNet, volumes: list[Tensor], box: Index) -> Tensor:
    """The first convolution, of a box of the volumes."""
    return network.head(network.join(*(cut(volume, box) for volume in volumes)))


def _fill(
    network: ResidualUNet, level: int, passage: _Passage, memory_gb: float, precision: torch.dtype
) -> None:
    """Fill what leaves a level: at once where all from there on fits; else what is below it comes first."""
    fitting, out = most_voxels(memory_gb, _width(network, level), precision), passage.out
    radius = passage.enter_radius + passage.leave_radius
    if np.prod(shape_of(out)) <= fitting:
        (whole,) = plan_blocks(shape_of(out), shape_of(out), 0, 1)
        _write(passage, whole, network.descend(passage.enter(whole.box), level))
    elif level == len(network.encoder):
        for block in _blocks(out, radius + 2 * len(network.bottom), fitting, stride=1):
            _write(passage, block, network.bottom(passage.enter(block.box)))
    else:
        encoder, decoder, up = network.encoder[level], network.decoder[level], network.up[level]
        below = _below(network, level, passage, memory_gb, precision)
        fitting = most_voxels(_without(memory_gb, below), _width(network, level), precision)
        for block in _blocks(out, radius + 2 * len(encoder) + 2 * len(decoder), fitting, stride=2):
            # Made anew: kept, they would take as much memory as all else.
            features = encoder(passage.enter(block.box))
            _write(passage, block, decoder(up(cut(below, _halved(block.box))).add_(features)))


def _below(
    network: ResidualUNet, level: int, passage: _Passage, memory_gb: float, precision: torch.dtype
) -> Tensor:
    """All features that the levels below one bring back to it."""
    encoder, down, out = network.encoder[level], network.down[level], passage.out
    shape = (len(out), down.out_channels, *(size // 2 for size in shape_of(out)))
    kept = torch.empty(shape, dtype=precision, device=out.device, memory_format=torch.channels_last_3d)
    left_gb = _without(memory_gb, kept, kept)
    fitting = most_voxels(left_gb, _width(network, level), precision)
    for block in _blocks(out, passage.enter_radius + 2 * len(encoder), fitting, stride=2):
        features = down(encoder(passage.enter(block.box)))
        kept[(..., *_halved(block.core))] = features[(..., *_halved(block.core_in_box))]
    returned = torch.empty_like(kept)
    deeper = _Passage(partial(cut, kept), 0, nn.Identity(), 0, returned)
    _fill(network, level + 1, deeper, left_gb, precision)
    return returned


def _width(network: ResidualUNet, level: int) -> int:
    """Channels of a level."""
    is_lowest = level == len(network.down)
    return network.bottom[0].first.in_channels if is_lowest else network.down[level].in_channels


def _blocks(out: Tensor, reach: int, fitting: float, stride: int) -> Iterator[Block]:
    """Blocks of a level of no more than so many voxels, read with all that their cores depend on."""
    halo = -(-reach // stride) * stride
    shape = shape_of(out)
    return plan_blocks(shape, largest_cores(shape, halo, stride, fitting), halo, stride)


def _without(memory_gb: float, *kept: Tensor) -> float:
    """Memory that is left beside some tensors."""
    taken = sum(one.numel() * one.element_size() for one in kept) / 1e9
    return max(memory_gb - taken, _LEAST_SHARE * memory_gb)


def _halved(box: Index) -> Index:
    """The same box on the next coarser level."""
    x, y, z = (slice(part.start // 2, part.stop // 2) for part in box)
    return (x, y, z)


def _write(passage: _Passage, block: Block, features: Tensor) -> None:
    """Put what leaves a block into its core."""
    values = passage.leave(features)[(..., *block.core_in_box)]
    passage.out[(..., *block.core)] = values.to(passage.out.dtype)
