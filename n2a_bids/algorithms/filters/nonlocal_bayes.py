"""Non-local Bayes filter for 3D images: similar patches, found with a denoised image as guide.

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

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from n2a_bids.algorithms.filters.patch_search import DEFAULT_SEARCH, PatchSearch, find_similar
from n2a_bids.algorithms.filters.whitening import Whitening
from n2a_bids.algorithms.masked_filters import bounding_box

_LARGEST_CONDITION = 1e6
"""Of the matrices that are inverted, so that single precision serves."""


@dataclass(frozen=True, slots=True)
class BayesSettings:
    """How `guided_nonlocal_bayes` compares patches, and with what."""

    device: torch.device
    search: PatchSearch = DEFAULT_SEARCH
    correlation: NDArray[np.float64] | None = None
    """(edge**3, edge**3) of the noise of the voxels of a patch, positive definite; None for white noise."""
    memory_gb: float = 6.0
    """Bound on the table of distances; smaller means thinner slabs, never another result."""


@torch.no_grad()
def guided_nonlocal_bayes(
    noisy: NDArray[np.float32],
    guide: NDArray[np.float32],
    noise_sd: NDArray[np.float32],
    where: NDArray[np.bool_],
    settings: BayesSettings,
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
    variance : array like `noisy`, optional
        Modified: filled with the posterior variance of the patches over every voxel, on average, before
        overlapping ones are averaged; where no patch reaches, it stays. Where the patches' corners lie does
        not show in it.

    Returns
    -------
    denoised : array like `noisy`
        No other input is modified.
    """
    result, search, device = guide.copy(), settings.search, settings.device
    if min(where.shape) < search.edge or not where.any():
        return result
    box = _box_searched(where, search)
    values, reference, spread, region = (
        torch.from_numpy(_pad(volume[box], search)).to(device) for volume in (noisy, guide, noise_sd, where)
    )
    n_corners = torch.zeros_like(spread).reshape(-1)
    expected = None if variance is None else _Accumulator.like(values)
    inside = _offsets_inside(search.edge, spread[..., 0])
    rows = [_as_rows(volume) for volume in (values, reference, spread.square())]
    total = torch.zeros_like(rows[0])
    noise = None
    if settings.correlation is not None:
        noise = Whitening.of(settings.correlation, values.shape[-1], device)
    reused = inside.new_empty(0)
    for corners, similar in find_similar(reference.movedim(3, 0), region[..., 0], search, settings.memory_gb):
        reused = voxels = _voxels_of(similar, inside, reused)
        groups = [part.index_select(0, voxels.reshape(-1)).reshape(*similar.shape, -1) for part in rows[:2]]
        own = corners[:, None] + inside
        estimate, left = _posterior(*groups, rows[2][own].mean(dim=1), noise, asks_variance=bool(expected))
        if expected is not None:
            expected.add(own, left)
        total.index_add_(0, voxels.reshape(-1), estimate.reshape(-1, *total.shape[1:]))
        n_corners.index_add_(0, similar.reshape(-1), n_corners.new_ones(similar.numel()))
    denoised = _average_patches(total, n_corners, reference, search.edge)
    if expected is not None:
        expected.fill(variance[box], values.shape, search.stride)
    result[box] = _without_padding(denoised, result[box].shape)
    return result


def _box_searched(where: NDArray[np.bool_], search: PatchSearch) -> tuple[slice, ...]:
    """What the search for patches looks at; it begins on the lattice of their corners."""
    box = bounding_box(where, search.radius + search.edge)
    return tuple(slice(part.start - part.start % search.stride, part.stop) for part in box)


@dataclass(frozen=True, slots=True)
class _Accumulator:
    """Values of the patches that are denoised at their own place, averaged where they overlap."""

    total: Tensor
    """(voxels, C)"""
    count: Tensor
    """(voxels,)"""

    @classmethod
    def like(cls, volume: Tensor) -> _Accumulator:
        """Begin with nothing, for a volume of this shape."""
        total = torch.zeros_like(volume).reshape(-1, volume.shape[-1])
        return cls(total, total.new_zeros(len(total)))

    def add(self, voxels: Tensor, values: Tensor) -> None:
        """(N, n) flat indices and (N, n * C) values of patches."""
        flat = voxels.reshape(-1)
        self.total.index_add_(0, flat, values.reshape(-1, self.total.shape[-1]))
        self.count.index_add_(0, flat, self.count.new_ones(flat.numel()))

    def fill(self, volume: NDArray[np.float32], padded: torch.Size, stride: int) -> None:
        """Put the averages into a volume, where there are any; `padded` is the padded shape."""
        average = self.total / self.count.clamp(min=1)[:, None]
        average = _without_lattice(average.reshape(padded), self.count.reshape(padded[:3]) > 0, stride)
        average = average.reshape(self.total.shape)
        reached = self.count[:, None].expand_as(average) > 0
        average, reached = (
            _without_padding(part.reshape(padded), volume.shape) for part in (average, reached)
        )
        np.copyto(volume, average, where=reached)


def _without_lattice(volume: Tensor, reached: Tensor, stride: int) -> Tensor:
    """An (X, Y, Z, C) volume of variances without the lattice of the corners of patches.

    The posterior of a patch is wider at its border than in its middle, and patches are denoised at every
    third corner only. But those that resemble them lie at any offset, so that every voxel is estimated from
    all places in patches alike: what counts is the mean over one cell of the lattice.
    """
    weight = reached.to(volume)[None]
    margins = (stride // 2, (stride - 1) // 2) * 3
    near, near_weight = (
        F.avg_pool3d(F.pad(part[None], margins), stride, stride=1)[0]
        for part in (volume.movedim(3, 0) * weight, weight)
    )
    return (near / near_weight.clamp(min=1e-6)).movedim(0, 3)


def _without_padding(volume: Tensor, shape: tuple[int, ...]) -> NDArray:
    """The part of an (X', Y', Z', C) volume that is no padding, in the shape asked for."""
    x, y, z = shape[:3]
    return volume[:x, :y, :z].reshape(shape).contiguous().cpu().numpy()


def _as_rows(volume: Tensor) -> Tensor:
    """(voxels, C) rows of an (X, Y, Z, C) volume; those of one channel as (voxels,), which is faster."""
    return volume.reshape(-1) if volume.shape[-1] == 1 else volume.flatten(0, 2)


def _voxels_of(corners: Tensor, inside: Tensor, reused: Tensor) -> Tensor:
    """(N, K, V) flat indices of the voxels of the patches at (N, K) corners.

    Short integers, and memory used before if it fits: making these numbers would otherwise take longer
    than using them.
    """
    shape = (*corners.shape, len(inside))
    if reused.shape != shape:
        reused = torch.empty(shape, dtype=inside.dtype, device=inside.device)
    return torch.add(corners[:, :, None].to(inside.dtype), inside, out=reused)


def _average_patches(total: Tensor, n_corners: Tensor, reference: Tensor, edge: int) -> Tensor:
    """Mean of the patches over each voxel, of which the corners were counted; the reference where none is."""
    padded = F.pad(n_corners.reshape(1, 1, *reference.shape[:3]), (edge - 1, 0) * 3)
    count = F.avg_pool3d(padded, edge, stride=1, divisor_override=1)[0, 0, ..., None]
    return torch.where(count > 0, total.reshape(reference.shape) / count.clamp(min=1), reference)


def _pad(volume: NDArray, search: PatchSearch) -> NDArray:
    """(X', Y', Z', C) volume, padded at the far ends so that the last patches reach the last voxels."""
    sizes = volume.shape[:3]
    pads = [(0, (search.edge - size) % search.stride) for size in sizes]
    padded = np.pad(
        volume.reshape(*sizes, -1), [*pads, (0, 0)], mode="reflect" if min(sizes) > search.stride else "edge"
    )
    return np.ascontiguousarray(padded)  # patches are views of it


def _posterior(
    values: Tensor, reference: Tensor, variance: Tensor, noise: Whitening | None, *, asks_variance: bool
) -> tuple[Tensor, Tensor | None]:
    """Posterior means of (N, K, D) noisy patches; `reference` shows the covariance of each group of K.

    The second result, where it is asked for, is the (N, D) posterior variance of the patches of a group.
    """
    mean = values.mean(dim=1, keepdim=True)
    deviation = reference - reference.mean(dim=1, keepdim=True)
    # With fewer patches than intensities in each, the matrix of the patches' products is the smaller one.
    find = _posterior_by_patches if deviation.shape[1] < deviation.shape[2] else _posterior_by_voxels
    estimate, kept = find(values - mean, deviation, variance, noise, asks_variance)
    if kept is not None:
        # C - C (C + vI)^-1 C = v C (C + vI)^-1, whose diagonal is v times what is kept; and that of the mean.
        kept = variance[:, None] * (kept.clamp(0, 1) + 1 / deviation.shape[1])
    return estimate.add_(mean), kept


def _posterior_by_patches(
    values: Tensor, deviation: Tensor, variance: Tensor, noise: Whitening | None, asks_kept: bool
) -> tuple[Tensor, Tensor | None]:
    """As `_posterior`, of what differs from the mean of a group; kept is a part of the variance.

    C (C + vR)^-1 d = A' (A R^-1 A' + (K - 1) vI)^-1 A R^-1 d, where C = A'A / (K - 1) and v R is the
    covariance of the noise; with A R^-1 A' + ... = LL' that is B'B R^-1 d, where B = L^-1 A.
    """
    white = deviation if noise is None else noise.divide(deviation)
    factor, _ = _factorised(white @ deviation.mT, variance, deviation.shape[1])
    root = _solve_lower(factor, deviation)
    white_root = root if noise is None else noise.divide(root)
    kept = root.square().sum(dim=1) if asks_kept else None
    return values @ white_root.mT @ root, kept


def _posterior_by_voxels(
    values: Tensor, deviation: Tensor, variance: Tensor, noise: Whitening | None, asks_kept: bool
) -> tuple[Tensor, Tensor | None]:
    """As `_posterior`, of what differs from the mean of a group: C (C + vI)^-1 d = d - v (C + vI)^-1 d."""
    if noise is not None:
        values, deviation = noise.whiten(values), noise.whiten(deviation)
    factor, ridge = _factorised(deviation.mT @ deviation, variance, deviation.shape[1])
    estimate = values - ridge[:, None, None] * torch.cholesky_solve(values.mT, factor).mT
    kept = None
    if asks_kept:
        inverse = torch.cholesky_inverse(factor)
        lost = inverse.diagonal(dim1=1, dim2=2) if noise is None else noise.coloured_diagonal(inverse)
        kept = 1 - ridge[:, None] * lost
    return estimate if noise is None else noise.colour(estimate), kept


def _factorised(products: Tensor, variance: Tensor, n_similar: int) -> tuple[Tensor, Tensor]:
    """Cholesky factor of (N, M, M) products of deviations with the noise, and what that adds; overwritten.

    A tiny variance is raised so that the matrix can be inverted.
    """
    trace = products.diagonal(dim1=1, dim2=2).sum(dim=1)
    ridge = torch.maximum((n_similar - 1) * variance, trace / _LARGEST_CONDITION).clamp(min=1e-12)
    products.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
    return torch.linalg.cholesky(products), ridge


def _solve_lower(factors: Tensor, right: Tensor) -> Tensor:
    """L^-1 B of (N, M, M) lower triangular matrices L and (N, M, D) matrices B."""
    if factors.is_cuda:
        return torch.linalg.solve_triangular(factors, right, upper=False)
    # LAPACK takes one small matrix after the other, and all threads for each: they wait more than they work.
    return _invert_lower(factors) @ right


def _invert_lower(factors: Tensor) -> Tensor:
    """Inverses of (N, M, M) lower triangular matrices, from those of two blocks on their diagonals."""
    half = factors.shape[-1] // 2
    if not half:
        return factors.reciprocal()
    inverses = torch.zeros_like(factors)
    first, second = inverses[:, :half, :half], inverses[:, half:, half:]
    first[:], second[:] = (_invert_lower(factors[:, part, part]) for part in (slice(half), slice(half, None)))
    inverses[:, half:, :half] = -(second @ (factors[:, half:, :half] @ first))
    return inverses


def _offsets_inside(edge: int, volume: Tensor) -> Tensor:
    """Flat distances of a patch's voxels from its corner."""
    x_stride, y_stride, z_stride = volume.stride()
    cube = product(range(edge), repeat=3)
    flat = [x * x_stride + y * y_stride + z * z_stride for x, y, z in cube]
    dtype = torch.int32 if volume.numel() < 2**31 else torch.int64
    return torch.tensor(flat, dtype=dtype, device=volume.device)
