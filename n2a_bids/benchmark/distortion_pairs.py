"""Pairs of b0s of opposite polarity: with a known field, or as scanned."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from n2a_bids.algorithms import dwi_phantoms
from n2a_bids.benchmark.diffusion import PHASE_AXIS
from n2a_bids.benchmark.diffusion_truths import Truth
from n2a_bids.benchmark.distortion import BlipPair
from n2a_bids.errors import BIDSDataError
from n2a_bids.images import load, load_mask, same_grid, voxel_sizes_mm
from n2a_bids.interfaces.dwi_mask import find_brain, mean_b0


def simulated_pairs(
    truth: Truth, snrs: Iterable[float], seeds: Iterable[int], peak_mm: float
) -> list[BlipPair]:
    """Pairs of a phantom's b0, distorted by a field that is known.

    Parameters
    ----------
    truth : Truth
    snrs : iterable of float
        Of the b0.
    seeds : iterable of int
        Of field and noise.
    peak_mm : float
        Largest displacement, where the field need not be smoothed to keep the image from folding.
    """
    b0 = mean_b0(truth.signal, truth.gradients)
    pairs = []
    for seed in seeds:
        for snr in snrs:
            generator = torch.Generator().manual_seed(2000 + seed)
            peak = peak_mm / truth.voxel_size_mm[PHASE_AXIS]
            field = dwi_phantoms.susceptibility_displacement(truth.mask, PHASE_AXIS, peak, generator)
            sd = dwi_phantoms.noise_sd_for_snr(truth.signal, truth.gradients, truth.mask, snr)
            plus, minus = (
                dwi_phantoms.add_rician_noise(
                    dwi_phantoms.distort(b0, field, PHASE_AXIS, sign), sd, generator
                )
                for sign in (1, -1)
            )
            name = f"simulated, field {seed}"
            size = truth.voxel_size_mm
            pairs.append(BlipPair(name, f"{snr:g}", plus, minus, truth.mask, size, PHASE_AXIS, field))
    return pairs


def real_pair(first: Path, second: Path, mask: Path | None) -> BlipPair:
    """Two files as scanned; volumes of a series are averaged.

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
    return BlipPair("real", "", *images, brain, voxel_sizes_mm(affine), PHASE_AXIS)
