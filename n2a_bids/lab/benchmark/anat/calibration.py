"""Is the uncertainty map of T1w images true? Expected against true error on simulated repetitions."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.errors import ConfigError
from n2a_bids.lab.benchmark.anat.alignment import align_runs
from n2a_bids.lab.benchmark.anat.cells import Cell, CellData, make_cell_data, place_of, plan_cells
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan, open_table
from n2a_bids.lab.benchmark.strategies import denoise_by_strategy
from n2a_bids.lab.benchmark.table import CELL_COLUMNS, cell_key
from n2a_bids.lab.benchmark.truths import Truth, crop_truth
from n2a_bids.lab.simulation.lesions import Lesions, make_lesions

N_BINS = 10
_COLUMNS = (
    *("rmse", "expected_rmse", "coverage_90", *(f"decile_{n + 1}" for n in range(N_BINS)), "mean_better"),
    *(
        "lesions_lost",
        "lesions_rank",
        "lesions_most_lost",
        "rank_most_lost",
        "seconds",
        "uncertainty_seconds",
    ),
)
HALF_WIDTH_90 = 1.645
"""Of the interval that holds nine of ten normal errors, in SDs."""
_LESION_RADIUS_MM, _N_LESIONS = 2.0, 18


@dataclass(frozen=True, slots=True)
class Calibration:
    """Expected against true errors in the brain."""

    rmse: float
    """True root mean squared error."""
    expected_rmse: float
    coverage: float
    """Part of the voxels whose error is within 1.645 times the expected one: 0.9 of normal errors."""
    deciles: NDArray[np.float64]
    """(10,) expected over true mean squared error, from the voxels of least expected error on."""


def measure_calibration(error: NDArray[np.floating], error_sd: NDArray[np.floating]) -> Calibration:
    """Compare expected errors with true ones.

    Parameters
    ----------
    error : (n,) array
        True errors, any unit.
    error_sd : (n,) array
        Expected root mean square of each, the same unit.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sd = rng.uniform(1, 2, 100_000)
    >>> found = measure_calibration(sd * rng.standard_normal(sd.size), sd)
    >>> bool(abs(found.coverage - 0.9) < 0.01), bool((abs(found.deciles - 1) < 0.1).all())
    (True, True)
    """
    squared, expected = np.square(error, dtype=np.float64), np.square(error_sd, dtype=np.float64)
    parts = np.array_split(np.argsort(expected, kind="stable"), N_BINS)
    return Calibration(
        rmse=float(np.sqrt(squared.mean())),
        expected_rmse=float(np.sqrt(expected.mean())),
        coverage=float((squared <= HALF_WIDTH_90**2 * expected).mean()),
        deciles=np.array([expected[part].mean() / squared[part].mean() for part in parts]),
    )


def run_calibration(truths: Sequence[Truth], plan: BenchmarkPlan) -> int:
    """Measure every method that tells its error, in every cell; writes ``calibration.tsv``.

    Small lesions, brighter and darker, are put into every truth: how much of their contrast is lost, and
    how their expected errors rank in the brain, is told too.

    Returns
    -------
    exit_code : int
        0.

    Raises
    ------
    ConfigError
        If no method tells its error.
    """
    methods = [name for name in plan.methods if name.split(":")[0].split("+")[0] == "auto"]
    if not methods:
        raise ConfigError(
            "--calibration: expected a strategy that tells its error (auto), found none; name it"
        )
    table = open_table(plan, "calibration.tsv", columns=(*CELL_COLUMNS, *_COLUMNS))
    by_name = {truth.name: truth for truth in truths}
    torch.set_num_threads(plan.settings.n_threads)
    for cell in plan_cells(by_name, plan.conditions, plan.noise_levels, plan.repetitions, plan.n_seeds):
        missing = [name for name in methods if not table.has(cell_key(cell, name))]
        if not missing:
            continue
        data, lesions = _with_lesions(cell, by_name[cell.truth], plan.crop)
        for name in missing:
            row = _measure(name, data, lesions, plan)
            table.add(cell_key(cell, name) | row)
            worst = max(abs(row[f"decile_{n + 1}"] - 1) for n in range(N_BINS))
            sys.stderr.write(
                f"{cell} {name}: worst decile {worst:.0%} off, coverage {row['coverage_90']:.3f}\n"
            )
    return 0


def _with_lesions(cell: Cell, truth: Truth, crop: Sequence[int] | None) -> tuple[CellData, Lesions]:
    """Repetitions of a truth with small lesions inside the box."""
    core = crop_truth(truth, crop)
    lesions = make_lesions(
        core.mask,
        float(np.std(core.data[core.mask])),
        cell.generator(),
        _N_LESIONS,
        _LESION_RADIUS_MM,
        core.voxel_size_mm,
        alternate=True,
    )
    data = truth.data.copy()
    inside = place_of(core, truth)
    data[inside] = np.maximum(core.data + lesions.signal, 0)
    lesions = replace(lesions, signal=data[inside] - core.data)
    return make_cell_data(cell, replace(truth, data=data), crop, align_runs), lesions


def _measure(name: str, data: CellData, lesions: Lesions, plan: BenchmarkPlan) -> dict[str, float]:
    """One row of the table, errors in units of the tissue SD."""
    started, mask = time.perf_counter(), data.repetitions.mask
    denoised = denoise_by_strategy(name, data.repetitions, plan.settings)
    seconds = time.perf_counter() - started
    unit = float(np.std(data.truth[mask]))
    # Results have the gain of the first repetition.
    error = (denoised.data[..., 0] - data.gains[0] * data.truth) / (unit * data.gains[0])
    error_sd = denoised.uncertainty[..., 0] / (unit * data.gains[0])
    found = measure_calibration(error[mask], error_sd[mask])
    lost, rank = _measure_lesions(error * unit, error_sd, mask, lesions)
    most = lost >= np.quantile(lost, 2 / 3)
    return {
        "rmse": found.rmse,
        "expected_rmse": found.expected_rmse,
        "coverage_90": found.coverage,
        **{f"decile_{number + 1}": ratio for number, ratio in enumerate(found.deciles)},
        "mean_better": denoised.record.mean_better or 0.0,
        "lesions_lost": float(lost.mean()),
        "lesions_rank": float(rank.mean()),
        "lesions_most_lost": float(lost[most].mean()),
        "rank_most_lost": float(rank[most].mean()),
        "seconds": seconds,
        "uncertainty_seconds": denoised.record.seconds.get("uncertainty", 0.0),
    }


def _measure_lesions(
    error: NDArray[np.float32], error_sd: NDArray[np.float32], mask: NDArray[np.bool_], lesions: Lesions
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Part of its contrast that each lesion lost, and the part of the brain where less error is expected."""
    lost, rank = [], []
    for label in range(1, len(lesions.centres) + 1):
        core = lesions.cores == label
        lost.append(-float(error[core].mean() / lesions.signal[core].mean()))
        rank.append(float((error_sd[mask] < np.sqrt(np.mean(error_sd[core] ** 2))).mean()))
    return np.array(lost), np.array(rank)
