"""A simulated site: one network is trained on its pairs, and judged on brains that were kept apart."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np

from n2a_bids.config import TrainConfig
from n2a_bids.lab.benchmark.anat.alignment import align_runs
from n2a_bids.lab.benchmark.anat.cells import Cell, CellData, make_cell_data
from n2a_bids.lab.benchmark.anat.methods import run_method
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan, open_table
from n2a_bids.lab.benchmark.table import CELL_COLUMNS, COLUMNS, RowTable, cell_key, measure
from n2a_bids.lab.benchmark.truths import Truth, crop_truth
from n2a_bids.lab.benchmark.worker import run_in_child
from n2a_bids.training.groups import AlignedGroup, split_subjects, write_groups
from n2a_bids.training.request import TrainRequest
from n2a_bids.training.session import run_train

_KEY = (*CELL_COLUMNS, "weights")
_COLUMNS = (*_KEY, *COLUMNS[len(CELL_COLUMNS) :])
_TRAINING = "training"


def run_site(truths: Sequence[Truth], plan: BenchmarkPlan, train: TrainConfig) -> int:
    """Train on two simulated runs of every brain but some, and compare with the shipped weights on these.

    Noise is that of the first condition and level. Writes ``site.tsv``: a row for each brain of the test,
    method and weights, and one with the seconds of the training.

    Parameters
    ----------
    truths : sequence of Truth
        Brains of the site, at least three.

    Returns
    -------
    exit_code : int
        0.

    Raises
    ------
    BIDSDataError
        If there are too few brains.
    DenoisingError
        If the trained network is not better than the shipped one.
    """
    table = open_table(plan, "site.tsv", columns=_COLUMNS, key_columns=_KEY)
    condition, level = plan.conditions[0], plan.noise_levels[0]
    cells = {truth.name: (Cell(truth.name, condition, level, 2, 0), truth) for truth in truths}
    groups = [_write_pair(*row, plan) for row in cells.values()]
    request = TrainRequest(
        out=plan.out_dir / "weights",
        checkpoint=plan.out_dir / "training.pt",
        groups=write_groups(groups, plan.out_dir / "groups.json"),
        train=train,
        random_seed=plan.settings.random_seed,
        device=plan.settings.device,
        omp_nthreads=plan.settings.n_threads,
    )
    everybody = Cell("all", condition, level, 2, 0)
    training_key = cell_key(everybody, _TRAINING) | {"weights": "trained"}
    if not table.has(training_key):
        start = time.perf_counter()
        run_train(request)
        table.add(training_key | {"seconds": time.perf_counter() - start, "status": "ok"})
    for name in split_subjects(groups, train, plan.settings.random_seed).test:
        _score(*cells[name], plan, request.out, table)
    return 0


def _simulate(cell: Cell, truth: Truth, plan: BenchmarkPlan) -> CellData:
    return make_cell_data(cell, truth, plan.crop, align_runs)


def _write_pair(cell: Cell, truth: Truth, plan: BenchmarkPlan) -> AlignedGroup:
    """Write two runs of one brain and its mask, as files of one subject."""
    folder = plan.out_dir / "site" / truth.name
    folder.mkdir(parents=True, exist_ok=True)
    data, affine = _simulate(cell, truth, plan), crop_truth(truth, plan.crop).affine

    def save(values: np.ndarray, name: str) -> Path:
        path = folder / f"{name}.nii.gz"
        nib.Nifti1Image(values, affine).to_filename(path)
        return path

    runs = [save(run[..., 0], f"run-{index}") for index, run in enumerate(data.repetitions.data, 1)]
    mask = save(data.repetitions.mask.astype(np.uint8), "mask")
    return AlignedGroup(truth.name, truth.name, tuple(runs), mask)


def _score(cell: Cell, truth: Truth, plan: BenchmarkPlan, weights_dir: Path, table: RowTable) -> None:
    """Rows of one brain of the test."""
    data = None
    for method in plan.methods:
        for weights, folder in (("shipped", plan.settings.weights_dir), ("trained", weights_dir)):
            key = cell_key(cell, method) | {"weights": weights}
            if table.has(key):
                continue
            data = data or _simulate(cell, truth, plan)
            settings = replace(plan.settings, weights_dir=folder)
            row = measure(data, run_in_child(partial(run_method, method, data, settings)))
            table.add(key | row)
            sys.stderr.write(f"{cell.truth} {method}, {weights} weights: {row['psnr_db']:.2f} dB\n")
