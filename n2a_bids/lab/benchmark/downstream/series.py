"""``n2a-tools benchmark --modality dwi --downstream``: diffusion maps of a pair, and of more repetitions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from n2a_bids.lab.benchmark.downstream import diffusion
from n2a_bids.lab.benchmark.downstream.analyses import Image
from n2a_bids.lab.benchmark.downstream.averages import LADDER, disjoint_groups, group_means
from n2a_bids.lab.benchmark.downstream.rows import Job, Scene, check_sizes, fill_cell, jobs_of, write_summary
from n2a_bids.lab.benchmark.dwi.methods import denoise_simulated
from n2a_bids.lab.benchmark.dwi.run import DiffusionPlan
from n2a_bids.lab.benchmark.dwi.simulated_series import Simulated, simulate
from n2a_bids.lab.benchmark.dwi.truths import Truth
from n2a_bids.lab.benchmark.strategies import MethodSettings
from n2a_bids.lab.benchmark.table import RowTable
from n2a_bids.lab.benchmark.worker import run_in_child


def run_series(
    truths: Sequence[Truth],
    world_axes: NDArray[np.float64],
    plan: DiffusionPlan,
    repetitions: Sequence[int],
    table: RowTable,
) -> int:
    """Fit what every method makes of a pair, and plain means of 1 to 16 repetitions.

    Parameters
    ----------
    truths : sequence of Truth
    world_axes : (3, 3) array
        Unit vectors of their array axes in the world, as columns.
    plan : DiffusionPlan
        Its conditions of the head do not count: repetitions are aligned.
    repetitions : sequence of int
        How many the methods get.
    table : RowTable
        With the columns of ``downstream.tsv``; the noise level is told as the SNR of the b0.

    Returns
    -------
    exit_code : int
        0, or 1 if a method failed somewhere; the others' results stand.

    Raises
    ------
    ConfigError
        If methods are to get more repetitions than are simulated.
    """
    check_sizes(repetitions)
    jobs = jobs_of(plan.methods, repetitions)
    for seed, scan, snr, truth in itertools.product(plan.seeds, plan.scans, plan.snrs, truths):
        cell = {"truth": truth.name, "condition": scan, "noise_level": f"SNR {snr:g}", "seed": seed}
        make_scene = partial(_make_scene, truth, world_axes, plan, scan, snr, seed)
        fill_cell(table, cell, jobs, diffusion.MEASURES, make_scene)
        write_summary(table, table.path.parent)
    return write_summary(table, table.path.parent)


def _make_scene(
    truth: Truth, world_axes: NDArray[np.float64], plan: DiffusionPlan, scan: str, snr: float, seed: int
) -> Scene:
    simulated = simulate(truth, "repeat", snr, seed, plan.peak_mm, scan, n_repetitions=LADDER[-1])
    analyses = {"diffusion": diffusion.diffusion_analysis(simulated.truth, world_axes)}
    settings = replace(plan.settings, random_seed=seed)
    return Scene(simulated.truth.signal, analyses, partial(_denoise, simulated, settings, snr))


def _denoise(simulated: Simulated, settings: MethodSettings, snr: float, job: Job) -> list[Image]:
    name, size = job
    data = simulated.repetitions.data
    if name == "mean":
        return group_means(data, size)
    parts = [_part(simulated, group) for group in disjoint_groups(len(data), size)]
    return [run_in_child(partial(denoise_simulated, name, part, settings, snr)).image for part in parts]


def _part(simulated: Simulated, group: slice) -> Simulated:
    """Some of the repetitions."""
    data = np.ascontiguousarray(simulated.repetitions.data[group])
    unphased = None if simulated.unphased is None else simulated.unphased[group]
    return replace(simulated, repetitions=replace(simulated.repetitions, data=data), unphased=unphased)
