"""Phase of simulated complex images: that of scanner and head, and that of each diffusion-weighted shot."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

_BUMP_WIDTH = 0.12
"""Of the field around an air cavity, in parts of the field of view."""


def static_phase(
    shape: tuple[int, ...], generator: torch.Generator, *, smooth_rad: float = 3.0, cavity_rad: float = 4.0
) -> NDArray[np.float32]:
    """Phase of receivers and of the field: gentle everywhere, steep beside an air cavity, low in front.

    Parameters
    ----------
    shape : tuple of int
        (X, Y, Z).
    generator : torch.Generator
        Advanced.
    smooth_rad : float
        SD of the gentle part.
    cavity_rad : float
        Height of the steep part.

    Returns
    -------
    phase : (X, Y, Z) float32 array
        Radians, not wrapped.
    """
    coarse = torch.randn((1, 1, 4, 4, 3), generator=generator)
    gentle = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)
    grid = np.stack(np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij"))
    centre = np.array([0.5, 0.85, 0.2])[:, None, None, None]
    bump = np.exp(-np.sum((grid - centre) ** 2, axis=0) / (2 * _BUMP_WIDTH**2))
    # Linear interpolation has edges, which no field has.
    gentle = ndimage.gaussian_filter(gentle[0, 0].numpy(), [max(n / 12, 0.5) for n in shape], mode="nearest")
    return (smooth_rad * gentle + cavity_rad * bump).astype(np.float32)


def shot_phase(
    shape: tuple[int, ...], generator: torch.Generator, *, ramp_rad: float = 4.0, bend_rad: float = 1.0
) -> NDArray[np.float32]:
    """Phase that motion during the diffusion weighting leaves in one volume: another one in each slice.

    Parameters
    ----------
    shape : tuple of int
        (X, Y, Z); slices lie along the last axis.
    generator : torch.Generator
        Advanced.
    ramp_rad : float
        SD of the phase that a rotation leaves across the field of view.
    bend_rad : float
        SD of what the pulsation of the brain adds.

    Returns
    -------
    phase : (X, Y, Z) float32 array
        Radians, not wrapped.
    """
    x, y = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in shape[:2]), indexing="ij")
    draw = torch.randn((shape[2], 6), generator=generator).numpy()
    constant = 2 * np.pi * torch.rand(shape[2], generator=generator).numpy()
    patterns = np.stack((x, y, 4 * x**2, 4 * y**2, 4 * x * y, 8 * x * y**2))
    scales = np.array([ramp_rad] * 2 + [bend_rad] * 4)
    return (constant + np.tensordot(patterns, (draw * scales).T, axes=(0, 0))).astype(np.float32)


def add_complex_noise(
    signal: NDArray, phase: NDArray, noise_sd: NDArray | float, generator: torch.Generator
) -> NDArray[np.complex64]:
    """`signal` with a phase, plus Gaussian noise of SD `noise_sd` in both parts (broadcast)."""
    real, imaginary = (torch.randn(signal.shape, generator=generator).numpy() for _ in range(2))
    return (signal * np.exp(1j * phase) + noise_sd * (real + 1j * imaginary)).astype(np.complex64)
