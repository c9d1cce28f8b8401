"""The benchmark on diffusion series: phantoms of known truth made from a real series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.algorithms.diffusion.split_series import split_series, split_volumes
from n2a_bids.algorithms.diffusion.tensor import (
    TensorFit,
    fit_tensor,
    fractional_anisotropy,
    mean_diffusivity,
    principal_direction,
)
from n2a_bids.algorithms.distortion.field import resample
from n2a_bids.algorithms.distortion.pepolar import correct_pair
from n2a_bids.algorithms.noise.interpolation import noise_kept
from n2a_bids.algorithms.quality.metrics import ssim
from n2a_bids.algorithms.registration.dwi_resampling import mean_b0, resample_series
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.lab.benchmark.dwi.baselines import DWI_BASELINES, denoise_with_dwi_baseline
from n2a_bids.lab.benchmark.dwi.pair_motion import MOTIONS, motion_between, moved
from n2a_bids.lab.benchmark.dwi.supervised import denoise_supervised
from n2a_bids.lab.benchmark.dwi.truths import Truth
from n2a_bids.lab.benchmark.table import RowTable
from n2a_bids.lab.benchmark.worker import run_in_child
from n2a_bids.lab.simulation import dwi as dwi_phantoms
from n2a_bids.strategy_table import strategies_of, takes_halves

CELL_COLUMNS = ("phantom", "condition", "snr", "seed", "method")
COLUMNS = (
    *CELL_COLUMNS,
    *(
        "psnr_b0_db",
        "psnr_dwi_db",
        "ssim_dwi",
        "fa_error",
        "md_error",
        "v1_error_deg",
        "dwi_bias",
        "seconds",
        "peak_memory_mb",
        "chosen",
    ),
)

PHASE_AXIS = 1
REVERSE_PE = {"reverse-pe" if name == "still" else f"reverse-pe-{name}": name for name in MOTIONS}
"""Conditions of opposite phase encoding, and the motion of the head between the series."""
SUPERVISED = "supervised"
"""The ceiling of networks: learns from the truth elsewhere in the same brain."""
_SSIM_VOLUMES = 4
"""Weighted volumes, evenly spread, that the similarity is averaged over."""
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
    peak_mm: float = 15.0
    """Largest displacement of reverse-PE pairs."""
    n_threads: int = 1
    device: str = "cpu"
    """Of the strategies."""
    memory_gb: float = 6.0
    """That a strategy may take."""

    @property
    def needs_elsewhere(self) -> bool:
        """Whether a method learns from the rest of the brain."""
        return SUPERVISED in self.methods


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
                    simulated = simulate(truth, condition, snr, seed, plan.peak_mm)
                    for key in keys:
                        if key not in done:
                            row = _measure(truth, reference, simulated, key, plan)
                            table.add(dict(zip(CELL_COLUMNS, key)) | row)
    return table_path


def simulate(truth: Truth, condition: str, snr: float, seed: int, peak_mm: float) -> Repetitions:
    """Noisy repetitions as they reach the denoiser.

    Parameters
    ----------
    truth : Truth
    condition : str
        ``single``; ``repeat``: two perfect repetitions; ``misaligned``: two, the second moved by up to half
        a voxel and half a degree and left so; ``reverse-pe``: two distorted ones, corrected with the
        estimated displacement, and with a motion of the head between them, which is estimated, too
        (``reverse-pe-3mm``, ``reverse-pe-5mm-5deg``); ``split``: one, which networks that need two get as
        two synthesized halves.
    snr : float
        Of the b0.
    seed : int
    peak_mm : float
        Largest displacement.

    Returns
    -------
    repetitions : Repetitions
    """
    generator = torch.Generator().manual_seed(1000 + seed)
    noise_sd = dwi_phantoms.noise_sd_for_snr(truth.signal, truth.gradients, truth.mask, snr)
    if condition in REVERSE_PE:
        return _reverse_pe(truth, noise_sd, peak_mm, generator, REVERSE_PE[condition])
    signals = [truth.signal]
    if condition in ("repeat", "misaligned"):
        signals.append(_nudged(truth.signal, generator) if condition == "misaligned" else truth.signal)
    series = [dwi_phantoms.add_rician_noise(signal, noise_sd, generator) for signal in signals]
    return _repetitions(truth, np.stack(series))


def _repetitions(truth: Truth, repetitions: NDArray[np.float32], kept: float = 1.0) -> Repetitions:
    return Repetitions(
        repetitions, truth.mask, truth.voxel_size_mm, gradients=truth.gradients, noise_kept=kept
    )


def _reverse_pe(
    truth: Truth, noise_sd: float, peak_mm: float, generator: torch.Generator, motion: str
) -> Repetitions:
    axis = PHASE_AXIS
    peak_voxels = peak_mm / truth.voxel_size_mm[axis]
    field = dwi_phantoms.susceptibility_displacement(truth.mask, axis, peak_voxels, generator)
    maps = np.eye(4), motion_between(motion, truth.mask.shape, truth.voxel_size_mm, axis)
    noisy = [
        dwi_phantoms.add_rician_noise(
            dwi_phantoms.distort(moved(truth.signal, place), moved(field, place), axis, sign),
            noise_sd,
            generator,
        )
        for place, sign in zip(maps, (1, -1), strict=True)
    ]
    b0s = [mean_b0(series, truth.gradients) for series in noisy]
    found = correct_pair(*b0s, truth.mask, voxel_size_mm=truth.voxel_size_mm, axis=axis)
    aligned, kept = [], []
    places = ((np.eye(4), found.displacement), (found.voxel_map, found.second_displacement))
    for series, (voxel, displacement) in zip(noisy, places, strict=True):
        maps = [voxel] * series.shape[-1]
        aligned.append(resample_series(series, maps, displacement, axis, truth.mask))
        kept.append(noise_kept(truth.mask.shape, [voxel], displacement, axis, 1, truth.mask))
    return _repetitions(truth, np.stack(aligned), float(np.sqrt(np.mean(np.square(kept)))))


def _nudged(signal: NDArray[np.float32], generator: torch.Generator) -> NDArray[np.float32]:
    """The signal after a motion that alignment may leave behind."""
    draw = torch.rand(6, generator=generator).numpy() - 0.5
    turn = Rotation.from_rotvec(np.radians(draw[3:])).as_matrix()
    centre = (np.array(signal.shape[:3]) - 1) / 2
    voxel_map = np.eye(4)
    voxel_map[:3, :3] = turn
    voxel_map[:3, 3] = centre - turn @ centre + draw[:3]
    still = np.zeros(signal.shape[:3], np.float32)
    moved = [
        resample(signal[..., c], voxel_map, still, PHASE_AXIS, 0, order=3) for c in range(signal.shape[-1])
    ]
    return np.stack(moved, axis=-1)


def _measure(
    truth: Truth,
    reference: TensorFit,
    repetitions: Repetitions,
    key: tuple[str, ...],
    plan: DiffusionPlan,
) -> dict[str, str]:
    if key[1] == "split" and takes_halves(key[-1]):
        halves = split_volumes(truth.gradients, torch.Generator().manual_seed(int(key[3])))
        series = split_series(repetitions.data[0], truth.gradients, truth.mask, halves)
        repetitions = _repetitions(truth, np.stack(series))
    snr, seed, method = float(key[2]), int(key[3]), key[-1]
    outcome = run_in_child(partial(_denoise, method, repetitions, plan, seed, truth, snr))
    figures = compare(outcome.image, truth, reference)
    row = {name: f"{value:.6g}" for name, value in figures.items()}
    return row | {
        "seconds": f"{outcome.seconds:.2f}",
        "peak_memory_mb": f"{outcome.peak_memory_mb:.0f}",
        "chosen": outcome.figures["chosen"],
    }


def _denoise(
    method: str, repetitions: Repetitions, plan: DiffusionPlan, seed: int, truth: Truth, snr: float
) -> tuple[NDArray[np.float32], dict[str, str]]:
    torch.set_num_threads(plan.n_threads)
    mean = repetitions.data.mean(axis=0)
    if method == "noisy":
        return mean, {"chosen": ""}
    if method in DWI_BASELINES:
        image = denoise_with_dwi_baseline(method, mean, repetitions.mask, repetitions.gradients)
        return image, {"chosen": ""}
    context = Context(torch.Generator().manual_seed(seed), torch.device(plan.device), plan.memory_gb)
    if method == SUPERVISED:
        return denoise_supervised(repetitions, truth, snr, plan.recipe, context), {"chosen": ""}
    strategy = get_strategy(method, diffusion=True)
    result = strategy.denoise(repetitions, strategy.config(plan.recipe, None), context)
    return result.data, {"chosen": result.record.chosen.name}


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
        PSNR with the in-mask range as peak (b0 and weighted volumes apart), SSIM, mean absolute errors of
        FA and MD (mm2/s) over the brain, mean angle between principal directions where the true FA exceeds
        0.25, and mean relative bias of the weighted signal.
    """
    mask, shells = truth.mask, find_shells(truth.gradients)
    fit = fit_tensor(estimate, truth.gradients, mask)
    fa, true_fa = fractional_anisotropy(fit), fractional_anisotropy(reference)
    cosine = np.abs(np.sum(principal_direction(fit) * principal_direction(reference), axis=1))
    angle = np.degrees(np.arccos(np.clip(cosine, 0, 1)))
    weighted = shells > 0
    shown = np.flatnonzero(weighted)[:: max(1, int(weighted.sum()) // _SSIM_VOLUMES)]
    bias = (estimate - truth.signal)[mask][:, weighted].mean() / truth.signal[mask][:, weighted].mean()
    return {
        "psnr_b0_db": _psnr(estimate, truth.signal, mask, ~weighted),
        "psnr_dwi_db": _psnr(estimate, truth.signal, mask, weighted),
        "ssim_dwi": float(np.mean([ssim(estimate[..., c], truth.signal[..., c], mask) for c in shown])),
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
    return ["noisy", *(row.name for row in strategies_of("dwi")), *DWI_BASELINES, SUPERVISED]
