"""Simulated head around a brain (CSF, skull, fat), and its echo-planar b0 with the true brain mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.lab.simulation.dwi import add_rician_noise, distort, susceptibility_displacement
from n2a_bids.lab.simulation.random_fields import smooth_field

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
_PHASE_AXIS = 1
_FLUID_MM = 2.5
"""Outside the brain, as in `add_head`."""
_T1_LEVELS, _B0_LEVELS = (0.0, 0.3, 0.6, 1.0, 2.0), (3.2, 3.0, 1.3, 0.9, 0.8)
"""CSF, grey and white matter, relative to white matter of a T1w image."""
_SUPPRESSED = 0.35
"""Signal of skin and of fat, where fat suppression works, relative to tissue."""
_MARGIN_MM = 25.0


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


@dataclass(frozen=True, slots=True)
class SimulatedB0:
    """One b0 and its truth."""

    image: NDArray[np.float32]
    brain: NDArray[np.bool_]
    """As distorted as the image."""
    voxel_size_mm: tuple[float, float, float]


def simulate_b0(
    brain: NDArray[np.floating],
    mask: NDArray[np.bool_],
    voxel_size_mm: Sequence[float],
    seed: int,
    *,
    peak_mm: float = 10.0,
    snr: float = 20.0,
    target_mm: float = 2.0,
) -> SimulatedB0:
    """Turn a skull-stripped T1w brain into a b0 with skull, distortion, lost signal, bias field and noise.

    Parameters
    ----------
    brain : (X, Y, Z) array
        T1w brain, array axes near left-right, back-front and feet-head.
    mask : (X, Y, Z) bool array
    voxel_size_mm : sequence of three floats
    seed : int
        Of skull, fields and noise.
    peak_mm : float
        Largest displacement along the second axis.
    snr : float
        Mean of the brain over the noise SD.
    target_mm : float
        Voxel size of the b0, about.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    step = np.array([max(1, round(target_mm / size)) for size in voxel_size_mm])
    pads = [(int(np.ceil(_MARGIN_MM / size)),) * 2 for size in voxel_size_mm]
    brain, mask = np.pad(brain, pads), np.pad(mask, pads)
    head = _b0_contrast(add_head(brain, mask, voxel_size_mm, rng), mask, voxel_size_mm)
    head, mask = _averaged(head, step), _averaged(mask.astype(np.float32), step) > 0.5
    size = tuple(float(part) for part in step * voxel_size_mm)
    field = susceptibility_displacement(mask, _PHASE_AXIS, peak_mm / size[_PHASE_AXIS], generator)
    # Signal is lost where the field is steep, which is where it is large.
    lost = np.exp(-1.2 * np.abs(field * size[_PHASE_AXIS] / peak_mm) ** 2)
    bias = np.exp(smooth_field(rng, head.shape, 4, 0.25))
    shown = distort(head * lost * bias, field, _PHASE_AXIS, 1)
    unit = np.maximum(distort(np.ones_like(head), field, _PHASE_AXIS, 1), 1e-3)
    warped = distort(mask.astype(np.float32), field, _PHASE_AXIS, 1) / unit > 0.5
    noisy = add_rician_noise(shown, float(shown[warped].mean()) / snr, generator)
    return SimulatedB0(noisy, warped, size)


def _b0_contrast(
    head: NDArray[np.float32], mask: NDArray[np.bool_], voxel_size_mm: Sequence[float]
) -> NDArray[np.float32]:
    white = float(np.percentile(head[mask], 90))
    inside = np.interp(head / white, _T1_LEVELS, _B0_LEVELS)
    distance = ndimage.distance_transform_edt(~mask, sampling=voxel_size_mm)
    outside = np.where(distance < _FLUID_MM, 2.0, _SUPPRESSED * np.minimum(head / white, 1.0))
    return np.where(mask, inside, outside).astype(np.float32)


def _averaged(image: NDArray[np.float32], step: NDArray[np.integer]) -> NDArray[np.float32]:
    """Means of blocks; what does not fill a block at the end is left out."""
    counts = [count // size for count, size in zip(image.shape, step)]
    whole = image[tuple(slice(0, count * size) for count, size in zip(counts, step))]
    return whole.reshape([part for pair in zip(counts, step) for part in pair]).mean(axis=(1, 3, 5))
