"""Writes the group TSV table and its data dictionary; columns by ``data/measures.yml``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.json import read_json
from n2a_bids.io.tables import cell
from n2a_bids.record.regions import EXPLAINED
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.reports.pages.group_records import OUTLIER_Z, Row
from n2a_bids.reports.records.measures import measures
from n2a_bids.reports.records.ratings import Rating
from n2a_bids.reports.records.staleness import LeftOut


def left_out_rows(left_out: Iterable[tuple[str, LeftOut]]) -> list[dict[str, str]]:
    """Lines of the table of images that were not denoised: participant, image and reason."""
    return [
        {"participant_id": f"sub-{label}", "image": cell(item.image), "reason": cell(item.reason)}
        for label, item in left_out
    ]


def region_rows(rows: Iterable[Row]) -> list[dict[str, str]]:
    """Lines of the table of regions: one for each unit and region, of series also for each shell."""
    return [
        {
            "participant_id": f"sub-{row.participant}",
            "unit": row.label,
            "outdated": cell(row.facts["outdated"]),
            "atlas": cell(row.regions.atlas),
            **{name: cell(getattr(region, name)) for name in _region_columns(row.suffix)},
        }
        for row in rows
        if row.regions is not None
        for region in row.regions.regions
    ]


def _region_columns(suffix: str) -> list[str]:
    return [name for name in EXPLAINED if name != "shell" or suffix == "dwi"]


def region_dictionary() -> dict[str, JsonObject]:
    """Meaning of every column of the tables of regions; some names mean something else in other tables."""
    words = {name: _FACTS[name] for name in ("participant_id", "unit", "outdated")}
    words |= {"atlas": "Atlas, as it was asked for.", **EXPLAINED}
    return {name: {"Description": text} for name, text in words.items()}


def rating_rows(ratings: Iterable[Rating], runs: Mapping[str, str]) -> list[dict[str, str]]:
    """Lines of the table of ratings.

    Parameters
    ----------
    ratings : iterable of Rating
        Of any units.
    runs : mapping of str to str
        Label of each unit with results, and the run that made them.
    """
    rows: list[JsonObject] = [
        {
            "participant_id": f"sub-{one.participant}",
            "unit": one.subject,
            "rater": one.rater,
            "rating": one.rating,
            "preferred": one.preferred,
            "artifacts": ",".join(one.artifacts),
            "confidence": one.confidence,
            "comments": one.comments,
            "time_sec": one.time_sec,
            "date": one.date,
            "rated_result": rated_result(one, runs),
            "file": one.file,
        }
        for one in ratings
    ]
    return [{name: cell(value) for name, value in row.items()} for row in rows]


def rated_result(rating: Rating, runs: Mapping[str, str]) -> str:
    """Whether the rated result is the one that is there: ``current``, ``replaced`` or ``unknown``."""
    if rating.subject not in runs or not rating.run_uuid or not runs[rating.subject]:
        return "unknown"
    return "current" if rating.run_uuid == runs[rating.subject] else "replaced"


_FACTS = {
    "participant_id": "Participant.",
    "unit": "Group of repetitions that was denoised together: its entities and suffix.",
    "session_id": "Session.",
    "strategy": "Strategy that was asked for.",
    "recipe": "Recipe that was asked for.",
    "chosen": "Candidate that makes up the largest part of the output.",
    "mean_won": "Whether the mean (plain, or weighted by noise) was kept: nothing beat it.",
    "n2a_version": "Version that denoised.",
    "outdated": "Whether this is a result of the past: a later run was to replace it and did not, or its "
    "source images are not all in the dataset any more. The report tells which.",
}
"""Columns that are words."""
_OTHER_TABLES = {
    "rater": "Who rated.",
    "rating": "Quality of the denoised image: 1 (exclude) to 4 (excellent).",
    "preferred": "The better image: denoised, equal, before or unsure.",
    "artifacts": "What the rater found wrong, comma-separated.",
    "confidence": "How sure the rater was: 0 (doubtful) to 4 (confident).",
    "comments": "Remarks of the rater.",
    "time_sec": "Seconds from opening the page to saving.",
    "date": "When the rating was saved.",
    "rated_result": "Whether the rated result is still there (current), was replaced, or is unknown.",
    "file": "File of the rating.",
    "image": "Image that the last run did not denoise, as a path in its dataset.",
    "reason": "Why it was not denoised, and which option would, where one would.",
}
"""Columns of the tables of ratings and of images left out."""


def data_dictionary() -> dict[str, JsonObject]:
    """Meaning of every column of the group tables."""
    columns: dict[str, JsonObject] = {name: {"Description": text} for name, text in _FACTS.items()}
    for measure in measures():
        columns[measure.name] = {"LongName": measure.title, "Description": measure.read}
        if measure.units:
            columns[measure.name]["Units"] = measure.units
    columns["outlier_measures"] = {
        "Description": f"Measures with a robust z-score beyond {OUTLIER_Z} in this group, comma-separated."
    }
    return columns | {name: {"Description": text} for name, text in _OTHER_TABLES.items()}


def remove_inherited_dictionary(path: Path) -> None:
    """Delete a data dictionary of ours that pybids takes for metadata of images."""
    try:
        is_ours = {"participant_id", "n2a_version"} <= read_json(path).keys()
    except BIDSDataError:
        return
    if is_ours:
        with suppress(OSError):
            path.unlink()
