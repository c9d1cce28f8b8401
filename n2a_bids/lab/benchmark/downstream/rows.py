"""Rows of ``--downstream``: every job of a cell denoised, analysed and judged, failures named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from n2a_bids.errors import ConfigError, DenoisingError
from n2a_bids.lab.benchmark.downstream.analyses import Analysis, Image, score
from n2a_bids.lab.benchmark.downstream.averages import LADDER
from n2a_bids.lab.benchmark.downstream.summary import (
    BRAIN_COLUMNS,
    SUMMARY_COLUMNS,
    draw_worth,
    summarise,
    summarise_brains,
)
from n2a_bids.lab.benchmark.table import CELL_COLUMNS, RowTable, write_lines
from n2a_bids.record.typed_json import JsonObject

KEY_COLUMNS = (*CELL_COLUMNS, "measure")
COLUMNS = (*KEY_COLUMNS, "error", "retest", "status")
_PLAIN = ("single", "mean", "noisy")

Job = tuple[str, int]
"""Method and number of repetitions that it gets."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Simulated repetitions of one truth, and how they are analysed."""

    truth: Image
    analyses: Mapping[str, Analysis]
    denoise: Callable[[Job], list[Image]]
    """Results on two groups that share no repetition, or on one where there are no two."""


def check_sizes(repetitions: Sequence[int]) -> None:
    """Raise ConfigError where methods are to get more repetitions than two groups can have."""
    if max(repetitions) > LADDER[-1] // 2:
        raise ConfigError(
            f"--repetitions: expected at most {LADDER[-1] // 2} with --downstream, so that two independent "
            f"groups can be compared, found {max(repetitions)}; give fewer"
        )


def jobs_of(methods: Sequence[str], repetitions: Sequence[int]) -> list[Job]:
    """Plain means of the ladder, then every method for each number of repetitions."""
    named = [name for name in methods if name not in _PLAIN]
    return [("mean", size) for size in LADDER] + [(name, size) for size in repetitions for name in named]


def fill_cell(
    table: RowTable,
    cell: Mapping[str, object],
    jobs: Sequence[Job],
    measures: Sequence[str],
    make_scene: Callable[[], Scene],
) -> None:
    """Add the rows of one cell that are not in the table yet.

    Parameters
    ----------
    cell : mapping
        Columns that name the cell.
    measures : sequence of str
        Of all analyses together.
    make_scene : callable
        Called where a row is missing.
    """

    def keys(job: Job) -> list[JsonObject]:
        named = {**cell, "method": job[0], "n_repetitions": job[1]}
        return [{**named, "measure": name} for name in measures]

    missing = [job for job in jobs if not all(map(table.has, keys(job)))]
    if not missing:
        return
    sys.stderr.write(", ".join(f"{name} {value}" for name, value in cell.items()) + "\n")
    scene = make_scene()
    references = {name: analysis.analyse(scene.truth) for name, analysis in scene.analyses.items()}
    for job in missing:
        try:
            found = _scored(scene, job, references)
        except DenoisingError as error:
            for key in keys(job):
                table.add(key | {"status": f"failed: {error}"})
            sys.stderr.write(f"  {job[0]} of {job[1]}: failed: {error}\n")
            continue
        for key in keys(job):
            error, retest = found[str(key["measure"])]
            table.add(key | {"error": error, "retest": retest, "status": "ok"})
        told = ", ".join(f"{name} {error:.4g}" for name, (error, _) in found.items())
        sys.stderr.write(f"  {job[0]} of {job[1]}: {told}\n")


def _scored(scene: Scene, job: Job, references: Mapping[str, object]) -> dict[str, tuple[float, float | str]]:
    """Error and retest of every measure; no retest where there is one image."""
    images = scene.denoise(job)
    found: dict[str, tuple[float, float | str]] = {}
    for name, analysis in scene.analyses.items():
        scored = score(analysis, [analysis.analyse(image) for image in images], references[name])
        found |= {key: (value, scored.retest.get(key, "")) for key, value in scored.error.items()}
    return found


def write_summary(table: RowTable, out_dir: Path) -> int:
    """Write the averages over truths and draws, those of each truth, and the picture.

    Returns
    -------
    exit_code : int
        1 if a method failed somewhere.
    """
    summary = summarise(table.rows)
    write_lines(out_dir / "downstream-summary.tsv", [SUMMARY_COLUMNS, *(one.texts() for one in summary)])
    brains = summarise_brains(table.rows)
    lines = [BRAIN_COLUMNS, *([truth, *one.texts()] for truth, found in brains.items() for one in found)]
    write_lines(out_dir / "downstream-brains.tsv", lines)
    if summary:
        draw_worth(summary, out_dir / "downstream.png")
    return int(any(row["status"] != "ok" for row in table.rows))
