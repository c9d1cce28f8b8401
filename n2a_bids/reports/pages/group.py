"""Level group: writes the group page and table from records of all participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from n2a_bids import __version__
from n2a_bids.contrasts import DENOISED_SUFFIXES
from n2a_bids.io.files import write_whole
from n2a_bids.io.json import json_text
from n2a_bids.io.tables import as_tsv, cell
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.reports.pages.group_records import OUTLIER_Z, Group, Row, measure_column
from n2a_bids.reports.pages.group_table import (
    data_dictionary,
    left_out_rows,
    rating_rows,
    region_dictionary,
    region_rows,
    remove_inherited_dictionary,
)
from n2a_bids.reports.records.measures import Measure, measures
from n2a_bids.reports.records.staleness import LeftOut
from n2a_bids.reports.templates import environment, script_json, style
from n2a_bids.viz.distributions import Point, distribution


def write_group(output_dir: Path, group: Group) -> list[Path]:
    """Write ``group_<suffix>.tsv`` for each kind of image, regions, what was left out, dictionary and page.

    The dictionary is ``group_columns.json``: under the name of a table it would end in the suffix of images,
    and pybids would take every column for metadata of every image in the dataset. A dictionary that an
    earlier version left under such a name is deleted, and so are tables of an earlier call that have no line
    any more.

    Parameters
    ----------
    output_dir : path
        Derivative dataset.
    group : Group
        From :func:`~n2a_bids.reports.pages.group_records.read_group`.

    Returns
    -------
    files : list of paths
        What was written, each whole.
    """
    tables = {
        suffix: [table_row(row, group.outliers) for row in group.of(suffix)] for suffix in DENOISED_SUFFIXES
    }
    tables |= {f"regions_{suffix}": region_rows(group.of(suffix)) for suffix in DENOISED_SUFFIXES}
    tables |= {"left_out": left_out_rows(group.left_out), "ratings": rating_rows(group.ratings, group.runs)}
    files = []
    for name, lines in tables.items():
        path = output_dir / f"group_{name}.tsv"
        if lines:
            files.append(write_whole(path, as_tsv(lines)))
        else:
            path.unlink(missing_ok=True)
    for suffix in DENOISED_SUFFIXES:
        remove_inherited_dictionary(output_dir / f"group_{suffix}.json")
    dictionaries = {"group_columns.json": data_dictionary()}
    if any(row.regions for row in group.rows):
        dictionaries["group_regions_columns.json"] = region_dictionary()
    else:
        (output_dir / "group_regions_columns.json").unlink(missing_ok=True)
    for name, columns in dictionaries.items():
        files.append(write_whole(output_dir / name, json_text(columns) + "\n"))
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
    for suffix in DENOISED_SUFFIXES:
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
        unfinished=group.unfinished,
        never_run=group.never_run,
        left_out=_left_out_by_participant(group),
        ratings=rating_rows(group.ratings, group.runs),
        broken_ratings=group.broken_ratings,
        pages={row.label: row.page for row in group.rows},
        limit=OUTLIER_Z,
        table=script_json(_page_table(group)),
    )


def _left_out_by_participant(group: Group) -> dict[str, list[LeftOut]]:
    found: dict[str, list[LeftOut]] = {}
    for label, item in group.left_out:
        found.setdefault(label, []).append(item)
    return found


@dataclass(frozen=True, slots=True)
class Panel:
    """The distribution of one measure in the page."""

    measure: Measure
    svg: str
    unusual: tuple[Point, ...]


def _panels(rows: Sequence[Row], outliers: Mapping[str, Sequence[str]]) -> list[Panel]:
    """Distribution of every measure that somebody has."""
    panels = []
    for column, measure in enumerate(measures()):
        values = measure_column(rows, column)
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
        unusual = [column for column, n in enumerate(shown) if measures()[n].name in names]
        lines.append([row.label, row.page, row.output, values, unusual])
    return {"columns": [measures()[n].title for n in shown], "rows": lines}
