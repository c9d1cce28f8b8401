"""Compares interpolations of moved repetitions by what the network makes of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.noise.estimate import difference_noise_sd
from n2a_bids.algorithms.quality.metrics import edge_psnr, psnr
from n2a_bids.algorithms.quality.sharpness import relative_sharpness
from n2a_bids.algorithms.registration.placed_images import PlacedImage
from n2a_bids.algorithms.registration.resampling import resample
from n2a_bids.algorithms.registration.rigid import midspace_transforms
from n2a_bids.algorithms.transforms import Affine, inverse
from n2a_bids.lab.benchmark.anat.alignment import refine_rigid, register_run
from n2a_bids.lab.benchmark.anat.cells import MOVEMENT_MARGIN_VOXELS, Cell, place_of
from n2a_bids.lab.benchmark.anat.methods import oracle_network, tissue_scale
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan, open_table
from n2a_bids.lab.benchmark.table import RowTable
from n2a_bids.lab.benchmark.truths import Truth, crop_truth, pad_truth
from n2a_bids.lab.simulation.conditions import find_condition
from n2a_bids.lab.simulation.runs import SimulatedRuns, SimulationConfig, simulate_runs

_KEY = ("truth", "noise_level", "seed", "way")
_MEASURES = ("registration_error_mm", "psnr_db", "edge_psnr_db", "sharpness_over_truth")


@dataclass(frozen=True, slots=True)
class Situation:
    """Two runs of one head, the second moved, and what is known of the movement."""

    runs: SimulatedRuns
    truth: Truth
    """On the grid of the runs."""
    true_transform: NDArray[np.float64]
    """(4, 4) indices of the first run to indices of the second."""
    found_transform: NDArray[np.float64]
    """The same, as registration finds it."""
    core: tuple[slice, ...]
    """Box that counts."""
    denoise: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
    """(image, noise SD) -> denoised; the same pretrained network for every way."""


Outcome = tuple[NDArray[np.float32], NDArray[np.float64]]
"""Denoised image on the grid of the first run, and the transform that was used."""


def run_interpolation(truths: Sequence[Truth], plan: BenchmarkPlan) -> int:
    """Compare all ways in cells of two moved runs; writes ``interpolation.tsv``.

    Parameters
    ----------
    plan : BenchmarkPlan
        Its methods and conditions are not looked at.

    Returns
    -------
    exit_code : int
        0.
    """
    table = open_table(plan, "interpolation.tsv", columns=(*_KEY, *_MEASURES), key_columns=_KEY)
    for seed in range(plan.n_seeds):
        for truth in truths:
            for level in plan.noise_levels:
                _run_cell(Cell(truth.name, "moved", level, 2, seed), truth, plan, table)
    return 0


def _run_cell(cell: Cell, truth: Truth, plan: BenchmarkPlan, table: RowTable) -> None:
    key = {"truth": cell.truth, "noise_level": cell.noise_level, "seed": cell.seed}
    missing = [way for way in WAYS if not table.has(key | {"way": way})]
    if not missing:
        return
    situation = make_situation(cell, truth, plan)
    for way in missing:
        image, transform = WAYS[way](situation)
        row = key | {"way": way} | _measure(image, transform, situation)
        table.add(row)
        sys.stderr.write(f"{cell.truth} {cell.noise_level:g} {way}: {row['psnr_db']:.2f} dB\n")


def make_situation(cell: Cell, truth: Truth, plan: BenchmarkPlan) -> Situation:
    """Simulate and register two runs."""
    stage = pad_truth(truth, MOVEMENT_MARGIN_VOXELS)
    config = SimulationConfig(
        noise_level=cell.noise_level,
        n_repetitions=2,
        noise_model="gaussian",
        **find_condition("moved").settings,
    )
    runs = simulate_runs(stage.data, stage.mask, config, cell.generator(), stage.voxel_size_mm)
    grid = PlacedImage(runs.repetitions[0], stage.affine, runs.mask)
    found = register_run(grid, runs, 1)
    to_mm = np.diag([*stage.voxel_size_mm, 1.0])
    return Situation(
        runs=runs,
        truth=stage,
        true_transform=(~Affine(runs.transforms[1])).between_voxels(to_mm, to_mm),
        found_transform=Affine(found).between_voxels(stage.affine, stage.affine),
        core=place_of(crop_truth(truth, plan.crop), stage),
        denoise=_make_denoiser(stage, plan),
    )


def _make_denoiser(stage: Truth, plan: BenchmarkPlan) -> Callable[..., NDArray[np.float32]]:
    network = oracle_network(plan.settings)
    scale = tissue_scale(stage.data, stage.mask)
    device = torch.device(plan.settings.device)

    def denoise(image: NDArray[np.float32], noise_sd: NDArray[np.float32]) -> NDArray[np.float32]:
        torch.set_num_threads(plan.settings.n_threads)
        level = (noise_sd / scale.gain).astype(np.float32)
        memory_gb = plan.settings.memory_gb
        return scale.invert(predict(network, scale.apply(image), level, device=device, memory_gb=memory_gb))

    return denoise


def _denoise_mean(
    situation: Situation, first: NDArray[np.float32], second: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Mean of two images on one grid, at the noise level that their difference shows."""
    pair = np.stack([first, second])
    noise_sd = difference_noise_sd(pair, situation.runs.mask) / np.float32(np.sqrt(2))
    return _denoise_box(situation, pair.mean(axis=0), noise_sd)


def _denoise_box(
    situation: Situation, image: NDArray[np.float32], noise_sd: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Denoise the box that counts with a margin as wide as heads move, and leave the rest."""
    box = tuple(
        slice(max(0, part.start - MOVEMENT_MARGIN_VOXELS), part.stop + MOVEMENT_MARGIN_VOXELS)
        for part in situation.core
    )
    result = image.copy()
    result[box] = situation.denoise(image[box], noise_sd[box])
    return result


def _as_in_the_app(situation: Situation, transform: NDArray[np.float64]) -> Outcome:
    first, second = situation.runs.repetitions
    brought, _ = resample(second, transform, first.shape)
    return _denoise_mean(situation, first, brought), transform


def _without_movement(situation: Situation) -> Outcome:
    """What could be had if nobody moved: the ceiling."""
    stage = situation.truth
    generator = np.random.default_rng(1)
    level = np.float32(np.sqrt(np.mean(situation.runs.noise_sd[stage.mask] ** 2)))
    second = stage.data + level * generator.standard_normal(stage.data.shape, dtype=np.float32)
    return _denoise_mean(situation, situation.runs.repetitions[0], second), situation.true_transform


def _by_spline(order: int) -> Callable[[Situation], Outcome]:
    def bring(situation: Situation) -> Outcome:
        first, second = situation.runs.repetitions
        found = situation.found_transform
        brought = ndimage.affine_transform(second, found[:3, :3], found[:3, 3], order=order, mode="mirror")
        return _denoise_mean(situation, first, brought), found

    return bring


def _midspace(situation: Situation) -> Outcome:
    """Both runs to the space between, and the denoised image back."""
    first, second = situation.runs.repetitions
    to_mm = np.diag([*situation.truth.voxel_size_mm, 1.0])
    found_mm = Affine.from_voxels(situation.found_transform, to_mm, to_mm).matrix
    halves = [
        Affine(half).between_voxels(to_mm, to_mm) for half in midspace_transforms([np.eye(4), found_mm])
    ]
    images = [resample(run, half, first.shape)[0] for run, half in zip((first, second), halves, strict=True)]
    denoised = _denoise_mean(situation, *images)
    return resample(denoised, inverse(halves[0]), first.shape)[0], situation.found_transform


def _native(situation: Situation) -> Outcome:
    """Every run denoised where it was acquired; clean images are moved and averaged."""
    first, second = (
        _denoise_box(situation, run, situation.runs.noise_sd) for run in situation.runs.repetitions
    )
    brought, _ = resample(second, situation.found_transform, first.shape)
    return (first + brought) / 2, situation.found_transform


def _refined(situation: Situation) -> Outcome:
    """Denoise, refine the rigid parameters against the result, and denoise again."""
    clean, transform = _as_in_the_app(situation, situation.found_transform)
    refined = refine_rigid(
        clean,
        situation.runs.repetitions[1],
        transform,
        situation.runs.mask,
        np.array(situation.truth.voxel_size_mm),
    )
    return _as_in_the_app(situation, refined)


WAYS: dict[str, Callable[[Situation], Outcome]] = {
    "no movement": _without_movement,
    "true transform": lambda situation: _as_in_the_app(situation, situation.true_transform),
    "app": lambda situation: _as_in_the_app(situation, situation.found_transform),
    "refined by gradient": _refined,
    "halfway space": _midspace,
    "native space": _native,
    "quintic spline": _by_spline(5),
    "cubic spline": _by_spline(3),
    "trilinear": _by_spline(1),
}
"""Name -> what is done; ``app`` is the interpolation of `resampling.resample` to the first run."""


def _measure(
    image: NDArray[np.float32], transform: NDArray[np.float64], situation: Situation
) -> dict[str, float]:
    voxel_size_mm = situation.truth.voxel_size_mm
    index = np.argwhere(situation.truth.mask)[::97]
    difference = transform - situation.true_transform
    error = (index @ difference[:3, :3].T + difference[:3, 3]) * voxel_size_mm
    truth, mask, estimate = (
        data[situation.core] for data in (situation.truth.data, situation.truth.mask, image)
    )
    return {
        "registration_error_mm": float(np.sqrt((error**2).sum(axis=1).mean())),
        "psnr_db": psnr(estimate, truth, mask),
        "edge_psnr_db": edge_psnr(estimate, truth, mask),
        "sharpness_over_truth": relative_sharpness(estimate, truth, truth, mask, voxel_size_mm),
    }
