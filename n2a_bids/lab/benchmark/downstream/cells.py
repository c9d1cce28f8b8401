"""``n2a-tools benchmark --downstream`` on T1w truths: every method, and plain means of more repetitions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from n2a_bids.errors import ConfigError, DenoisingError
from n2a_bids.io.files import write_whole
from n2a_bids.lab.benchmark.anat.alignment import align_runs
from n2a_bids.lab.benchmark.anat.cells import Cell, CellData, make_cell_data, plan_cells
from n2a_bids.lab.benchmark.anat.methods import run_method
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan, open_table
from n2a_bids.lab.benchmark.downstream.analyses import ANALYSES, Mask, Volume, VoxelSize, judge
from n2a_bids.lab.benchmark.downstream.averages import LADDER, disjoint_groups, group_means
from n2a_bids.lab.benchmark.downstream.summary import SUMMARY_COLUMNS, draw_worth, summarise
from n2a_bids.lab.benchmark.table import CELL_COLUMNS, RowTable, cell_key
from n2a_bids.lab.benchmark.truths import Truth, crop_truth
from n2a_bids.lab.benchmark.worker import run_in_child

KEY_COLUMNS = (*CELL_COLUMNS, "measure")
COLUMNS = (*KEY_COLUMNS, "error", "retest", "status")
_PLAIN = ("single", "mean")

Job = tuple[str, int]
"""Method and number of repetitions that it gets."""


def run_downstream(truths: Sequence[Truth], plan: BenchmarkPlan, analyses: Sequence[str]) -> int:
    """Analyse what every method makes of a pair, and plain means of 1 to 16 repetitions.

    Writes ``downstream.tsv`` (a row for each method and measure), ``downstream-summary.tsv`` (averaged over
    truths and draws, with the number of plain averages of the same error) and ``downstream.png``.

    Parameters
    ----------
    truths : sequence of Truth
    plan : BenchmarkPlan
        ``repetitions``: how many the methods get.
    analyses : sequence of str
        Names in `ANALYSES`.

    Returns
    -------
    exit_code : int
        0, or 1 if a method failed somewhere; the others' results stand.

    Raises
    ------
    ConfigError
        If methods are to get more repetitions than are simulated, or of different contrast.
    """
    if max(plan.repetitions) > LADDER[-1] // 2:
        raise ConfigError(
            f"--repetitions: expected at most {LADDER[-1] // 2} with --downstream, so that two independent "
            f"groups can be compared, found {max(plan.repetitions)}; give fewer"
        )
    if "echoes" in plan.conditions:
        raise ConfigError(
            "--conditions echoes: --downstream counts plain averages of one contrast; leave echoes out"
        )
    table = open_table(plan, "downstream.tsv", columns=COLUMNS, key_columns=KEY_COLUMNS)
    by_name = {truth.name: truth for truth in truths}
    for cell in plan_cells(by_name, plan.conditions, plan.noise_levels, LADDER[-1:], plan.n_seeds):
        _run_cell(cell, by_name[cell.truth], plan, analyses, table)
        write_summary(table, plan)
    write_summary(table, plan)
    return int(any(row["status"] != "ok" for row in table.rows))


def write_summary(table: RowTable, plan: BenchmarkPlan) -> None:
    """Write the averages over truths and draws, and the picture."""
    summary = summarise(table.rows)
    lines = ["\t".join(SUMMARY_COLUMNS), *("\t".join(entry.texts()) for entry in summary)]
    write_whole(plan.out_dir / "downstream-summary.tsv", "\n".join(lines) + "\n")
    if summary:
        draw_worth(summary, plan.out_dir / "downstream.png")


def jobs_of(plan: BenchmarkPlan) -> list[Job]:
    """Plain means of the ladder, then every method for each number of repetitions."""
    methods = [name for name in plan.methods if name not in _PLAIN]
    return [("mean", size) for size in LADDER] + [(name, n) for n in plan.repetitions for name in methods]


def _run_cell(
    cell: Cell, truth: Truth, plan: BenchmarkPlan, analyses: Sequence[str], table: RowTable
) -> None:
    def keys(job: Job) -> list[dict[str, object]]:
        named = cell_key(replace(cell, n_repetitions=job[1]), job[0])
        return [named | {"measure": name} for which in analyses for name in ANALYSES[which].measures]

    missing = [job for job in jobs_of(plan) if not all(map(table.has, keys(job)))]
    if not missing:
        return
    sys.stderr.write(f"{cell}\n")
    data = make_cell_data(cell, truth, plan.crop, align_runs)
    scene = data.repetitions.mask, crop_truth(truth, plan.crop).voxel_size_mm
    references = {name: ANALYSES[name].analyse(data.truth, *scene) for name in analyses}
    for job in missing:
        try:
            found = _judged(_denoise(job, data, plan), references, scene)
        except DenoisingError as error:
            for key in keys(job):
                table.add(key | {"status": f"failed: {error}"})
            sys.stderr.write(f"  {job[0]} of {job[1]}: failed: {error}\n")
            continue
        for key in keys(job):
            error, retest = found[str(key["measure"])]
            table.add(key | {"error": error, "retest": retest, "status": "ok"})
        told = ", ".join(f"{name} {error:.4f}" for name, (error, _) in found.items())
        sys.stderr.write(f"  {job[0]} of {job[1]}: {told}\n")


def _judged(
    images: Sequence[Volume], references: Mapping[str, object], scene: tuple[Mask, VoxelSize]
) -> dict[str, tuple[float, float | str]]:
    """Error and retest of every measure; no retest where there is one image."""
    found: dict[str, tuple[float, float | str]] = {}
    for name, reference in references.items():
        analysis = ANALYSES[name]
        judged = judge(analysis, [analysis.analyse(image, *scene) for image in images], reference)
        found |= {key: (value, judged.retest.get(key, "")) for key, value in judged.error.items()}
    return found


def _denoise(job: Job, data: CellData, plan: BenchmarkPlan) -> list[Volume]:
    """Results of one method on two groups that share no repetition, or on one where there are no two."""
    name, size = job
    if name == "mean":
        return group_means(data.matched, size)
    groups = disjoint_groups(len(data.gains), size)
    parts = [_part(data, group) for group in groups]
    return [run_in_child(partial(run_method, name, part, plan.settings)).image for part in parts]


def _part(data: CellData, group: slice) -> CellData:
    """Some of the repetitions, their gains taken out, so that all results have the unit of the truth."""
    matched = np.ascontiguousarray(data.matched[group][..., None])
    return replace(data, repetitions=replace(data.repetitions, data=matched), gains=np.ones(len(matched)))
