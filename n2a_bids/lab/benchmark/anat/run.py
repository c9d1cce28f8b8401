"""Runs the T1w benchmark: every method on every cell, one row each."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from n2a_bids.errors import DenoisingError
from n2a_bids.io.files import whole_file, write_whole
from n2a_bids.lab.benchmark.anat.alignment import align_runs
from n2a_bids.lab.benchmark.anat.cells import Cell, CellData, make_cell_data, plan_cells
from n2a_bids.lab.benchmark.anat.methods import run_method
from n2a_bids.lab.benchmark.anat.summary import SUMMARY_COLUMNS, check_targets, format_summary, summarise
from n2a_bids.lab.benchmark.pictures import central_slice, draw_curves, draw_slices
from n2a_bids.lab.benchmark.strategies import MethodSettings
from n2a_bids.lab.benchmark.table import (
    CELL_COLUMNS,
    COLUMNS,
    RowTable,
    cell_key,
    keep_settings,
    measure,
    write_lines,
)
from n2a_bids.lab.benchmark.truths import Truth
from n2a_bids.lab.benchmark.worker import run_in_child


@dataclass(frozen=True, slots=True)
class BenchmarkPlan:
    """What is compared, and where it is written."""

    out_dir: Path
    methods: tuple[str, ...]
    conditions: tuple[str, ...] = ("aligned",)
    noise_levels: tuple[float, ...] = (0.4,)
    repetitions: tuple[int, ...] = (2,)
    n_seeds: int = 1
    crop: tuple[int, int, int] | None = None
    """Box of the brain that counts; all of it by default."""
    resume: bool = False
    settings: MethodSettings = field(default_factory=MethodSettings)


def run_cells(truths: Sequence[Truth], plan: BenchmarkPlan) -> int:
    """Run every method in every cell that is not in the table yet, then summarise.

    Returns
    -------
    exit_code : int
        0, or 1 if a method failed somewhere; the others' results stand.

    Raises
    ------
    ConfigError
        If the folder holds results and resuming was not asked for.
    """
    table = open_table(plan, "benchmark.tsv")
    by_name = {truth.name: truth for truth in truths}
    cells = plan_cells(by_name, plan.conditions, plan.noise_levels, plan.repetitions, plan.n_seeds)
    for index, cell in enumerate(cells):
        missing = [name for name in plan.methods if not table.has(cell_key(cell, name))]
        if not missing:
            continue
        sys.stderr.write(f"cell {index + 1} of {len(cells)}: {cell}\n")
        data = make_cell_data(cell, by_name[cell.truth], plan.crop, align_runs)
        for name in missing:
            _run_row(cell, name, data, plan, table)
        _draw_cell(cell, data, table, plan)
        _write_summary(table, plan.out_dir)
    _write_summary(table, plan.out_dir)
    return int(any(row["status"] != "ok" for row in table.rows))


def open_table(
    plan: BenchmarkPlan,
    name: str,
    *,
    columns: Sequence[str] = COLUMNS,
    key_columns: Sequence[str] = CELL_COLUMNS,
    shared: Mapping[str, object] | None = None,
) -> RowTable:
    """Open a table of results, new or to be resumed; `shared` holds for all of its rows.

    Raises
    ------
    ConfigError
        If it exists and ``plan.resume`` is not set, or holds rows of another box or recipe.
    """
    path = plan.out_dir / name
    settings = {"crop": plan.crop, "recipe": plan.settings.recipe, **(shared or {})}
    keep_settings(path, settings, resume=plan.resume)
    return RowTable(path, columns, key_columns)


def _run_row(cell: Cell, name: str, data: CellData, plan: BenchmarkPlan, table: RowTable) -> None:
    try:
        outcome = run_in_child(partial(run_method, name, data, plan.settings))
        values = measure(data, outcome)
        with whole_file(_slice_file(cell, name, plan)) as partial_file:
            np.save(partial_file, central_slice(outcome.image, data.repetitions.mask))
        note = f"{values['psnr_db']:.2f} dB in {outcome.seconds:.1f} s"
    except DenoisingError as error:
        values = {"status": f"failed: {error}"}
        note = values["status"]
    table.add(cell_key(cell, name) | values)
    sys.stderr.write(f"  {name}: {note}\n")


def _draw_cell(cell: Cell, data: CellData, table: RowTable, plan: BenchmarkPlan) -> None:
    """Draw the slices of a cell, those of earlier runs too; of the first noise draw only."""
    if cell.seed > 0:
        return
    mask = data.repetitions.mask
    slices: Mapping[str, np.ndarray] = {
        "truth": central_slice(data.truth, mask),
        "mean": central_slice(data.comparable.mean(axis=0), mask),
    }
    for name in dict.fromkeys(row["method"] for row in table.rows):
        file = _slice_file(cell, name, plan)
        if file.exists() and name != "mean":
            slices[name] = np.load(file)
    title = f"{cell.truth}, {cell.condition}, noise {cell.noise_level:g} SD, {cell.n_repetitions} repetitions"
    draw_slices(slices, title, plan.out_dir / "pictures" / f"{_label(cell)}.png")


def _slice_file(cell: Cell, name: str, plan: BenchmarkPlan) -> Path:
    return plan.out_dir / "slices" / _label(cell) / f"{name.replace(':', '+')}.npy"


def _label(cell: Cell) -> str:
    level = f"{cell.noise_level:g}".replace(".", "p")
    return f"{cell.truth}_{cell.condition}_sigma{level}_R{cell.n_repetitions}_seed{cell.seed}"


def _write_summary(table: RowTable, out_dir: Path) -> None:
    summary = summarise(table.rows)
    if not summary:
        return
    lines = ([entry[column] for column in SUMMARY_COLUMNS] for entry in summary)
    write_lines(out_dir / "summary.tsv", [SUMMARY_COLUMNS, *lines])
    judged = next((row["method"] for row in table.rows if row["method"].split(":")[0] == "auto"), "auto")
    write_whole(out_dir / "summary.md", format_summary(summary, check_targets(table.rows, judged)))
    draw_curves(summary, out_dir / "summary.png")
