"""Reads the records of all participants for the group page, and finds outliers."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from n2a_bids.contrasts import DENOISED_SUFFIXES
from n2a_bids.dataset.names import is_label
from n2a_bids.enumeration import enumerated
from n2a_bids.errors import BIDSDataError
from n2a_bids.record.candidate_names import MEANS, candidate_name
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.regions import RegionsRecord
from n2a_bids.reports.pages.paths import find_page, link
from n2a_bids.reports.records.measures import measures
from n2a_bids.reports.records.ratings import Rating, read_ratings
from n2a_bids.reports.records.staleness import LeftOut, Runs, read_runs, unfinished_units
from n2a_bids.reports.records.unit_record import UnitRecord
from n2a_bids.reports.records.units import find_records

OUTLIER_Z = 3.5
"""Usual limit of the robust z-score (Iglewicz and Hoaglin 1993)."""

FEWEST = 8
"""Below so many values nothing is called unusual."""

_MOST_NAMED = 30
"""Participants in one sentence."""

_SAME = 1e-6
"""Values that differ from the median by less of the usual value are the median: tables show six digits."""

_ZERO = 1e-12
"""What rounding leaves of a difference of numbers around 1."""

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
    """``dwi``, ``T1w`` or another one of `n2a_bids.contrasts`."""
    facts: Mapping[str, str | bool | None]
    """Columns that are words."""
    page: str
    """Link to the report that shows the unit."""
    values: tuple[float | None, ...]
    """Columns that are numbers, in the order of :func:`~n2a_bids.reports.records.measures.measures`."""
    run_uuid: str = ""
    """Of the run that denoised it."""
    regions: RegionsRecord | None = None
    """Noise and gain in the regions of an atlas, where one was asked for."""

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
    unfinished: tuple[str, ...] = ()
    """Labels of units of all others that a run set out to denoise and of which there is no record."""
    left_out: tuple[tuple[str, LeftOut], ...] = ()
    """Label of a participant, and an image of it that the last run which looked at it did not denoise."""
    outliers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label of a unit -> names of its unusual measures."""
    ratings: tuple[Rating, ...] = ()
    """Of these participants, by people."""
    broken_ratings: tuple[str, ...] = ()
    """One sentence for each file that is named like a rating and is none."""
    never_run: tuple[str, ...] = ()
    """Labels of participants of the dataset for which nothing was written, not even why not."""

    @property
    def told_missing(self) -> tuple[str, ...]:
        """A sentence about participants never run, and one about those whose run did not end well."""
        explained = {label for label, _ in self.left_out}
        without = [label for label in self.without_records if label not in explained]
        again = "(look at the reports, then run them again)"
        told = (
            (_with_prefix(self.never_run), "nothing in this folder (run the participant level for them)"),
            (_with_prefix(without), f"no denoising finished {again}"),
            (self.unfinished, f"denoising begun and not finished {again}"),
        )
        return tuple(f"{words}: {_named(labels)}" for labels, words in told if labels)

    @property
    def runs(self) -> dict[str, str]:
        """Label of each unit, and the run that made it."""
        return {row.label: row.run_uuid for row in self.rows}

    def of(self, suffix: str) -> list[Row]:
        """Rows of one kind of image."""
        return [row for row in self.rows if row.suffix == suffix]


def _with_prefix(labels: Sequence[str]) -> list[str]:
    return [f"sub-{label}" for label in labels]


def _named(labels: Sequence[str]) -> str:
    return enumerated(labels, _MOST_NAMED)


def list_participants(output_dir: Path) -> list[str]:
    """Labels of all participants with a folder in a derivative dataset, sorted."""
    with os.scandir(output_dir) as entries:
        labels = [entry.name.removeprefix("sub-") for entry in entries if entry.name.startswith("sub-")]
    # Other folders are not from n2a, and their names need not be text.
    return sorted(label for label in labels if is_label(label) and os.path.isdir(output_dir / f"sub-{label}"))


def read_group(output_dir: Path, participants: Sequence[str], ratings_dir: Path | None = None) -> Group:
    """Read the records of all participants and find what is unusual.

    Parameters
    ----------
    output_dir : path
        Derivative dataset.
    participants : sequence of str
        Labels without ``sub-``.
    ratings_dir : path, optional
        Where ratings lie; by default beside the reports, wherever those are.

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
    found = {label: rows for label, rows in zip(participants, results, strict=True) if isinstance(rows, list)}
    rows = tuple(row for own in found.values() for row in own)
    runs = {label: _runs(output_dir / f"sub-{label}") for label in participants}
    ratings, broken_ratings = read_ratings(_rating_folders(output_dir, participants, ratings_dir))
    return Group(
        rows,
        tuple(result for result in results if isinstance(result, str)),
        {
            label: link(find_page(output_dir, label, ""), output_dir)
            for label, own in found.items()
            if not own
        },
        tuple(
            name
            for label, own in found.items()
            for name in unfinished_units(runs[label], [row.label for row in own])
            if own
        ),
        tuple((label, item) for label in participants for item in runs[label].left_out),
        find_outliers(rows),
        tuple(one for one in ratings if one.participant in participants),
        tuple(broken_ratings),
    )


def _rating_folders(output_dir: Path, participants: Sequence[str], ratings_dir: Path | None) -> list[Path]:
    """The folder that was named, or all in which reports may lie."""
    if ratings_dir is not None:
        return [ratings_dir]
    own = [output_dir / f"sub-{label}" for label in participants]
    return [output_dir, *own, *(session for folder in own for session in sorted(folder.glob("ses-*")))]


def _runs(root: Path) -> Runs:
    """What the runs of a participant left; nothing where no list can be read."""
    with suppress(OSError):
        return read_runs(root)
    return Runs()


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
    names = (unit.participant, unit.label, unit.suffix)
    return Row(*names, facts, page, unit.measured(), record.run_uuid or "", unit.regions)


def find_outliers(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Unusual measures of each unit, each kind of image judged apart; units without any are not listed."""
    found: dict[str, tuple[str, ...]] = {}
    judged = [(column, measure) for column, measure in enumerate(measures()) if measure.outliers]
    groups = [[row for row in rows if row.suffix == suffix] for suffix in DENOISED_SUFFIXES]
    for group, (column, measure) in product(filter(None, groups), judged):
        scores = robust_z(measure_column(group, column), logarithmic=measure.scale == "log")
        for row in np.flatnonzero(np.abs(scores) > OUTLIER_Z):
            found[group[row].label] = (*found.get(group[row].label, ()), measure.name)
    return found


def measure_column(rows: Sequence[Row], column: int) -> np.ndarray:
    """One measure of all rows, NaN where it is missing."""
    values = (row.values[column] for row in rows)
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def robust_z(values: ArrayLike, *, logarithmic: bool = False) -> NDArray[np.float64]:
    """Distance from the median in robust SDs.

    Parameters
    ----------
    values : (N,) array_like
        NaN or infinite where there is no value.
    logarithmic : bool
        Take logarithms first, for positive numbers that vary by factors.

    Returns
    -------
    z : (N,) float array
        NaN where `values` is not finite (or not positive, with logarithms); zero everywhere when fewer than
        `FEWEST` values are there or all are equal, and for values that differ from the median by rounding
        only.

    Notes
    -----
    The SD is 1.4826 times the median absolute deviation, and 1.2533 times the mean absolute deviation where
    more than half of the values are equal, so that the former vanishes.

    Examples
    --------
    >>> bool(robust_z([1, 2, 1, 2, 1, 2, 1, 30])[-1] > OUTLIER_Z)
    True
    >>> bool(robust_z([0.3] * 20 + [0.1 + 0.2]).any())
    False
    """
    x = np.asarray(values, dtype=np.float64)
    if logarithmic:
        x = np.log(np.where(np.isfinite(x) & (x > 0), x, np.nan))
    is_known = np.isfinite(x)
    known = x[is_known]
    z = np.where(is_known, 0.0, np.nan)
    if known.size < FEWEST:
        return z
    # Between -1 and 1, where differences do not overflow.
    scale = float(np.abs(known).max()) or 1.0
    known = known / scale
    # A logarithm that differs by _SAME is a value that differs by this part of itself.
    same = _SAME / scale if logarithmic else max(_SAME * float(np.median(np.abs(known))), _ZERO / scale)
    deviation = known - np.median(known)
    deviation[np.abs(deviation) <= same] = 0.0
    spread = 1.4826 * np.median(np.abs(deviation)) or 1.2533 * np.mean(np.abs(deviation))
    if spread > 0:
        with np.errstate(over="ignore"):
            z[is_known] = deviation / spread
    return z
