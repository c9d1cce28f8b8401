"""Pairs of b0s of opposite polarity for the comparison of distortion corrections: simulated or real."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from n2a_bids.algorithms.distortion.field import in_view
from n2a_bids.algorithms.registration.dwi_resampling import mean_b0
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.errors import BIDSDataError
from n2a_bids.external.b0_brain import find_brain
from n2a_bids.io.images import load, load_mask, same_grid
from n2a_bids.lab.benchmark.dwi.distortion import DistortedPair
from n2a_bids.lab.benchmark.dwi.pair_motion import motion_between, moved
from n2a_bids.lab.benchmark.dwi.phantoms import PHASE_AXIS, Truth
from n2a_bids.lab.simulation import dwi as dwi_phantoms


def simulated_pairs(
    truth: Truth,
    snrs: Iterable[float],
    seeds: Iterable[int],
    peak_mm: float,
    motions: Iterable[str] = ("still",),
) -> list[DistortedPair]:
    """Pairs of a phantom's b0, distorted by a field that is known.

    Parameters
    ----------
    snrs : iterable of float
        Of the b0.
    seeds : iterable of int
        Of field and noise.
    peak_mm : float
        Largest displacement, where the field need not be smoothed to keep the image from folding.
    motions : iterable of str
        Of the head between the images, names of `MOTIONS`; the field goes with the head.
    """
    return [
        _simulated_pair(truth, snr, seed, peak_mm, motion)
        for seed, snr, motion in itertools.product(seeds, snrs, motions)
    ]


def _simulated_pair(truth: Truth, snr: float, seed: int, peak_mm: float, motion: str) -> DistortedPair:
    size, b0 = truth.voxel_size_mm, mean_b0(truth.signal, truth.gradients)
    generator = torch.Generator().manual_seed(2000 + seed)
    field = dwi_phantoms.susceptibility_displacement(
        truth.mask, PHASE_AXIS, peak_mm / size[PHASE_AXIS], generator
    )
    sd = dwi_phantoms.noise_sd_for_snr(truth.signal, truth.gradients, truth.mask, snr)
    maps = np.eye(4), motion_between(motion, b0.shape, size, PHASE_AXIS)
    plus, minus = (
        dwi_phantoms.add_rician_noise(
            dwi_phantoms.distort(moved(b0, voxel_map), moved(field, voxel_map), PHASE_AXIS, sign),
            sd,
            generator,
        )
        for voxel_map, sign in zip(maps, (1, -1), strict=True)
    )
    name = f"simulated, field {seed}"
    # What the second image does not show has no truth to be compared with.
    shown = truth.mask & in_view(truth.mask.shape, maps[1], field, PHASE_AXIS, -1)
    return DistortedPair(name, f"{snr:g}", plus, minus, shown, size, PHASE_AXIS, field, motion)


def real_pair(first: Path, second: Path, mask: Path | None, motion: str = "still") -> DistortedPair:
    """Two files as scanned, and a motion put between them; volumes of a series are averaged.

    Raises
    ------
    BIDSDataError
        If they lie on different grids.
    """
    if not same_grid(first, second, 1e-2):
        raise BIDSDataError(f"{second}: expected the grid of {first}, found another; give a pair of b0s")
    images = []
    for path in (first, second):
        data, affine = load(path)
        images.append(np.ascontiguousarray(data.mean(axis=-1) if data.ndim == 4 else data))
    brain = load_mask(mask, first) if mask else find_brain(np.mean(images, axis=0))
    size = voxel_sizes_mm(affine)
    images[1] = moved(images[1], motion_between(motion, images[1].shape, size, PHASE_AXIS))
    return DistortedPair("real", "", *images, brain, size, PHASE_AXIS, motion=motion)
