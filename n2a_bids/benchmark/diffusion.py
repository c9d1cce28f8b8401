"""The benchmark on diffusion series: phantoms of known truth made from a real series."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.algorithms import dwi_phantoms
from n2a_bids.algorithms.distortion import resample
from n2a_bids.algorithms.gradients import round_to_shells
from n2a_bids.algorithms.realizations import Context, Gradients, Realizations
from n2a_bids.algorithms.strategies import DIFFUSION_STRATEGIES, get_strategy
from n2a_bids.algorithms.tensor import (
    TensorFit,
    fit_tensor,
    fractional_anisotropy,
    mean_diffusivity,
    principal_direction,
)
from n2a_bids.benchmark.rows import RowTable
from n2a_bids.interfaces.distortion import correct_pair
from n2a_bids.interfaces.dwi_mask import mean_b0
from n2a_bids.interfaces.dwi_peers import DWI_PEERS, denoise_with_dwi_peer
from n2a_bids.interfaces.synthesis import split_series, split_volumes

CELL_COLUMNS = ("phantom", "condition", "snr", "seed", "method")
COLUMNS = (
    *CELL_COLUMNS,
    *("psnr_b0_db", "psnr_dwi_db", "fa_error", "md_error", "v1_error_deg", "dwi_bias", "seconds", "chosen"),
)
_FIBRE_FA = 0.25
"""FA above which a principal direction is worth comparing."""


@dataclass(frozen=True, slots=True)
class DiffusionPlan:
    """Cells of the benchmark."""

    phantoms: tuple[str, ...] = ("tensor", "multi-tensor")
    conditions: tuple[str, ...] = ("single", "repeat", "reverse-pe")
    snrs: tuple[float, ...] = (10.0, 15.0, 20.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    methods: tuple[str, ...] = ("noisy", "auto", "mppca", "patch2self")
    recipe: str = "default"
    peak_voxels: float = 3.0
    """Largest displacement of reverse-PE pairs."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A noise-free series, its table and brain."""

    name: str
    signal: NDArray[np.float32]
    gradients: Gradients
    mask: NDArray[np.bool_]
    voxel_size_mm: tuple[float, float, float]


def make_truths(
    data: NDArray[np.float32],
    gradients: Gradients,
    mask: NDArray[np.bool_],
    voxel_size_mm: tuple[float, float, float],
    names: Sequence[str],
) -> list[Truth]:
    """Phantoms of these names (``tensor``, ``multi-tensor``) from a real series."""
    makers = {
        "tensor": dwi_phantoms.tensor_phantom,
        "multi-tensor": dwi_phantoms.multi_tensor_phantom,
    }
    unit = float(np.median(data[mask]))
    return [
        Truth(name, makers[name](data / unit, gradients, mask), gradients, mask, voxel_size_mm)
        for name in names
    ]


def run_diffusion(truths: Sequence[Truth], plan: DiffusionPlan, table_path: Path) -> Path:
    """Fill the table, cell by cell; rows that are there already are kept.

    Parameters
    ----------
    truths : sequence of Truth
    plan : DiffusionPlan
    table_path : Path
        TSV file.

    Returns
    -------
    table_path : Path
    """
    table = RowTable(table_path, COLUMNS, CELL_COLUMNS)
    done = {tuple(row[column] for column in CELL_COLUMNS) for row in table.rows}
    for truth in truths:
        reference = fit_tensor(truth.signal, truth.gradients, truth.mask)
        for seed in plan.seeds:
            for condition in plan.conditions:
                for snr in plan.snrs:
                    keys = [(truth.name, condition, f"{snr:g}", str(seed), m) for m in plan.methods]
                    if done.issuperset(keys):
                        continue
                    repetitions = simulate(truth, condition, snr, seed, plan.peak_voxels)
                    for key in keys:
                        if key not in done:
                            row = _measure(truth, reference, repetitions, key, plan)
                            table.add(dict(zip(CELL_COLUMNS, key)) | row)
    return table_path


def simulate(truth: Truth, condition: str, snr: float, seed: int, peak_voxels: float) -> NDArray[np.float32]:
    """Noisy repetitions as they reach the denoiser.

    Parameters
    ----------
    truth : Truth
    condition : str
        ``single``; ``repeat``: two perfect repetitions; ``reverse-pe``: two distorted ones, corrected with
        the estimated displacement; ``split``: two, synthesized from halves of one series.
    snr : float
        Of the b0.
    seed : int
    peak_voxels : float
        Largest displacement.

    Returns
    -------
    repetitions : (R, X, Y, Z, C) float32 array
    """
    generator = torch.Generator().manual_seed(1000 + seed)
    noise_sd = dwi_phantoms.noise_sd_for_snr(truth.signal, truth.gradients, truth.mask, snr)
    if condition == "reverse-pe":
        return _reverse_pe(truth, noise_sd, peak_voxels, generator)
    count = 2 if condition == "repeat" else 1
    series = [dwi_phantoms.add_rician_noise(truth.signal, noise_sd, generator) for _ in range(count)]
    if condition == "split":
        halves = split_volumes(truth.gradients, generator)
        series = split_series(series[0], truth.gradients, truth.mask, halves)
    return np.stack(series)


def _reverse_pe(
    truth: Truth, noise_sd: float, peak_voxels: float, generator: torch.Generator
) -> NDArray[np.float32]:
    axis = 1
    field = dwi_phantoms.susceptibility_displacement(truth.mask, axis, peak_voxels, generator)
    noisy = [
        dwi_phantoms.add_rician_noise(
            dwi_phantoms.distort(truth.signal, field, axis, sign), noise_sd, generator
        )
        for sign in (1, -1)
    ]
    b0s = [mean_b0(series, truth.gradients) for series in noisy]
    displacement, voxel_map, _ = correct_pair(*b0s, truth.mask, truth.voxel_size_mm, axis)
    maps = (np.eye(4), voxel_map)
    return np.stack(
        [
            np.stack(
                [resample(series[..., c], voxel, displacement, axis, sign) for c in range(series.shape[-1])],
                axis=-1,
            )
            for series, voxel, sign in zip(noisy, maps, (1, -1))
        ]
    )


def _measure(
    truth: Truth,
    reference: TensorFit,
    repetitions: NDArray[np.float32],
    key: tuple[str, ...],
    plan: DiffusionPlan,
) -> dict[str, str]:
    started = time.perf_counter()
    estimate, chosen = _denoise(key[-1], repetitions, truth, plan, int(key[3]))
    seconds = time.perf_counter() - started
    figures = compare(estimate, truth, reference)
    row = {name: f"{value:.6g}" for name, value in figures.items()}
    return row | {"seconds": f"{seconds:.2f}", "chosen": chosen}


def _denoise(
    method: str, repetitions: NDArray[np.float32], truth: Truth, plan: DiffusionPlan, seed: int
) -> tuple[NDArray[np.float32], str]:
    mean = repetitions.mean(axis=0)
    if method == "noisy":
        return mean, ""
    if method in DWI_PEERS:
        return denoise_with_dwi_peer(method, mean, truth.mask, truth.gradients), ""
    strategy = get_strategy(method, diffusion=True)
    realizations = Realizations(repetitions, truth.mask, truth.voxel_size_mm, gradients=truth.gradients)
    context = Context(torch.Generator().manual_seed(seed))
    result = strategy.denoise(realizations, strategy.config(plan.recipe, None), context)
    return result.data, str(result.figures["chosen"]["name"])


def compare(estimate: NDArray[np.float32], truth: Truth, reference: TensorFit) -> dict[str, float]:
    """Errors against the truth.

    Parameters
    ----------
    estimate : (X, Y, Z, C) array
    truth : Truth
    reference : TensorFit
        Of the truth.

    Returns
    -------
    figures : dict
        PSNR with the in-mask range as peak (b0 and weighted volumes apart), mean absolute errors of FA and
        MD (mm2/s) over the brain, mean angle between principal directions where the true FA exceeds 0.25,
        and mean relative bias of the weighted signal.
    """
    mask, shells = truth.mask, round_to_shells(truth.gradients.bvals)
    fit = fit_tensor(estimate, truth.gradients, mask)
    fa, true_fa = fractional_anisotropy(fit), fractional_anisotropy(reference)
    cosine = np.abs(np.sum(principal_direction(fit) * principal_direction(reference), axis=1))
    angle = np.degrees(np.arccos(np.clip(cosine, 0, 1)))
    weighted = shells > 0
    bias = (estimate - truth.signal)[mask][:, weighted].mean() / truth.signal[mask][:, weighted].mean()
    return {
        "psnr_b0_db": _psnr(estimate, truth.signal, mask, ~weighted),
        "psnr_dwi_db": _psnr(estimate, truth.signal, mask, weighted),
        "fa_error": float(np.abs(fa - true_fa).mean()),
        "md_error": float(np.abs(mean_diffusivity(fit) - mean_diffusivity(reference)).mean()),
        "v1_error_deg": float(angle[true_fa > _FIBRE_FA].mean()),
        "dwi_bias": float(bias),
    }


def _psnr(estimate: NDArray, truth: NDArray, mask: NDArray[np.bool_], volumes: NDArray[np.bool_]) -> float:
    if not volumes.any():
        return float("nan")
    wanted = truth[mask][:, volumes]
    error = np.mean((estimate[mask][:, volumes] - wanted) ** 2)
    return float(20 * np.log10(np.ptp(wanted)) - 10 * np.log10(error))


def known_methods() -> list[str]:
    """What ``--strategies`` takes for diffusion series."""
    return ["noisy", *DIFFUSION_STRATEGIES, *DWI_PEERS]
