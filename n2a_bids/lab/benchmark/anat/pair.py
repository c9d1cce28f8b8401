"""``benchmark --pair``: risk and time of every method on real repetitions, without a truth."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.masked_filters import box_within
from n2a_bids.algorithms.preparation.repetitions import Prepared, prepare
from n2a_bids.algorithms.quality.metrics import edge_correlation, relative_sharpness
from n2a_bids.algorithms.risk.candidates import Candidate, combine_repetitions
from n2a_bids.algorithms.risk.comparison import compare, stack_draws
from n2a_bids.algorithms.risk.held_out import HeldOut, hold_out
from n2a_bids.algorithms.risk.stacking import (
    STRENGTH,
    average_blocks,
    draw_contrasts,
)
from n2a_bids.errors import BIDSDataError, DenoisingError
from n2a_bids.io.images import load, load_mask, same_grid
from n2a_bids.lab.benchmark.anat.cells import CellData
from n2a_bids.lab.benchmark.anat.methods import run_method
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan, open_table
from n2a_bids.lab.benchmark.baselines import BASELINES, EACH, NoisyVolume
from n2a_bids.lab.benchmark.table import Row, anatomy_in_residual, write_lines
from n2a_bids.lab.benchmark.truths import Truth, crop_truth
from n2a_bids.lab.benchmark.worker import run_in_child
from n2a_bids.record.typed_json import JsonObject

PAIR_COLUMNS = (
    "method",
    "seconds",
    "peak_memory_mb",
    "risk",
    "standard_error",
    "block_risks",
    "sharpness_over_mean",
    "residual_edge_correlation",
    "difference_edge_correlation",
    "chosen",
    "status",
)


def baseline_candidate(name: str, n_threads: int) -> Candidate:
    """A classical denoiser of the mean as a candidate, so that its risk is measured like any other."""
    denoiser, _ = BASELINES[name]

    def denoise(image: NDArray[np.float32], noise_sd: NDArray[np.float32]) -> NDArray[np.float32]:
        # z-scores are lifted, since baselines expect magnitudes
        lift = np.float32(image.min())
        level = float(np.sqrt(np.mean(noise_sd**2)))
        inside = np.ones(image.shape, dtype=bool)
        return denoiser(NoisyVolume(image - lift, inside, level, n_threads)) + lift

    return Candidate(name, function=denoise)


def run_pair(files: Sequence[Path], mask_file: Path, plan: BenchmarkPlan) -> int:
    """Denoise real aligned repetitions by every method and compare estimated risks.

    Risks are mean squared errors in squared z-scores minus that of the plain mean: negative is
    better. Strategies report their own, baselines are scored on the same blocks; the blocks reach a
    baseline with 8 voxels around them. ``differences.tsv`` compares methods with baselines block by block.

    Parameters
    ----------
    files : sequence of Path
        Repetitions on one grid.
    mask_file : Path
        Brain mask on that grid.
    plan : BenchmarkPlan
        Methods, crop and settings; cells are not used.

    Returns
    -------
    exit_code : int
        0, or 1 if a method failed.

    Raises
    ------
    BIDSDataError
        If the files do not lie on one grid, or are fewer than two.
    """
    data, prepared = load_pair(files, mask_file, plan.crop)
    table = open_table(plan, "pair.tsv", columns=PAIR_COLUMNS, key_columns=("method",))
    for name in plan.methods:
        if table.has({"method": name}):
            continue
        try:
            outcome = run_in_child(partial(run_method, name, data, plan.settings))
            scored = (
                run_in_child(partial(_score_baseline, name, prepared, plan)).metrics
                if name.removesuffix(EACH) in BASELINES
                else {}
            )
        except DenoisingError as error:
            table.add({"method": name, "status": f"failed: {error}"})
            continue
        table.add(
            {
                "method": name,
                "seconds": outcome.seconds,
                "peak_memory_mb": outcome.peak_memory_mb,
                **_structure(data, outcome.image),
                **(scored or _own_risk(outcome.metrics)),
                "status": "ok",
            }
        )
        sys.stderr.write(f"{name}: {outcome.seconds:.1f} s\n")
    _write_differences(table.rows, plan.out_dir)
    return int(any(row["status"] != "ok" for row in table.rows))


def _write_differences(rows: Sequence[Row], out_dir: Path) -> None:
    """Risk of every method minus that of every baseline, block by block: below 0 the method is better."""
    blocks = {
        row["method"]: np.array(row["block_risks"].split(), float) for row in rows if row["block_risks"]
    }
    lines = [("method", "baseline", "difference", "standard_error")]
    for method, own in blocks.items():
        for baseline, theirs in blocks.items():
            if baseline.removesuffix(EACH) in BASELINES and baseline != method:
                block_weights = np.full(len(own), 1 / len(own))
                difference, error = average_blocks(own - theirs, block_weights)
                lines.append((method, baseline, difference, error))
    write_lines(out_dir / "differences.tsv", lines)


def load_pair(
    files: Sequence[Path], mask_file: Path, crop: Sequence[int] | None
) -> tuple[CellData, Prepared]:
    """Load repetitions in the intensity scale of the first, with their noise estimated.

    Raises
    ------
    BIDSDataError
        If the files do not lie on one grid, or are fewer than two.
    """
    stages = load_runs(files, mask_file, crop)
    first = stages[0]
    prepared = prepare(first.repetitions(np.stack([stage.data for stage in stages])))
    scale = prepared.scales[0]
    matched = np.stack([scale.invert(image) for image in prepared.images])
    repetitions = first.repetitions(matched)
    noise_sd = prepared.repetition_noise_sd * np.float32(scale.gain)
    return CellData(repetitions, matched.mean(axis=0), np.ones(len(files)), noise_sd), prepared


def load_runs(files: Sequence[Path], mask_file: Path, crop: Sequence[int] | None) -> list[Truth]:
    """Load aligned runs as they are stored, cut to a box, with their mask.

    Raises
    ------
    BIDSDataError
        If the files do not lie on one grid, or are fewer than two.
    """
    if len(files) < 2:
        raise BIDSDataError(f"--pair: expected at least two aligned repetitions, found {len(files)}")
    strangers = [path for path in files[1:] if not same_grid(path, files[0])]
    if strangers:
        raise BIDSDataError(
            f"{strangers[0]}: expected the grid of {files[0]}, found another; give aligned repetitions, "
            "as n2a-tools denoise takes them"
        )
    volumes, affine = [load(path)[0] for path in files], load(files[0])[1]
    mask = load_mask(mask_file, files[0])
    return [crop_truth(Truth("repetition", volume, mask, affine), crop) for volume in volumes]


def _structure(data: CellData, image: NDArray[np.float32]) -> dict[str, float]:
    mask, voxel_size_mm = data.repetitions.mask, data.repetitions.voxel_size_mm
    half_difference = (data.matched[0] - data.matched[1]) / 2
    return {
        "sharpness_over_mean": relative_sharpness(image, data.truth, image, mask, voxel_size_mm),
        "residual_edge_correlation": anatomy_in_residual(data, image),
        "difference_edge_correlation": edge_correlation(half_difference, image, mask),
    }


def _own_risk(metrics: JsonObject) -> JsonObject:
    """Risk of what a strategy delivered: of its blend, or 0 where the mean won."""
    chosen = metrics.get("chosen", {})
    rows = {row["name"]: row for row in metrics.get("candidates", [])}
    row = rows.get("blend", rows.get(chosen.get("name"), {}))
    blocks = row.get("block_risks", [])
    if chosen.get("mean_won"):
        row, blocks = {"risk": 0.0, "standard_error": 0.0}, [0.0 for _ in blocks]
    return {
        "risk": row.get("risk", float("nan")),
        "standard_error": row.get("standard_error", float("nan")),
        "block_risks": _joined(blocks),
        "chosen": chosen.get("description", ""),
    }


def _score_baseline(
    name: str, prepared: Prepared, plan: BenchmarkPlan
) -> tuple[NDArray[np.float32], JsonObject]:
    # the seed of the strategies: they draw the held-out blocks first, so all are scored on the same ones
    generator = torch.Generator().manual_seed(plan.settings.random_seed)
    context = Context(generator=generator)
    held_out = hold_out(prepared.mask, generator)
    if name.endswith(EACH):
        contrasts = draw_contrasts(prepared.weighting, generator, 2)
        draws = _estimates_of_each(
            name.removesuffix(EACH), prepared, held_out, plan.settings.n_threads, contrasts
        )
        stack = stack_draws(draws, prepared, held_out, len(contrasts))
    else:
        candidates = [Candidate("mean"), baseline_candidate(name, plan.settings.n_threads)]
        stack = compare(candidates, prepared, held_out, 0.0, context)
    risk = {
        "risk": float(stack.risks[1]),
        "standard_error": float(stack.standard_errors[1]),
        "block_risks": _joined(stack.block_risks[:, 1]),
    }
    return np.zeros(0, np.float32), risk


def _estimates_of_each(
    name: str, prepared: Prepared, held_out: HeldOut, n_threads: int, contrasts: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Draws for `stack_draws` of the mean of repetitions that were denoised one by one.

    Recorruption weighs what was made of each repetition. Its noise is in input and target then; what that
    adds with one contrast it takes away with the mirror image of it.
    """
    denoise = baseline_candidate(name, n_threads).function
    weights = prepared.weighting.weights
    for core, box in zip(held_out.cores, held_out.boxes, strict=True):
        inner = box_within(core, box)
        counted, noise_sd = prepared.mask[core], prepared.repetition_noise_sd[box]
        images = prepared.images[(slice(None), *box)]
        denoised = np.stack([denoise(image, noise_sd) for image in images])
        for contrast in contrasts:
            own, other = weights + STRENGTH * contrast, weights - contrast / STRENGTH
            values = [combine_repetitions(one, own)[inner][counted] for one in (images, denoised)]
            yield np.stack(values), combine_repetitions(images, other)[inner][counted]


def _joined(values: Iterable[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)
