"""Non-local Bayes in three dimensions, with a denoised image as its guide.

After Lebrun, Buades and Morel, "A nonlocal Bayesian image denoising algorithm"
(SIAM Journal on Imaging Sciences 6, 2013), second step: similar patches are taken
as draws from one Gaussian, whose covariance C the guide shows, and each noisy patch
y becomes ``m + C (C + v I)^-1 (y - m)``, the mean of its posterior. Here patches
are cubes and the guide is a network's estimate, where the paper has its own first
step: what the network took for noise in one place comes back from the other places
that look alike. Images of several channels (components of a diffusion series)
have patches that reach through all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from n2a_bids.algorithms.filters.whitening import Whitening

_CHUNK_VALUES = 1024 * 48 * 64
"""Intensities denoised at once: 12 MB in each array of a chunk. Larger ones the C library gives back to the
system after each use, whose zeroing of new pages then takes a quarter of the time."""

_LARGEST_CONDITION = 1e6
"""Of the matrices that are inverted, so that single precision serves."""


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


@torch.no_grad()
def guided_nonlocal_bayes(
    noisy: NDArray[np.float32],
    guide: NDArray[np.float32],
    noise_sd: NDArray[np.float32],
    where: NDArray[np.bool_],
    *,
    search: PatchSearch = PatchSearch(),
    correlation: NDArray[np.float64] | None = None,
    device: torch.device,
    memory_gb: float = 6.0,
    variance: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Denoise patches together with those that look alike in a guide.

    Parameters
    ----------
    noisy : (X, Y, Z) or (X, Y, Z, C) float32 array
        Noisy image, of one or several channels.
    guide : array like `noisy`
        Denoised image in the same unit.
    noise_sd : (X, Y, Z) float32 array
        Noise SD of every channel of `noisy`; the noise of channels is independent.
    where : (X, Y, Z) bool array
        Voxels to denoise; where no patch reaches, the guide is returned.
    search : PatchSearch
    correlation : (edge**3, edge**3) array, optional
        Of the noise of the voxels of a patch, positive definite; white noise by default.
    device : torch.device
    memory_gb : float
        Bound on the table of distances; smaller means thinner slabs, never
        another result.
    variance : array like `noisy`, optional
        Modified: filled with the posterior variance of the patches over every voxel, on average, before
        overlapping ones are averaged; where no patch reaches, it stays.

    Returns
    -------
    denoised : array like `noisy`
        No other input is modified.
    """
    shape = where.shape
    if min(shape) < search.edge or not where.any():
        return guide.copy()
    values, reference, spread, region = (
        torch.from_numpy(_pad(volume.reshape(*shape, -1), search)).to(device)
        for volume in (noisy, guide, noise_sd, where)
    )
    total = torch.zeros_like(values).flatten(0, 2)
    n_corners = torch.zeros_like(spread).reshape(-1)
    expected = None if variance is None else _Accumulator.like(values)
    inside = _offsets_inside(search.edge, spread[..., 0])
    noisy_patches, guide_patches, variances = (
        _view_patches(volume, search.edge) for volume in (values, reference, spread.square())
    )
    noise = None if correlation is None else Whitening.of(correlation, values.shape[-1], device)
    for corners, similar in _find_similar(reference.movedim(3, 0), region[..., 0], search, memory_gb):
        groups = [patches[similar].flatten(2) for patches in (noisy_patches, guide_patches)]
        noise_variance = variances[corners].flatten(1).mean(dim=1)
        estimate, posterior_variance = _posterior(*groups, noise_variance, noise)
        if expected is not None:
            expected.add(corners[:, None] + inside, posterior_variance)
        total.index_add_(0, (similar[:, :, None] + inside).reshape(-1), estimate.reshape(-1, total.shape[1]))
        n_corners.index_add_(0, similar.reshape(-1), n_corners.new_ones(similar.numel()))
    count = _count_patches(n_corners.reshape(spread.shape[:3]), search.edge)[..., None]
    denoised = torch.where(count > 0, total.reshape(values.shape) / count.clamp(min=1), reference)
    if expected is not None:
        expected.fill(variance, values.shape)
    return _without_padding(denoised, noisy.shape)


@dataclass(frozen=True, slots=True)
class _Accumulator:
    """Values of the patches that are denoised at their own place, averaged where they overlap."""

    total: Tensor
    """(voxels, C)"""
    count: Tensor
    """(voxels,)"""

    @classmethod
    def like(cls, volume: Tensor) -> _Accumulator:
        total = torch.zeros_like(volume).reshape(-1, volume.shape[-1])
        return cls(total, total.new_zeros(len(total)))

    def add(self, voxels: Tensor, values: Tensor) -> None:
        """(N, n) flat indices and (N, n * C) values of patches."""
        flat = voxels.reshape(-1)
        self.total.index_add_(0, flat, values.reshape(-1, self.total.shape[-1]))
        self.count.index_add_(0, flat, self.count.new_ones(flat.numel()))

    def fill(self, volume: NDArray[np.float32], padded: torch.Size) -> None:
        """Put the averages into a volume, where there are any; `padded` is the padded shape."""
        average = self.total / self.count.clamp(min=1)[:, None]
        reached = self.count[:, None].expand_as(average) > 0
        average, reached = (
            _without_padding(part.reshape(padded), volume.shape) for part in (average, reached)
        )
        np.copyto(volume, average, where=reached)


def _without_padding(volume: Tensor, shape: tuple[int, ...]) -> NDArray:
    """The part of an (X', Y', Z', C) volume that is no padding, in the shape asked for."""
    x, y, z = shape[:3]
    return volume[:x, :y, :z].reshape(shape).contiguous().cpu().numpy()


def _view_patches(volume: Tensor, edge: int) -> Tensor:
    """(corners, edge, edge, edge, C) view of an (X, Y, Z, C) volume: the patch at every flat corner."""
    x_stride, y_stride, z_stride, channel_stride = volume.stride()
    reach = (edge - 1) * (x_stride + y_stride + z_stride) // z_stride
    size = (volume[..., 0].numel() - reach, edge, edge, edge, volume.shape[-1])
    return volume.as_strided(size, (z_stride, x_stride, y_stride, z_stride, channel_stride))


def _count_patches(n_corners: Tensor, edge: int) -> Tensor:
    """Number of patches over each voxel, from the number of patches with their corner there."""
    padded = F.pad(n_corners[None, None], (edge - 1, 0) * 3)
    return F.avg_pool3d(padded, edge, stride=1, divisor_override=1)[0, 0]


def _pad(volume: NDArray, search: PatchSearch) -> NDArray:
    """Pad an (X, Y, Z, C) volume at the far ends, so that the last patches reach the last voxels."""
    sizes = volume.shape[:3]
    pads = [(0, (search.edge - size) % search.stride) for size in sizes]
    padded = np.pad(volume, [*pads, (0, 0)], mode="reflect" if min(sizes) > search.stride else "edge")
    return np.ascontiguousarray(padded)  # patches are views of it


def _posterior(
    values: Tensor, reference: Tensor, variance: Tensor, noise: Whitening | None
) -> tuple[Tensor, Tensor]:
    """Posterior means of (N, K, D) noisy patches; `reference` shows the covariance of each group of K.

    The second result is the (N, D) posterior variance that the patches of a group have in common.
    """
    if noise is not None:
        values, reference = noise.whiten(values), noise.whiten(reference)
    mean = values.mean(dim=1, keepdim=True)
    deviation = reference - reference.mean(dim=1, keepdim=True)
    n_similar, size = deviation.shape[1:]
    # With fewer patches than intensities in each, the matrix of the patches' products is the smaller one.
    by_patches = n_similar < size
    products = deviation @ deviation.mT if by_patches else deviation.mT @ deviation
    trace = products.diagonal(dim1=1, dim2=2).sum(dim=1)
    # A tiny variance is raised so that the matrix can be inverted.
    ridge = torch.maximum((n_similar - 1) * variance, trace / _LARGEST_CONDITION).clamp(min=1e-12)
    products.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
    factor = torch.linalg.cholesky(products)
    if by_patches:
        # C (C + vI)^-1 d = A' (AA' + (K - 1) vI)^-1 A d, where C = A'A / (K - 1)
        solved = torch.cholesky_solve(deviation, factor)
        estimate = mean + (values - mean) @ deviation.mT @ solved
        if noise is not None:
            estimate, deviation, solved = (noise.colour(part) for part in (estimate, deviation, solved))
        kept = (deviation * solved).sum(dim=1)
    else:
        # C (C + vI)^-1 d = d - v (C + vI)^-1 d
        solved = torch.cholesky_solve((values - mean).mT, factor).mT
        estimate, inverse = values - ridge[:, None, None] * solved, torch.cholesky_inverse(factor)
        if noise is not None:
            estimate = noise.colour(estimate)
        lost = inverse.diagonal(dim1=1, dim2=2) if noise is None else noise.coloured_diagonal(inverse)
        kept = 1 - ridge[:, None] * lost
    # C - C (C + vI)^-1 C = v C (C + vI)^-1, whose diagonal is v times what is kept, and the mean's own error.
    return estimate, variance[:, None] * (kept.clamp(0, 1) + 1 / n_similar)


def _find_similar(
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
    thickness = max(1, int(memory_gb * 1e9 / 8 / per_plane))
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
            distance, nearest = near.topk(n_similar, dim=1, largest=False)
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
    """(offsets, N) mean squared differences between the slab's patches and those at each offset.

    The differences are summed over the channels.
    """
    radius = search.radius
    depth = (len(slab) - 1) * search.stride + search.edge
    padded = F.pad(guide[None], (radius,) * 6, mode="replicate")[0]
    here = guide[:, first_plane : first_plane + depth]
    distances = torch.empty((len(offsets), int(slab.sum())), device=guide.device)
    for row, (x, y, z) in enumerate(offsets):
        x_start = first_plane + radius + x
        there = padded[
            :,
            x_start : x_start + depth,
            radius + y : radius + y + guide.shape[2],
            radius + z : radius + z + guide.shape[3],
        ]
        squared = (here - there).square_()
        squared = squared.sum(dim=0) if len(squared) > 1 else squared[0]
        distances[row] = F.avg_pool3d(squared[None, None], search.edge, stride=search.stride)[0, 0][slab]
    return distances


def _offsets_inside(edge: int, volume: Tensor) -> Tensor:
    """Flat distances of a patch's voxels from its corner."""
    x_stride, y_stride, z_stride = volume.stride()
    cube = product(range(edge), repeat=3)
    flat = [x * x_stride + y * y_stride + z * z_stride for x, y, z in cube]
    return torch.tensor(flat, device=volume.device)
