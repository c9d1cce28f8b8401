"""``benchmark --pair --unseen``: every method denoises the first run alone, the second run scores it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.normalization import match_scales
from n2a_bids.errors import BIDSDataError, DenoisingError
from n2a_bids.io.files import whole_file
from n2a_bids.lab.benchmark.anat.cells import CellData
from n2a_bids.lab.benchmark.anat.methods import run_method
from n2a_bids.lab.benchmark.anat.pair import load_runs
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan, open_table
from n2a_bids.lab.benchmark.pictures import central_slice, draw_residuals
from n2a_bids.lab.benchmark.table import write_lines
from n2a_bids.lab.benchmark.unseen import SCORE_COLUMNS, Pair, Scorer, score_row, spatial_detail
from n2a_bids.lab.benchmark.worker import run_in_child

COLUMNS = ("method", *SCORE_COLUMNS, "chosen", "status")
_NAMES = {"mean": "first run"}
"""The mean of one run is the run as it is."""


def run_unseen(files: Sequence[Path], mask_file: Path, plan: BenchmarkPlan) -> int:
    """Denoise the first of two real runs by every method, and score the results by the second.

    Methods get the first run as it was acquired; those that take a noise level are told the one that the pair
    shows. Writes ``unseen.tsv``, ``leads.tsv`` (squared error of each method against each other, block by
    block) and ``unseen.png`` (the middle of the brain, and what was taken away).

    Parameters
    ----------
    files : sequence of Path
        Two runs on one grid: that of the first, which must not have been interpolated.
    mask_file : Path
        Brain mask on that grid.
    plan : BenchmarkPlan
        Methods, crop and settings; ``mean`` is the first run as it is.

    Returns
    -------
    exit_code : int
        0, or 1 if a method failed; the others' results stand.

    Raises
    ------
    BIDSDataError
        If the files do not lie on one grid, or are fewer than two.
    """
    data, pair = load_unseen(files, mask_file, plan.crop)
    scorer = Scorer(pair, spatial_detail(pair))
    table = open_table(plan, "unseen.tsv", columns=COLUMNS, key_columns=("method",))
    for name in plan.methods:
        if not table.has({"method": name}):
            table.add({"method": name} | _score_method(name, data, scorer, plan))
            sys.stderr.write(f"{name}: {table.rows[-1]['gain_db']} dB\n")
    finished = [row["method"] for row in table.rows if row["status"] == "ok"]
    kept = {name: np.load(_kept_file(name, plan)) for name in finished}
    _write_leads({name: one["differences"] for name, one in kept.items()}, scorer, plan.out_dir)
    slices = {_NAMES.get(name, name): one["slice"] for name, one in kept.items()}
    draw_residuals(slices, _NAMES["mean"], plan.out_dir / "unseen.png")
    return int(len(finished) < len(table.rows))


def load_unseen(files: Sequence[Path], mask_file: Path, crop: Sequence[int] | None) -> tuple[CellData, Pair]:
    """Load the first run as methods get it, and the pair that scores them.

    The second run is given the mean and the SD of the first in the brain, after light smoothing (as the app
    matches runs): one scale for all methods. A scale for each would forgive one that flattens contrast.

    Raises
    ------
    BIDSDataError
        If the files do not lie on one grid, or are fewer than two.
    """
    stages = load_runs(files[:2], mask_file, crop)
    first, second = (stage.data for stage in stages)
    mask = stages[0].mask
    own, other = match_scales(np.stack([first, second]), mask)
    pair = Pair(first[..., None], own.invert(other.apply(second))[..., None], mask)
    variance, error = Scorer(pair, spatial_detail(pair)).noise_variance
    if variance < 3 * error:
        raise BIDSDataError(
            f"{files[0]}: expected noise that {files[1]} does not share, found a variance of "
            f"{variance:.4g} ± {error:.2g}; give two aligned runs, the first as it was acquired"
        )
    noise_sd = np.full(mask.shape, np.sqrt(variance), np.float32)
    return CellData(stages[0].repetitions(first[None]), first, np.ones(1), noise_sd), pair


def _score_method(name: str, data: CellData, scorer: Scorer, plan: BenchmarkPlan) -> Mapping[str, object]:
    try:
        outcome = run_in_child(partial(run_method, name, data, plan.settings))
    except DenoisingError as error:
        return {"status": f"failed: {error}"}
    differences = scorer.differences(outcome.image[..., None])
    with whole_file(_kept_file(name, plan)) as partial_file, partial_file.open("wb") as stream:
        middle = central_slice(outcome.image, data.repetitions.mask)
        np.savez(stream, differences=differences, slice=middle)
    return {
        **score_row(scorer, differences),
        "chosen": outcome.metrics.get("chosen", {}).get("description", ""),
        "status": "ok",
    }


def _write_leads(kept: Mapping[str, NDArray[np.float64]], scorer: Scorer, out_dir: Path) -> None:
    """Squared error of every method less than that of every other: above 0 the first is better."""
    lines: list[tuple[object, ...]] = [("method", "other", "lead", "lead_error")]
    lines += [
        (name, other, *scorer.lead(kept[name], kept[other]))
        for name in kept
        for other in kept
        if other != name
    ]
    write_lines(out_dir / "leads.tsv", lines)


def _kept_file(name: str, plan: BenchmarkPlan) -> Path:
    return plan.out_dir / "kept" / f"{name.replace(':', '+')}.npz"
