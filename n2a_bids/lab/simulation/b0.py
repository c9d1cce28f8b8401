"""Simulated echo-planar b0 of a head, with its true brain mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.lab.simulation.dwi import add_rician_noise, distort, susceptibility_displacement
from n2a_bids.lab.simulation.head import add_head
from n2a_bids.lab.simulation.random_fields import smooth_field

_PHASE_AXIS = 1
_FLUID_MM = 2.5
"""Outside the brain, as in `add_head`."""
_T1_LEVELS, _B0_LEVELS = (0.0, 0.3, 0.6, 1.0, 2.0), (3.2, 3.0, 1.3, 0.9, 0.8)
"""CSF, grey and white matter, relative to white matter of a T1w image."""
_SUPPRESSED = 0.35
"""Signal of skin and of fat, where fat suppression works, relative to tissue."""
_MARGIN_MM = 25.0


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
