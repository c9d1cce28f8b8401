"""``benchmark --speed``: seconds, memory and arithmetic rate of every phase of a denoising."""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from n2a_bids.errors import DenoisingError
from n2a_bids.external.t1w_brain import write_brain_mask
from n2a_bids.lab.benchmark.anat.alignment import align_runs
from n2a_bids.lab.benchmark.anat.cells import CellData
from n2a_bids.lab.benchmark.anat.engine_speed import (
    NETWORKS,
    SpeedRow,
    measure_ceilings,
    measure_prediction,
    measure_training,
)
from n2a_bids.lab.benchmark.anat.methods import oracle_input, run_method
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan, open_table
from n2a_bids.lab.benchmark.strategies import MethodSettings
from n2a_bids.lab.benchmark.table import RowTable
from n2a_bids.lab.benchmark.truths import Truth, crop_truth
from n2a_bids.lab.benchmark.worker import Outcome, run_in_child
from n2a_bids.lab.simulation.runs import SimulatedRuns, SimulationConfig, simulate_runs
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.viz import Frame, alignment_flicker, crop_to_mask, denoising_flicker, mask_contours

SPEED_COLUMNS = (
    "phase",
    "item",
    "device",
    "precision",
    "seconds",
    "tflops",
    "fraction_of_ceiling",
    "gb_per_s",
    "peak_memory_mb",
    "status",
)
_BLOCK_EDGES = {"cpu": (48,), "cuda": (48, 64, 80)}
_PREDICTION_EDGE = {"cpu": 96, "cuda": 192}
_SEED = 5


def run_speed(truth: Truth, plan: BenchmarkPlan) -> int:
    """Measure a device and all phases on one simulated pair, and write ``speed.tsv``.

    Parameters
    ----------
    truth : Truth
        A whole head makes the time of the brain mask meaningful.
    plan : BenchmarkPlan
        Its methods are timed on the pair, cut to its crop.

    Returns
    -------
    exit_code : int
        0, or 1 if a phase failed.
    """
    keys = ("phase", "item", "device", "precision")
    table = open_table(plan, "speed.tsv", columns=SPEED_COLUMNS, key_columns=keys)
    _measure_engine(table, plan)
    stage = crop_truth(truth, plan.crop)
    config = SimulationConfig(noise_level=0.3, max_rotation_deg=4.0, max_translation_mm=4.0)
    generator = np.random.default_rng(_SEED)
    runs = simulate_runs(stage.data, stage.mask, config, generator, stage.voxel_size_mm)
    _add(table, plan, "mask", "deepbet, one run", partial(_mask, runs, stage, plan.settings.n_threads))
    align = partial(_align, runs, stage)
    aligned = _add(table, plan, "align", "rigid and resampling, one run", align)
    repetitions = runs.repetitions if aligned is None else np.stack([runs.repetitions[0], aligned.image])
    data = CellData(stage.repetitions(repetitions), runs.truth, runs.gains, runs.noise_sd)
    _add(table, plan, "zero-shot pass", "resunet-t1w, whole volume", partial(_one_pass, data, plan.settings))
    image = runs.truth
    for name in plan.methods:
        outcome = _add(table, plan, "denoise", name, partial(run_method, name, data, plan.settings))
        for part, seconds in (outcome.metrics.get("seconds", {}) if outcome else {}).items():
            _record(table, plan, {"phase": f"denoise: {part}", "item": name, "seconds": seconds})
        image = outcome.image if outcome else image
    _add(table, plan, "report", "figures of one image", partial(_report, runs, repetitions[1], image, stage))
    return int(any(row["status"] != "ok" for row in table.rows))


def _measure_engine(table: RowTable, plan: BenchmarkPlan) -> None:
    device = torch.device(plan.settings.device)
    threads = plan.settings.n_threads
    ceiling = float("nan")
    for row in _in_child(partial(measure_ceilings, device), threads):
        _record(table, plan, row)
        if row.get("precision") == "bfloat16":
            ceiling = float(row["tflops"])  # type: ignore[arg-type]
    works = [
        partial(measure_training, name, device, edge, 1)
        for name in NETWORKS
        for edge in _BLOCK_EDGES[device.type]
    ]
    works += [partial(measure_prediction, name, device, _PREDICTION_EDGE[device.type]) for name in NETWORKS]
    for work in works:
        try:
            row = _in_child(work, threads)[0]
        except DenoisingError as error:
            row = {"phase": work.func.__name__, "item": str(work.args[0]), "status": f"failed: {error}"}
        _record(table, plan, row | {"fraction_of_ceiling": float(row.get("tflops", np.nan)) / ceiling})


def _in_child(work: partial, n_threads: int) -> list[SpeedRow]:
    outcome = run_in_child(partial(_rows_as_record, work, n_threads))
    return outcome.metrics["rows"]


def _rows_as_record(work: partial, n_threads: int) -> tuple[np.ndarray, dict[str, list[SpeedRow]]]:
    torch.set_num_threads(n_threads)
    result = work()
    return np.zeros(0, np.float32), {"rows": result if isinstance(result, list) else [result]}


def _add(table: RowTable, plan: BenchmarkPlan, phase: str, item: str, work: partial) -> Outcome | None:
    """Time `work` in a process of its own; a failure is recorded, and ``None`` returned."""
    try:
        outcome = run_in_child(work)
    except DenoisingError as error:
        _record(table, plan, {"phase": phase, "item": item, "status": f"failed: {error}"})
        return None
    measured = {"seconds": outcome.seconds, "peak_memory_mb": outcome.peak_memory_mb}
    _record(table, plan, {"phase": phase, "item": item, **measured})
    return outcome


def _record(table: RowTable, plan: BenchmarkPlan, row: SpeedRow) -> None:
    row = {"device": plan.settings.device, "precision": "", "status": "ok", **row}
    table.add(row)
    seconds = row.get("seconds")
    note = row["status"] if seconds is None else f"{seconds:.3g} s"
    sys.stderr.write(f"{row['phase']}, {row['item']} {row['precision']}: {note}\n")


def _mask(runs: SimulatedRuns, stage: Truth, n_threads: int) -> tuple[np.ndarray, JsonObject]:
    with tempfile.TemporaryDirectory(prefix="n2a_benchmark_") as name:
        in_file = Path(name) / "head.nii.gz"
        nib.Nifti1Image(runs.repetitions[0], stage.affine).to_filename(in_file)
        mask = write_brain_mask(in_file, Path(name) / "mask.nii.gz", n_threads)
        return np.asarray(nib.load(mask).dataobj), {}


def _one_pass(data: CellData, settings: MethodSettings) -> tuple[np.ndarray, JsonObject]:
    torch.set_num_threads(settings.n_threads)
    return oracle_input(data, settings).denoise(((),)), {}


def _align(runs: SimulatedRuns, stage: Truth) -> tuple[np.ndarray, JsonObject]:
    return align_runs(runs, stage.affine)[1], {}


def _report(
    runs: SimulatedRuns, aligned: np.ndarray, image: np.ndarray, stage: Truth
) -> tuple[np.ndarray, JsonObject]:
    box = crop_to_mask(stage.mask, stage.voxel_size_mm)
    first, second, after, denoised = (v[box] for v in (*runs.repetitions, aligned, image))
    frame = Frame(stage.mask[box], stage.voxel_size_mm)
    svg = [
        mask_contours(first, frame),
        alignment_flicker(first, second, after, frame),
        denoising_flicker(first, (first + after) / 2, denoised, frame),
    ]
    return np.zeros(0, np.float32), {"characters": sum(map(len, svg))}
