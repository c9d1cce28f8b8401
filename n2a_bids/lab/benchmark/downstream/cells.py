"""``benchmark --downstream`` on T1w truths: every method, and plain means of more repetitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import numpy as np

from n2a_bids.errors import ConfigError
from n2a_bids.lab.benchmark.anat.alignment import align_runs
from n2a_bids.lab.benchmark.anat.cells import Cell, CellData, make_cell_data, plan_cells
from n2a_bids.lab.benchmark.anat.methods import run_method
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan, open_table
from n2a_bids.lab.benchmark.config import AnalysisName
from n2a_bids.lab.benchmark.downstream import registration, thickness, tissues
from n2a_bids.lab.benchmark.downstream.analyses import Analysis, Image
from n2a_bids.lab.benchmark.downstream.averages import LADDER, disjoint_groups, group_means
from n2a_bids.lab.benchmark.downstream.rows import (
    COLUMNS,
    KEY_COLUMNS,
    Job,
    Scene,
    check_sizes,
    fill_cell,
    jobs_of,
    write_summary,
)
from n2a_bids.lab.benchmark.table import cell_key
from n2a_bids.lab.benchmark.truths import Truth, crop_truth, template_truth
from n2a_bids.lab.benchmark.worker import run_in_child

MEASURES: Mapping[AnalysisName, tuple[str, ...]] = MappingProxyType(
    {
        "tissues": tissues.MEASURES,
        "thickness": thickness.MEASURES,
        "registration": registration.MEASURES,
    }
)
"""What each analysis tells."""


def run_downstream(truths: Sequence[Truth], plan: BenchmarkPlan, names: Sequence[AnalysisName]) -> int:
    """Analyse what every method makes of a pair, and plain means of 1 to 16 repetitions.

    Writes ``downstream.tsv`` (a row for each method and measure), ``downstream-summary.tsv`` (averaged over
    truths and draws, with the number of plain averages of the same error), ``downstream-brains.tsv`` (the
    same of each truth alone) and ``downstream.png``.

    Parameters
    ----------
    plan : BenchmarkPlan
        ``repetitions``: how many the methods get.
    names : sequence of str
        Analyses.

    Returns
    -------
    exit_code : int
        0, or 1 if a method failed somewhere; the others' results stand.

    Raises
    ------
    ConfigError
        If methods are to get more repetitions than are simulated, or of different contrast.
    """
    check_sizes(plan.repetitions)
    if "echoes" in plan.conditions:
        raise ConfigError(
            "--conditions echoes: --downstream counts plain averages of one contrast; leave echoes out"
        )
    table = open_table(plan, "downstream.tsv", columns=COLUMNS, key_columns=KEY_COLUMNS)
    by_name = {truth.name: truth for truth in truths}
    jobs = jobs_of(plan.methods, plan.repetitions)
    measures = [measure for name in names for measure in MEASURES[name]]
    for cell in plan_cells(by_name, plan.conditions, plan.noise_levels, LADDER[-1:], plan.n_seeds):
        make_scene = partial(_make_scene, cell, by_name[cell.truth], plan, names)
        fill_cell(table, cell_key(cell, ""), jobs, measures, make_scene)
        write_summary(table, plan.out_dir)
    return write_summary(table, plan.out_dir)


def _make_scene(cell: Cell, truth: Truth, plan: BenchmarkPlan, names: Sequence[AnalysisName]) -> Scene:
    data = make_cell_data(cell, truth, plan.crop, align_runs)
    return Scene(data.truth, make_analyses(names, truth, plan.crop), partial(_denoise, data, plan))


def make_analyses(
    names: Sequence[AnalysisName], truth: Truth, crop: Sequence[int] | None
) -> dict[str, Analysis]:
    """The analyses of one brain, in a box.

    Parameters
    ----------
    names : sequence of str
    truth : Truth
        Whole brain.
    crop : three ints, optional
        See `crop_truth`.
    """
    core = crop_truth(truth, crop)
    makers: dict[str, Callable[[], Analysis]] = {
        "tissues": partial(tissues.tissue_analysis, core.mask, core.voxel_size_mm),
        "thickness": partial(thickness.thickness_analysis, core.mask, core.voxel_size_mm),
        "registration": partial(registration.registration_analysis, truth, core, template_truth()),
    }
    return {name: makers[name]() for name in names}


def _denoise(data: CellData, plan: BenchmarkPlan, job: Job) -> list[Image]:
    name, size = job
    if name == "mean":
        return group_means(data.matched, size)
    parts = [_part(data, group) for group in disjoint_groups(len(data.gains), size)]
    return [run_in_child(partial(run_method, name, part, plan.settings)).image for part in parts]


def _part(data: CellData, group: slice) -> CellData:
    """Some of the repetitions, their gains taken out, so that all results have the unit of the truth."""
    matched = np.ascontiguousarray(data.matched[group][..., None])
    return replace(data, repetitions=replace(data.repetitions, data=matched), gains=np.ones(len(matched)))
