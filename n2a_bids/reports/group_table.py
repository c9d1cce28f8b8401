"""Tables of the group level: their text, and the meaning of their columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from n2a_bids.errors import BIDSDataError
from n2a_bids.reports.json_files import read_json
from n2a_bids.reports.measures import measures
from n2a_bids.reports.statistics import OUTLIER_Z
from n2a_bids.typed_json import JsonObject


def cell(value: object) -> str:
    """Text of a value in a BIDS table."""
    if value is None or value == "":
        return "n/a"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).split())


def as_tsv(rows: Sequence[Mapping[str, str]]) -> str:
    """Tab-separated table with a header."""
    stream = io.StringIO()
    options = {"delimiter": "\t", "lineterminator": "\n", "quoting": csv.QUOTE_NONE, "escapechar": "\\"}
    writer = csv.DictWriter(stream, list(rows[0]), **options)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def data_dictionary() -> dict[str, JsonObject]:
    """Meaning of every column of the group table."""
    columns: dict[str, JsonObject] = {
        "participant_id": {"Description": "Participant."},
        "unit": {"Description": "Group of repetitions that was denoised together: its entities and suffix."},
        "session_id": {"Description": "Session."},
        "strategy": {"Description": "Strategy that was asked for."},
        "recipe": {"Description": "Recipe that was asked for."},
        "chosen": {"Description": "Candidate that makes up the largest part of the output."},
        "mean_won": {
            "Description": "Whether the mean (plain, or weighted by noise) was kept: nothing beat it."
        },
        "n2a_version": {"Description": "Version that denoised."},
        "outdated": {
            "Description": "Whether this is a result of the past: a later run was to replace it and did not, "
            "or its source images are not all in the dataset any more. The report tells which."
        },
    }
    for measure in measures():
        columns[measure.name] = {"LongName": measure.title, "Description": measure.read}
        if measure.units:
            columns[measure.name]["Units"] = measure.units
    columns["outlier_measures"] = {
        "Description": f"Measures with a robust z-score beyond {OUTLIER_Z} in this group, comma-separated."
    }
    return columns


def remove_inherited_dictionary(path: Path) -> None:
    """Delete a data dictionary of ours that pybids takes for metadata of images."""
    try:
        is_ours = {"participant_id", "n2a_version"} <= read_json(path).keys()
    except BIDSDataError:
        return
    if is_ours:
        with suppress(OSError):
            path.unlink()
