"""Local PCA (MP-PCA) of diffusion series: noise level, and optimal shrinkage of singular values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from n2a_bids.algorithms.noise.covariance import NoiseCovariance
from n2a_bids.algorithms.normalization import smooth_in_mask

_LEAST_NOISE = 0.1
"""Noise variance of a combination of voxels over that of a voxel, below which it counts as empty: what is
measured of the covariance knows no less."""

_CHUNK_VALUES = 4_000_000
"""Intensities of patches worked on at a time: bounds memory to some 100 MB."""


@dataclass(frozen=True, slots=True)
class PatchPlan:
    """Size and spacing of the patches that principal components are taken of."""

    edge: int = 5
    """Voxels along each axis; cut to the grid where it is thinner."""
    stride: int = 2


def shrink_local_pca(
    data: NDArray[np.float32],
    mask: NDArray[np.bool_],
    noise_sd: NDArray[np.float32],
    plan: PatchPlan = PatchPlan(),
    *,
    centred: bool = True,
) -> NDArray[np.float32]:
    """Denoise a series by shrinking the singular values of its patches.

    Every patch is a matrix of voxels by volumes. Below the edge of the
    Marchenko-Pastur law singular values are noise; above it they are shrunk to
    the value of least squared error (Gavish and Donoho, IEEE Trans Inf Theory
    2017). Overlapping patches are averaged, those of low rank counting more.

    Parameters
    ----------
    data : (X, Y, Z, C) float array
        Noisy series.
    mask : (X, Y, Z) bool array
        Patches that touch it are denoised.
    noise_sd : (X, Y, Z) float array
        Noise SD in the unit of `data`, positive.
    centred : bool
        Keep the mean of every patch in each volume as it is: right for images, whose level is never
        noise, and wrong for differences of images.

    Returns
    -------
    denoised : (X, Y, Z, C) float32 array
        Equal to `data` where no patch lies.
    """
    white = torch.from_numpy(np.ascontiguousarray(data / noise_sd[..., None], dtype=np.float32))
    n_volumes = white.shape[-1]
    flat = white.reshape(-1, n_volumes)
    total, weights = torch.zeros_like(flat), torch.zeros(len(flat), 1)
    for index in _patches(mask, plan, n_volumes):
        patch = flat[index]
        mean = patch.mean(dim=1, keepdim=True) if centred else torch.zeros(())
        rest = patch - mean
        power, vectors = torch.linalg.eigh(rest.transpose(1, 2) @ rest)
        shrinkage, rank = _shrinkage(power, patch.shape[1], n_volumes)
        estimate = rest @ (vectors * shrinkage[:, None]) @ vectors.transpose(1, 2) + mean
        weight = (1 / (1 + rank))[:, None, None].expand(-1, patch.shape[1], 1)
        total.index_add_(0, index.reshape(-1), (estimate * weight).reshape(-1, n_volumes))
        weights.index_add_(0, index.reshape(-1), weight.reshape(-1, 1))
    denoised = torch.where(weights > 0, total / weights.clamp(min=1e-9), flat)
    return denoised.reshape(white.shape).numpy() * noise_sd[..., None].astype(np.float32)


def _shrinkage(power: Tensor, n_voxels: int, n_volumes: int) -> tuple[Tensor, Tensor]:
    """Factor on each singular value for unit noise, and the number of those kept."""
    longer, shorter = max(n_voxels, n_volumes), min(n_voxels, n_volumes)
    aspect = shorter / longer
    value = (power.clamp(min=0) / longer).sqrt()
    kept = value > 1 + aspect**0.5
    squared = value.square()
    numerator = ((squared - aspect - 1).square() - 4 * aspect).clamp(min=0).sqrt()
    shrinkage = torch.where(kept, numerator / squared.clamp(min=1e-6), torch.zeros(()))
    return shrinkage, kept.sum(dim=1).float()


def estimate_noise_sd(
    data: NDArray[np.float32],
    mask: NDArray[np.bool_],
    plan: PatchPlan = PatchPlan(),
    covariance: NoiseCovariance | None = None,
) -> NDArray[np.float32]:
    """Map of the noise SD, from the part of local spectra that looks like pure noise.

    The largest set of smallest eigenvalues that fits a Marchenko-Pastur law is
    noise (Veraart et al., NeuroImage 2016). Where the noise of neighbours is
    alike, a patch holds fewer independent measurements than voxels, and the
    eigenvalues of noise spread farther than that law allows: the voxels are then
    combined so that their noise is white (Leeb and Romanov, IEEE Trans Inf
    Theory 2021), without the combinations that zero-filling left empty.

    Parameters
    ----------
    data : (X, Y, Z, C) float array
        At least seven volumes, say: with fewer, signal is taken for noise.
    mask : (X, Y, Z) bool array
        Patches centred in it are used.
    covariance : NoiseCovariance, optional
        Of the noise of neighbours; white noise by default.

    Returns
    -------
    noise_sd : (X, Y, Z) float32 array
        Of the magnitudes as they are; smooth, positive, extended beyond the mask by its median.
    """
    n_volumes = data.shape[-1]
    flat = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32)).reshape(-1, n_volumes)
    centres, variances = [], []
    whitening = _Whitening.of(covariance, plan, mask.shape)
    for index in _patches(mask, plan, n_volumes):
        patch = flat[index]
        centred = patch - patch.mean(dim=1, keepdim=True)
        power = torch.linalg.eigvalsh(whitening.products(centred))
        variances.append(_noise_variance(power, whitening.n_independent - 1, n_volumes))
        centres.append(index[:, index.shape[1] // 2])
    variance = torch.cat(variances).numpy()
    voxels = np.unravel_index(torch.cat(centres).numpy(), mask.shape)
    inside = mask[voxels] & (variance > 0)
    level = float(np.median(variance[inside])) if inside.any() else float(np.median(variance))
    if not level > 0:
        raise ValueError("the series holds no noise that could be measured")
    sampled, where = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, bool)
    # Patches on tissue boundaries or vessels hold structure: their excess is cut.
    sampled[voxels], where[voxels] = np.clip(variance, 0.25 * level, 4 * level), inside
    smooth = smooth_in_mask(sampled, where, 3.0)
    return np.sqrt(np.where(smooth > 0, smooth, level)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Whitening:
    """What makes the noise of the voxels of a patch independent."""

    n_independent: int
    """Voxels that a patch counts for."""
    inverse: Tensor | None = None
    """(N, N) inverse of their correlation, where there is noise, for patches less their mean; None for white
    noise."""

    @classmethod
    def of(cls, covariance: NoiseCovariance | None, plan: PatchPlan, shape: tuple[int, ...]) -> _Whitening:
        """Whiten patches of this size and of this noise; white noise needs nothing."""
        edges = [min(plan.edge, size) for size in shape]
        if covariance is None:
            return cls(int(np.prod(edges)))
        cube = np.indices((plan.edge,) * 3).reshape(3, -1)
        inside = (cube < np.array(edges)[:, None]).all(axis=0)
        values, vectors = np.linalg.eigh(covariance.patch_correlation(plan.edge)[np.ix_(inside, inside)])
        vectors, values = vectors[:, values > _LEAST_NOISE], values[values > _LEAST_NOISE]
        inverse = (vectors / values) @ vectors.T
        # The mean that fits such noise best is weighted by this matrix.
        weights = inverse.sum(axis=0)
        inverse -= np.outer(weights, weights) / weights.sum()
        return cls(values.size, torch.from_numpy(inverse.astype(np.float32)))

    def products(self, patches: Tensor) -> Tensor:
        """(B, C, C) products of the volumes of (B, N, C) patches less their mean."""
        if self.inverse is None:
            return patches.transpose(1, 2) @ patches
        return patches.transpose(1, 2) @ (self.inverse @ patches)


def _noise_variance(power: Tensor, n_voxels: int, n_volumes: int) -> Tensor:
    """Noise variance of each patch from its eigenvalues in ascending order."""
    shorter, longer = min(n_voxels, n_volumes), max(n_voxels, n_volumes)
    values = power[:, -shorter:].clamp(min=0) / longer
    count = torch.arange(1, shorter + 1, dtype=values.dtype)
    # With p noise components left, the others have used up as many degrees of freedom.
    freedom = longer - shorter + count
    mean = values.cumsum(dim=1) / count * (longer / freedom)
    # The width of the law is 4 sigma^2 sqrt(gamma).
    spread = (values - values[:, :1]) * (longer / freedom)
    fits = mean >= spread / (4 * (count / freedom).sqrt())
    last = torch.where(fits, count, torch.zeros(())).argmax(dim=1, keepdim=True)
    return mean.gather(1, last)[:, 0]


def _patches(mask: NDArray[np.bool_], plan: PatchPlan, n_volumes: int) -> Iterator[Tensor]:
    """Flat voxel indices of the patches that touch the mask, (B, N) at a time.

    Those of all patches together would take a hundred times the memory of the mask.
    """
    edges = [min(plan.edge, size) for size in mask.shape]
    starts = []
    for size, edge in zip(mask.shape, edges):
        steps = list(range(0, size - edge + 1, plan.stride))
        starts.append(steps if steps[-1] == size - edge else [*steps, size - edge])
    # The window of the filter begins at the voxel.
    touching = ndimage.maximum_filter(mask.astype(np.uint8), edges, origin=[-(edge // 2) for edge in edges])
    corners = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 3)
    corners = corners[touching[tuple(corners.T)] > 0]
    offsets = np.stack(np.meshgrid(*map(np.arange, edges), indexing="ij"), axis=-1).reshape(-1, 3)
    steps = np.array([mask.shape[1] * mask.shape[2], mask.shape[2], 1])
    firsts, within = corners @ steps, offsets @ steps
    chunk = max(_CHUNK_VALUES // (within.size * n_volumes), 1)
    for start in range(0, len(firsts), chunk):
        yield torch.from_numpy(firsts[start : start + chunk, None] + within)
