"""The group level: one table and one page from the JSON records of all participants."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from n2a_bids import __version__
from n2a_bids.dataset.names import is_label
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.json import json_text
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.reports.methods.citation import write_whole
from n2a_bids.reports.pages.group_table import (
    OUTLIER_Z,
    as_tsv,
    cell,
    data_dictionary,
    remove_inherited_dictionary,
    robust_z,
)
from n2a_bids.reports.pages.paths import find_page, link
from n2a_bids.reports.pages.templates import environment, style
from n2a_bids.reports.records.measures import Measure, measures
from n2a_bids.reports.records.units import UnitRecord, find_records
from n2a_bids.viz.charts import MEANS, candidate_name
from n2a_bids.viz.distributions import Point, distribution

_READERS = 8
"""Threads that read: on a network file system a reader mostly waits."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the group level keeps of one unit."""

    participant: str
    """Label without ``sub-``."""
    label: str
    """Entities and suffix of the unit."""
    suffix: str
    """``T1w`` or ``dwi``."""
    facts: Mapping[str, str | bool | None]
    """Columns that are words."""
    page: str
    """Link to the report that shows the unit."""
    values: tuple[float | None, ...]
    """Columns that are numbers, in the order of :func:`~n2a_bids.reports.records.measures.measures`."""

    @property
    def output(self) -> str:
        """What was delivered."""
        is_mean = self.facts["mean_won"] or self.facts["chosen"] == "mean"
        name = str(self.facts["chosen"] or "")
        if is_mean:
            name = candidate_name(name) if name in MEANS else "plain mean"
        return f"{name} (outdated)" if self.facts["outdated"] else name


@dataclass(frozen=True, slots=True)
class Group:
    """All units of a derivative dataset."""

    rows: tuple[Row, ...] = ()
    unreadable: tuple[str, ...] = ()
    """One sentence for each participant whose records cannot be read."""
    without_records: Mapping[str, str] = field(default_factory=dict)
    """Label of each participant that left no record -> link to its report."""
    outliers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label of a unit -> names of its unusual measures."""

    def of(self, suffix: str) -> list[Row]:
        """Rows of one kind of image."""
        return [row for row in self.rows if row.suffix == suffix]


def list_participants(output_dir: Path) -> list[str]:
    """Labels of all participants with a folder in a derivative dataset, sorted."""
    with os.scandir(output_dir) as entries:
        labels = [entry.name.removeprefix("sub-") for entry in entries if entry.name.startswith("sub-")]
    # Other folders are not from n2a, and their names need not be text.
    return sorted(label for label in labels if is_label(label) and os.path.isdir(output_dir / f"sub-{label}"))


def read_group(output_dir: Path, participants: Sequence[str]) -> Group:
    """Read the records of all participants and find what is unusual.

    Parameters
    ----------
    output_dir : path
        Derivative dataset.
    participants : sequence of str
        Labels without ``sub-``.

    Returns
    -------
    group : Group
        Unreadable records leave their participant out, and are named.
    """

    def read(participant: str) -> list[Row] | str:
        try:
            return [_row(unit, output_dir) for unit in find_records(output_dir, participant)]
        except BIDSDataError as error:
            return str(error)
        except Exception as error:  # records are JSON, in which somebody may have put anything
            return (
                f"sub-{participant}: expected records as n2a writes them, found some that cannot be used "
                f"({type(error).__name__}: {error}); run the participant again"
            )

    with ThreadPoolExecutor(_READERS) as pool:
        results = list(pool.map(read, participants))
    rows = tuple(row for result in results if isinstance(result, list) for row in result)
    return Group(
        rows,
        tuple(result for result in results if isinstance(result, str)),
        {
            label: link(find_page(output_dir, label, ""), output_dir)
            for label, result in zip(participants, results, strict=True)
            if result == []
        },
        find_outliers(rows),
    )


def _row(unit: UnitRecord, output_dir: Path) -> Row:
    """The part of a unit that the group level needs."""
    record = unit.denoising or DenoisingRecord()
    facts = {
        "session_id": f"ses-{unit.session}" if unit.session else None,
        "strategy": record.strategy,
        "recipe": record.recipe,
        "chosen": record.chosen.largest_part if record.chosen.name else None,
        # Where only the mean was asked for, it has beaten nothing.
        "mean_won": record.chosen.mean_won and record.strategy != "mean",
        "n2a_version": record.n2a_version,
        "outdated": bool(unit.outdated),
    }
    page = link(find_page(output_dir, unit.participant, unit.session), output_dir)
    return Row(unit.participant, unit.label, unit.suffix, facts, page, unit.measured())


def find_outliers(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Unusual measures of each unit, T1w and DWI judged apart; units without any are not listed."""
    found: dict[str, list[str]] = {}
    for suffix in ("T1w", "dwi"):
        group = [row for row in rows if row.suffix == suffix]
        for number, measure in enumerate(measures()):
            if measure.outliers and group:
                scores = robust_z(_column(group, number), logarithmic=measure.scale == "log")
                for place in np.flatnonzero(np.abs(scores) > OUTLIER_Z):
                    found.setdefault(group[place].label, []).append(measure.name)
    return {label: tuple(names) for label, names in found.items()}


def _column(rows: Sequence[Row], number: int) -> np.ndarray:
    """One measure of all rows, NaN where it is missing."""
    values = (row.values[number] for row in rows)
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def write_group(output_dir: Path, group: Group) -> list[Path]:
    """Write ``group_<suffix>.tsv`` for each kind of image, their data dictionary, and ``group.html``.

    The dictionary is ``group_columns.json``: under the name of a table it would end in the suffix of images,
    and pybids would take every column for metadata of every image in the dataset. A dictionary that an
    earlier version left under such a name is deleted.

    Parameters
    ----------
    output_dir : path
        Derivative dataset.
    group : Group
        From :func:`read_group`.

    Returns
    -------
    files : list of paths
        What was written, each whole.
    """
    files = []
    for suffix in ("T1w", "dwi"):
        lines = [table_row(row, group.outliers) for row in group.of(suffix)]
        if lines:
            files.append(write_whole(output_dir / f"group_{suffix}.tsv", as_tsv(lines)))
        remove_inherited_dictionary(output_dir / f"group_{suffix}.json")
    dictionary = json_text(data_dictionary()) + "\n"
    files.append(write_whole(output_dir / "group_columns.json", dictionary))
    files.append(write_whole(output_dir / "group.html", render_group(group)))
    return files


def table_row(row: Row, outliers: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """One line of the group table; ``n/a`` where there is no value."""
    columns: dict[str, str | float | bool | None] = {
        "participant_id": f"sub-{row.participant}",
        "unit": row.label,
        **row.facts,
    }
    columns |= {measure.name: value for measure, value in zip(measures(), row.values, strict=True)}
    columns["outlier_measures"] = ",".join(outliers.get(row.label, ()))
    return {name: cell(value) for name, value in columns.items()}


def render_group(group: Group) -> str:
    """The page, as HTML."""
    kinds = []
    for suffix in ("T1w", "dwi"):
        rows = group.of(suffix)
        if rows:
            kinds.append({"suffix": suffix, "count": len(rows), "panels": _panels(rows, group.outliers)})
    page = environment().get_template("group.html")
    return page.render(
        version=__version__,
        style=style(),
        kinds=kinds,
        n_units=len(group.rows),
        n_participants=len({row.participant for row in group.rows}),
        n_mean_won=sum(bool(row.facts["mean_won"]) for row in group.rows),
        n_outliers=len(group.outliers),
        unreadable=group.unreadable,
        without_records=group.without_records,
        limit=OUTLIER_Z,
        table=_script_json(_page_table(group)),
    )


@dataclass(frozen=True, slots=True)
class Panel:
    """The distribution of one measure in the page."""

    measure: Measure
    svg: str
    unusual: tuple[Point, ...]


def _panels(rows: Sequence[Row], outliers: Mapping[str, Sequence[str]]) -> list[Panel]:
    """Distribution of every measure that somebody has."""
    panels = []
    for number, measure in enumerate(measures()):
        values = _column(rows, number)
        if not np.isfinite(values).any():
            continue
        points = [
            Point(value, row.label, row.page, measure.name in outliers.get(row.label, ()))
            for row, value in zip(rows, values.tolist(), strict=True)
        ]
        svg = distribution(points, title=measure.title, logarithmic=measure.scale == "log")
        panels.append(Panel(measure, svg, tuple(point for point in points if point.unusual)))
    return panels


def _page_table(group: Group) -> JsonObject:
    """Columns and rows of the table in the page, as small as they can be."""
    shown = [n for n in range(len(measures())) if any(row.values[n] is not None for row in group.rows)]
    lines = []
    for row in group.rows:
        values = [None if row.values[n] is None else float(f"{row.values[n]:.4g}") for n in shown]
        names = group.outliers.get(row.label, ())
        unusual = [place for place, n in enumerate(shown) if measures()[n].name in names]
        lines.append([row.label, row.page, row.output, values, unusual])
    return {"columns": [measures()[n].title for n in shown], "rows": lines}


def _script_json(content: object) -> str:
    """JSON that may stand inside a script element."""
    return (
        json.dumps(content, separators=(",", ":"), allow_nan=False)
        .replace("<", "\\u003c")
        .replace("&", "\\u0026")
    )
