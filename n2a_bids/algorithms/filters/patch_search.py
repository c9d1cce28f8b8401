"""Searches the most similar patches around each place of an image, for non-local Bayes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK_VALUES = 1024 * 48 * 64
"""Intensities denoised at once: 12 MB in each array of a chunk. Larger ones the C library gives back to the
system after each use, whose zeroing of new pages then takes a quarter of the time."""
_MOST_PLANES = 24
"""Of patches that are compared at once. Of a head these stay in the cache of a processor, in three fourths of
the time; with half as many the number of calls costs as much."""


@dataclass(frozen=True, slots=True)
class PatchSearch:
    """Which patches are compared, in voxels.

    ``n2a-tools benchmark --nonlocal`` measures what other settings give; the
    results stand in ``docs/benchmarks``.
    """

    edge: int = 4
    stride: int = 3
    """Between the corners of patches that are denoised."""
    radius: int = 4
    """Of the cube of offsets in which similar patches are looked for."""
    n_similar: int = 48


DEFAULT_SEARCH = PatchSearch()


def find_similar(
    guide: Tensor, region: Tensor, search: PatchSearch, memory_gb: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Flat corners (N,) of the patches to denoise, and of the (N, K) most similar patches, chunk by chunk.

    The guide is (C, X, Y, Z); corners are flat indices in one channel.
    """
    edge, stride = search.edge, search.stride
    guide = guide.contiguous()
    reached = F.max_pool3d(region[None, None].float(), edge, stride=stride)[0, 0] > 0
    offsets = list(product(range(-search.radius, search.radius + 1), repeat=3))
    per_plane = 4 * len(offsets) * max(int(reached.sum(dim=(1, 2)).max()), 1)
    thickness = min(max(1, int(memory_gb * 1e9 / 8 / per_plane)), _MOST_PLANES)
    steps = torch.tensor(offsets, device=guide.device)
    strides = torch.tensor(guide.stride()[1:], device=guide.device)
    last = torch.tensor(guide.shape[1:], device=guide.device) - edge
    n_similar = min(search.n_similar, len(offsets))
    chunk = max(1, _CHUNK_VALUES // (n_similar * len(guide) * edge**3))
    for low in range(0, len(reached), thickness):
        slab = reached[low : low + thickness]
        corners = (slab.nonzero() + torch.tensor([low, 0, 0], device=guide.device)) * stride
        if not len(corners):
            continue
        distances = _distances(guide, slab, low * stride, offsets, search)
        for first in range(0, len(corners), chunk):
            chosen = corners[first : first + chunk]
            near = distances[:, first : first + chunk].T.contiguous()
            near.masked_fill_(~_lie_within(chosen, search.radius, last), torch.inf)
            distance, nearest = near.topk(n_similar, dim=1, largest=False, sorted=False)
            # In a corner of a small volume there may be too few: the patch itself fills up.
            nearest[distance == torch.inf] = len(offsets) // 2
            flat = (chosen * strides).sum(dim=1)
            yield flat, flat[:, None] + (steps * strides).sum(dim=1)[nearest]


def _lie_within(corners: Tensor, radius: int, last: Tensor) -> Tensor:
    """(N, offsets): True where the patch at an offset from a corner lies in the volume."""
    reach = torch.arange(-radius, radius + 1, device=corners.device)
    moved = corners[:, :, None] + reach
    x, y, z = ((moved >= 0) & (moved <= last[:, None])).unbind(dim=1)
    return (x[:, :, None, None] & y[:, None, :, None] & z[:, None, None, :]).flatten(1)


def _distances(
    guide: Tensor, slab: Tensor, first_plane: int, offsets: list[tuple[int, int, int]], search: PatchSearch
) -> Tensor:
    """(offsets, N) squared differences between the slab's patches and those at each offset, summed."""
    radius = search.radius
    depth = (len(slab) - 1) * search.stride + search.edge
    padded = F.pad(guide[None], (radius,) * 6, mode="replicate")[0]
    here = guide[:, first_plane : first_plane + depth]
    places = slab.reshape(-1).nonzero()[:, 0]
    distances = torch.empty((len(offsets), len(places)), device=guide.device)
    squared = torch.empty(here.shape, device=guide.device)  # once: new memory costs as much as the work
    for row, (x, y, z) in zip(distances, offsets):
        x_start = first_plane + radius + x
        there = padded[
            :,
            x_start : x_start + depth,
            radius + y : radius + y + guide.shape[2],
            radius + z : radius + z + guide.shape[3],
        ]
        # Squared differences in one pass; 0 is no reduction. `torch.nn.functional` takes new memory for them.
        torch.ops.aten.mse_loss.out(here, there, 0, out=squared)
        summed = squared.sum(dim=0) if len(squared) > 1 else squared[0]
        torch.index_select(_box_sums(summed, search).reshape(-1), 0, places, out=row)
    return distances


def _box_sums(volume: Tensor, search: PatchSearch) -> Tensor:
    """Sums over the patches of an (X, Y, Z) volume, one axis after another."""
    for axis, size in enumerate(volume.shape):
        reach = size - search.edge + 1
        first, second, *others = (
            volume.narrow(axis, start, reach)[(slice(None),) * axis + (slice(None, None, search.stride),)]
            for start in range(search.edge)
        )
        volume = first + second
        for other in others:
            volume += other
    return volume
