"""Adds a simulated skull, CSF, skin and fat around a brain without a head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Layers outwards from the brain: mean thickness in mm and intensity as a fraction of the brain's
# brightest tissue, roughly as in T1-weighted images at 3 T.
_LAYERS = (
    (2.5, 0.30),  # CSF and membranes
    (1.8, 0.10),  # inner table of the skull
    (3.0, 0.50),  # marrow
    (1.8, 0.10),  # outer table
    (2.5, 0.45),  # muscle and skin
    (4.5, 1.05),  # fat
    (1.2, 0.55),  # skin
)
_THICKNESS_VARIATION = 0.3
_THICKNESS_SCALE_MM = 25.0
_TEXTURE = 0.12
_TEXTURE_SCALE_MM = 1.5
_EDGE_SD_MM = 0.5
_BRIGHTEST_PERCENTILE = 98.0


def add_head(
    brain: NDArray[np.floating],
    mask: NDArray[np.bool_],
    voxel_size_mm: Sequence[float],
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Put the layers of a head around a skull-stripped brain.

    Parameters
    ----------
    brain : (X, Y, Z) float array
        Image of a brain, any intensity unit; its voxels inside `mask` are kept as they are.
    mask : (X, Y, Z) bool array
        The brain.
    voxel_size_mm : three floats
        Voxel size along the array axes.
    generator : numpy.random.Generator
        Draws thickness and texture of the layers.

    Returns
    -------
    head : (X, Y, Z) float32 array
        Zero in air. The layers end where the image ends.

    Raises
    ------
    ValueError
        If the grids differ or the mask is empty.
    """
    if brain.shape != mask.shape:
        raise ValueError(f"brain grid {brain.shape} is not the mask grid {mask.shape}")
    if not mask.any():
        raise ValueError("the mask is empty")
    distance = ndimage.distance_transform_edt(~_envelope(mask, voxel_size_mm), sampling=voxel_size_mm)
    thickness = _smooth_noise(mask.shape, _THICKNESS_SCALE_MM, voxel_size_mm, generator)
    depth = distance / (1 + _THICKNESS_VARIATION * thickness)
    bright = np.percentile(brain[mask], _BRIGHTEST_PERCENTILE)
    ends = np.cumsum([width for width, _ in _LAYERS])
    levels = np.array([level for _, level in _LAYERS] + [0.0])
    shell = bright * levels[np.searchsorted(ends, depth)]
    shell *= 1 + _TEXTURE * _smooth_noise(mask.shape, _TEXTURE_SCALE_MM, voxel_size_mm, generator)
    shell = ndimage.gaussian_filter(shell, [_EDGE_SD_MM / size for size in voxel_size_mm])
    return np.where(mask, brain, shell).astype(np.float32)


def _envelope(mask: NDArray[np.bool_], voxel_size_mm: Sequence[float]) -> NDArray[np.bool_]:
    """The brain with its sulci bridged, as the skull sees it: everything within 6 mm, drawn back by 6 mm."""
    reach_mm = 6.0
    grown = ndimage.distance_transform_edt(~mask, sampling=voxel_size_mm) <= reach_mm
    return mask | (ndimage.distance_transform_edt(grown, sampling=voxel_size_mm) > reach_mm)


def _smooth_noise(
    shape: Sequence[int],
    scale_mm: float,
    voxel_size_mm: Sequence[float],
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """White noise blurred to a length scale, within -1 and 1."""
    noise = generator.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, [scale_mm / size for size in voxel_size_mm], mode="reflect")
    return noise / np.abs(noise).max()
