"""``benchmark --downstream --pair``: test-retest of analyses on two real T1w runs.

Whatever is made of both runs holds the noise of both, so that nothing independent is left to compare it
with. Two things can be told: what each run gives when it is denoised alone (real noise, but no pair),
and what the pair gives when noise is added to it twice (a pair, but the noise that differs is drawn).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from n2a_bids.errors import DenoisingError
from n2a_bids.io.images import load, load_mask
from n2a_bids.lab.benchmark.anat.cells import CellData
from n2a_bids.lab.benchmark.anat.methods import run_method
from n2a_bids.lab.benchmark.anat.pair import load_pair
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan, open_table
from n2a_bids.lab.benchmark.config import AnalysisName
from n2a_bids.lab.benchmark.downstream.analyses import Analysis, Image
from n2a_bids.lab.benchmark.downstream.cells import MEASURES, make_analyses
from n2a_bids.lab.benchmark.truths import Truth
from n2a_bids.lab.benchmark.worker import run_in_child

ALONE, ADDED = "each run alone", "noise added to both"
KEY_COLUMNS = ("setting", "method", "measure")
COLUMNS = (*KEY_COLUMNS, "retest", "status")
_SEEDS = (1, 2)


def run_real_pair(
    files: Sequence[Path], mask_file: Path, plan: BenchmarkPlan, names: Sequence[AnalysisName]
) -> int:
    """Compare the analyses of two real runs, each denoised alone, and of the pair with noise added twice.

    Writes ``downstream-pair.tsv``. There is no truth, and so no error: a method that smooths too much agrees
    with itself.

    Parameters
    ----------
    files : sequence of Path
        Two runs on one grid.
    mask_file : Path
        Brain mask on that grid.
    plan : BenchmarkPlan
        Methods, crop and settings; ``mean`` is each run, or the pair, as it is.
    names : sequence of str
        Analyses.

    Returns
    -------
    exit_code : int
        0, or 1 if a method failed; the others' results stand.

    Raises
    ------
    BIDSDataError
        If the files do not lie on one grid, or are fewer than two.
    """
    data = load_pair(files[:2], mask_file, plan.crop)[0]
    whole, affine = load(files[0])
    analyses = make_analyses(names, Truth("pair", whole, load_mask(mask_file, files[0]), affine), plan.crop)
    table = open_table(plan, "downstream-pair.tsv", columns=COLUMNS, key_columns=KEY_COLUMNS)
    measures = [measure for name in names for measure in MEASURES[name]]
    settings: dict[str, Callable[[], list[CellData]]] = {
        ALONE: partial(_each_alone, data),
        ADDED: partial(_with_noise, data),
    }
    for setting, make in settings.items():
        for method in plan.methods:
            keys = [{"setting": setting, "method": method, "measure": name} for name in measures]
            if all(map(table.has, keys)):
                continue
            found = _retest(method, make(), analyses, plan)
            for key in keys:
                failed = isinstance(found, str)
                value = "" if failed else found[key["measure"]]
                table.add(key | {"retest": value, "status": found if failed else "ok"})
            sys.stderr.write(f"{setting}, {method}: {_words(found)}\n")
    return int(any(row["status"] != "ok" for row in table.rows))


def _retest(
    method: str, inputs: Sequence[CellData], analyses: Mapping[str, Analysis], plan: BenchmarkPlan
) -> dict[str, float] | str:
    """Differences between the analyses of two results, or why there are none."""
    try:
        images = [_denoise(method, data, plan) for data in inputs]
        found: dict[str, float] = {}
        for analysis in analyses.values():
            found |= analysis.differences(*[analysis.analyse(image) for image in images])
    except DenoisingError as error:
        return f"failed: {error}"
    return found


def _words(found: Mapping[str, float] | str) -> str:
    return (
        found if isinstance(found, str) else ", ".join(f"{name} {value:.4g}" for name, value in found.items())
    )


def _denoise(method: str, data: CellData, plan: BenchmarkPlan) -> Image:
    if method == "mean":
        return data.repetitions.data[..., 0].mean(axis=0)
    return run_in_child(partial(run_method, method, data, plan.settings)).image


def _each_alone(data: CellData) -> list[CellData]:
    """One run in each."""
    runs = data.repetitions.data
    lone = [replace(data.repetitions, data=runs[index : index + 1]) for index in (0, 1)]
    return [replace(data, repetitions=one, gains=np.ones(1)) for one in lone]


def _with_noise(data: CellData) -> list[CellData]:
    """The pair with Rician noise of its own level added to it, twice."""
    noisy = []
    for seed in _SEEDS:
        generator = np.random.default_rng(seed)
        runs = data.repetitions.data
        real, imaginary = (generator.standard_normal(runs.shape) * data.noise_sd[..., None] for _ in range(2))
        disturbed = np.hypot(runs + real, imaginary).astype(np.float32)
        level = (data.noise_sd * np.sqrt(2)).astype(np.float32)
        noisy.append(replace(data, repetitions=replace(data.repetitions, data=disturbed), noise_sd=level))
    return noisy
