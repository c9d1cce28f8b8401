"""3D blocks of an image: grid, cutting, blending of overlaps, flips and rotations for augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from n2a_bids.algorithms.masked_filters import bounding_box, box_within

Index = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class Block:
    """A core that is written, and the larger box that is read to compute it."""

    core: Index
    box: Index

    @property
    def core_in_box(self) -> Index:
        """The core, in coordinates of the box."""
        return box_within(self.core, self.box)


_ACTIVATION_COPIES = 5
"""Feature maps of the finest level alive at once, measured as peak memory over one map."""

_SMALLEST_CORE = 16
"""Below this a block is nearly all halo; memory is then exceeded rather than time."""


def most_voxels(memory_gb: float, n_channels: int, precision: torch.dtype) -> float:
    """Voxels whose features, of so many channels, fit the memory while a network is applied."""
    return memory_gb * 1e9 / (_ACTIVATION_COPIES * n_channels * precision.itemsize)


def largest_cores(
    shape: tuple[int, int, int], halo: int, stride: int, most_voxels: float
) -> tuple[int, int, int]:
    """Edges of the largest cores whose blocks, halos included, have no more than so many voxels.

    The longest core is halved until the block fits: every cut adds two halos of double work, so there should
    be few.
    """
    x, y, z = shape
    cores = [x, y, z]
    while np.prod([min(core + 2 * halo, size) for core, size in zip(cores, shape)]) > most_voxels:
        longest = int(np.argmax(cores))
        if cores[longest] <= _SMALLEST_CORE:
            break
        cores[longest] = -(-cores[longest] // (2 * stride)) * stride
    return cores[0], cores[1], cores[2]


def shape_of(volume: Tensor) -> tuple[int, int, int]:
    """Grid size of a (N, C, X, Y, Z) tensor."""
    return volume.shape[2], volume.shape[3], volume.shape[4]


def cut(volume: Tensor, box: Index) -> Tensor:
    """Part of a (N, C, X, Y, Z) tensor, with the channels of a voxel next to each other."""
    return volume[(..., *box)].contiguous(memory_format=torch.channels_last_3d)


def plan_blocks(
    shape: tuple[int, int, int], core: tuple[int, int, int], halo: int, stride: int
) -> Iterator[Block]:
    """Cover a volume with disjoint cores, each with a halo.

    Parameters
    ----------
    shape : (3,) int
        Grid size; each a multiple of `stride`.
    core : (3,) int
        Edges of the cores in voxels, multiples of `stride`.
    halo : int
        Voxels read on each side, a multiple of `stride`; at least the radius of
        the receptive field makes the result independent of the blocking.
    stride : int
        Blocks start at its multiples, so that pooling falls on the same voxels.

    Yields
    ------
    block : Block

    Raises
    ------
    ValueError
        If a size is not a multiple of `stride`.

    Examples
    --------
    >>> [block.core[0] for block in plan_blocks((8, 4, 4), (4, 4, 4), halo=4, stride=4)]
    [slice(0, 4, None), slice(4, 8, None)]
    """
    if any(size % stride for size in (*shape, *core, halo)):
        raise ValueError(f"shape {shape}, core {core} and halo {halo} must be multiples of {stride}")
    for start in np.ndindex(*(-(-size // edge) for size, edge in zip(shape, core))):
        cores, boxes = [], []
        for index, size, edge in zip(start, shape, core):
            low, high = index * edge, min((index + 1) * edge, size)
            cores.append(slice(low, high))
            boxes.append(slice(max(low - halo, 0), min(high + halo, size)))
        yield Block(core=tuple(cores), box=tuple(boxes))


def cover_mask(mask: NDArray[np.bool_], edge: int) -> list[Index]:
    """Regular, overlapping blocks over the bounding box of a mask, as in the N2A start code.

    ``ceil(extent / edge)`` blocks per axis, evenly spaced. Where the box is
    smaller than a block the block grows outwards; where the volume itself is
    smaller the block is the volume.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    edge : int
        Block edge in voxels.

    Returns
    -------
    blocks : list of (slice, slice, slice)
    """
    starts = []
    for part, size in zip(bounding_box(mask), mask.shape, strict=True):
        low, high = part.start, part.stop
        length = min(edge, size)
        low = max(min(low, size - length), 0)
        last = max(high - length, low)
        starts.append(np.linspace(low, last, -(-(high - low) // length)).round().astype(int))
    lengths = [min(edge, size) for size in mask.shape]
    return [
        tuple(slice(int(low), int(low) + length) for low, length in zip(corner, lengths))
        for corner in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 3)
    ]


def blend(
    blocks: list[NDArray[np.float32]], boxes: list[Index], shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Put overlapping blocks together with weights that fall towards block edges.

    Parameters
    ----------
    blocks : list of (x, y, z) float arrays
    boxes : list of (slice, slice, slice)
        Where each block lies.
    shape : (3,) int
        Grid of the result.

    Returns
    -------
    image : (X, Y, Z) float32 array
        Zero where no block lies. Blocks cut out of one image give it back.
    """
    total, weights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for values, box in zip(blocks, boxes):
        window = np.float32(1)
        for axis, size in enumerate(values.shape):
            ramp = np.sin(np.pi * (np.arange(size, dtype=np.float32) + 0.5) / size) ** 2 + 1e-3
            window = window * ramp.reshape([-1 if axis == other else 1 for other in range(3)])
        total[box] += values * window
        weights[box] += window
    return np.divide(total, weights, out=total, where=weights > 0)


@dataclass(frozen=True, slots=True)
class BlockSampler:
    """Draws random blocks, most of them centred in the mask."""

    shape: tuple[int, int, int]
    edges: tuple[int, int, int]
    centres: Tensor
    """(N, 3) int64 voxel indices of the mask, shuffled."""
    fraction_in_mask: float = 0.7

    @classmethod
    def over(
        cls,
        mask: NDArray[np.bool_],
        edge: int,
        generator: torch.Generator,
        stride: int,
        *,
        cubes: bool = True,
    ) -> BlockSampler:
        """Sampler whose blocks fit the volume.

        Where `edge` does not fit, it shrinks to a multiple of `stride`: on all axes, so that
        blocks can be turned, or without `cubes` on the short ones only.
        """
        fitting = [min(edge, size // stride * stride) for size in mask.shape]
        edges = (min(fitting),) * 3 if cubes else tuple(fitting)
        voxels = torch.from_numpy(np.argwhere(mask))
        order = torch.randperm(len(voxels), generator=generator)[:100_000]
        return cls(shape=tuple(mask.shape), edges=edges, centres=voxels[order])

    def draw(self, generator: torch.Generator) -> Index:
        """One block, inside the volume."""
        if torch.rand((), generator=generator) < self.fraction_in_mask:
            pick = int(torch.randint(len(self.centres), (), generator=generator))
            centre = self.centres[pick].tolist()
        else:
            centre = [int(torch.randint(size, (), generator=generator)) for size in self.shape]
        spans = zip(centre, self.edges, self.shape)
        low = [min(max(c - edge // 2, 0), size - edge) for c, edge, size in spans]
        return tuple(slice(start, start + edge) for start, edge in zip(low, self.edges))


def draw_orientation(generator: torch.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A random one of the 48 orientations of a cube: axes order and axes to flip."""
    order = tuple(int(axis) for axis in torch.randperm(3, generator=generator))
    flips = tuple(axis for axis in range(3) if torch.rand((), generator=generator) < 0.5)
    return order, flips


def orient(block: Tensor, order: tuple[int, ...], flips: tuple[int, ...]) -> Tensor:
    """Permute and flip the last three axes of a tensor."""
    lead = block.ndim - 3
    moved = block.permute(*range(lead), *(lead + axis for axis in order))
    return moved.flip([lead + axis for axis in flips]) if flips else moved
