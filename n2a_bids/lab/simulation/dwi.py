"""Simulated diffusion series: signal of tensors fitted to a real series, Rician noise, distortion."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.tensor import TensorFit, fit_tensor, synthesize_signal

_FREE_WATER = 3.0e-3
"""Diffusivity of water at body temperature, mm2/s."""


def tensor_phantom(
    data: NDArray, gradients: Gradients, mask: NDArray[np.bool_], sampled: Gradients | None = None
) -> NDArray[np.float32]:
    """Noise-free series: the tensor fit of a real one.

    Parameters
    ----------
    data : (X, Y, Z, C) array
        Real series.
    gradients : Gradients
        Its table.
    mask : (X, Y, Z) bool array
        Voxels modelled; the rest is zero.
    sampled : Gradients, optional
        Table of the phantom; that of the series by default.

    Returns
    -------
    truth : (X, Y, Z, C') float32 array
        Eigenvalues lie between 0.05 and 3.2e-3 mm2/s, as in tissue and water.
    """
    fit = _plausible(fit_tensor(data, gradients, mask))
    return synthesize_signal(fit, gradients if sampled is None else sampled)


def multi_tensor_phantom(
    data: NDArray, gradients: Gradients, mask: NDArray[np.bool_], sampled: Gradients | None = None
) -> NDArray[np.float32]:
    """Noise-free series of up to two crossing fibres and free water in every voxel.

    The compartments follow the tensor fit of a real series: the first fibre
    lies along the first eigenvector; the second along the second, its share
    growing as the tensor flattens; free water takes what the mean diffusivity
    exceeds that of tissue by.

    Parameters
    ----------
    data, gradients, mask, sampled
        As in :func:`tensor_phantom`.

    Returns
    -------
    truth : (X, Y, Z, C') float32 array
    """
    table = gradients if sampled is None else sampled
    fit = _plausible(fit_tensor(data, gradients, mask))
    values, vectors = fit.eigen()
    size = values.sum(axis=1)
    linear, planar = (values[:, 0] - values[:, 1]) / size, 2 * (values[:, 1] - values[:, 2]) / size
    water = np.clip((size / 3 - 0.8e-3) / (_FREE_WATER - 0.8e-3), 0.0, 1.0)
    share = 0.5 * planar / np.maximum(linear + planar, 1e-6)
    anisotropy = np.clip(1.6 * (linear + planar), 0.0, 0.95)
    signal = water[:, None] * np.exp(-table.bvals * _FREE_WATER)[None, :]
    for weight, axis in ((1 - share, 0), (share, 1)):
        cosine = vectors[:, :, axis] @ table.bvecs.T
        across = 0.8e-3 * (1 - anisotropy)
        along = 0.8e-3 * (1 + 2 * anisotropy)
        exponent = table.bvals * (across[:, None] + (along - across)[:, None] * cosine**2)
        signal += ((1 - water) * weight)[:, None] * np.exp(-exponent)
    return fit.to_volume(np.exp(fit.log_s0)[:, None] * signal)


def _plausible(fit: TensorFit) -> TensorFit:
    values, vectors = fit.eigen()
    values = np.clip(values, 0.05e-3, 3.2e-3)
    matrices = np.einsum("nik,nk,njk->nij", vectors, values, vectors)
    elements = np.stack(
        [matrices[:, i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))], axis=1
    )
    return TensorFit(mask=fit.mask, log_s0=fit.log_s0, elements=elements)


def noise_sd_for_snr(truth: NDArray, gradients: Gradients, mask: NDArray[np.bool_], snr: float) -> float:
    """Noise SD at which the mean in-mask b0 signal is `snr` times the noise.

    Parameters
    ----------
    truth : (X, Y, Z, C) array
    snr : float
        Signal-to-noise ratio of the b0 volumes.
    """
    b0 = truth[..., gradients.is_b0]
    return float(b0[mask].mean()) / snr


def add_rician_noise(
    truth: NDArray, noise_sd: NDArray | float, generator: torch.Generator
) -> NDArray[np.float32]:
    """Magnitude of `truth` plus complex Gaussian noise of SD `noise_sd` per part (broadcast)."""
    real, imaginary = (torch.randn(truth.shape, generator=generator).numpy() for _ in range(2))
    return np.hypot(truth + noise_sd * real, noise_sd * imaginary).astype(np.float32)


def susceptibility_displacement(
    mask: NDArray[np.bool_], axis: int, peak_voxels: float, generator: torch.Generator
) -> NDArray[np.float32]:
    """Displacement like that of air cavities: strong frontal and lateral bumps on a gentle field.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
        Head shape: bumps sit low, in front and at both sides of it.
    axis : int
        Phase-encoding axis; taken to run front to back.
    peak_voxels : float
        Largest absolute displacement in the mask.
    generator : torch.Generator
        Draws the gentle part.

    Returns
    -------
    displacement : (X, Y, Z) float32 array
        Voxels along `axis` for positive blips; its slope stays within (-0.8, 0.8).
    """
    low, high = (np.array(side) for side in zip(*((i.min(), i.max()) for i in np.nonzero(mask))))
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in mask.shape), indexing="ij"), axis=-1)
    relative = (grid - low) / np.maximum(high - low, 1)
    across = 1 if axis == 0 else 0
    field = 0.15 * _smooth_noise(mask.shape, generator)
    for along, side, height, width, sign in (
        (0.88, 0.5, 0.15, 0.16, 1.0),
        (0.5, 0.1, 0.1, 0.14, -0.6),
        (0.5, 0.9, 0.1, 0.14, -0.6),
    ):
        centre = np.empty(3)
        centre[axis], centre[across], centre[2] = along, side, height
        field = field + sign * np.exp(-np.sum((relative - centre) ** 2, axis=-1) / (2 * width**2))
    field *= peak_voxels / np.abs(field[mask]).max()
    steepest = np.abs(np.gradient(field, axis=axis)).max()
    while steepest > 0.8:
        field = ndimage.gaussian_filter1d(field, 1.0, axis=axis)
        steepest = np.abs(np.gradient(field, axis=axis)).max()
    return field.astype(np.float32)


def _smooth_noise(shape: tuple[int, ...], generator: torch.Generator) -> NDArray[np.float64]:
    coarse = torch.randn((1, 1, 4, 4, 4), generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)
    return fine[0, 0].numpy().astype(float)


def distort(image: NDArray, displacement: NDArray, axis: int, sign: int) -> NDArray[np.float32]:
    """Image as echo-planar imaging would show it: moved along `axis`, intensity conserved.

    Signal at position ``x`` appears at ``x + sign * displacement(x)``; where the
    map compresses, signal piles up.

    Parameters
    ----------
    image : (X, Y, Z) or (X, Y, Z, C) array
        Undistorted image.
    displacement : (X, Y, Z) array
        Voxels along `axis`; slope above -1 along it for both signs.
    axis : int
        Phase-encoding axis.
    sign : {1, -1}
        Polarity of the blips.

    Returns
    -------
    distorted : float32 array of the shape of `image`
    """
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in displacement.shape), indexing="ij"))
    source = grid.copy()
    for _ in range(60):
        moved = ndimage.map_coordinates(displacement, source, order=1, mode="nearest")
        source[axis] = grid[axis] - sign * moved
    jacobian = np.gradient(source[axis], axis=axis)
    volumes = image[..., None] if image.ndim == 3 else image
    result = [
        ndimage.map_coordinates(volumes[..., c], source, order=3, mode="constant") * jacobian
        for c in range(volumes.shape[-1])
    ]
    return np.maximum(np.stack(result, axis=-1).reshape(image.shape), 0).astype(np.float32)
