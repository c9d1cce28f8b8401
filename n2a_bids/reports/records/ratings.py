"""Collects the ratings (JSON) that people saved in viewer pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.json import listed, read_json_object
from n2a_bids.record.typed_json import JsonObject

PREFERENCES: Mapping[str, str] = MappingProxyType(
    {"denoised": "better", "equal": "as good", "before": "worse", "unsure": "cannot tell"}
)
"""What a rater may say of the denoised image, compared with that before."""
ARTIFACTS: Mapping[str, str] = MappingProxyType(
    {
        "noise-left": "much noise is left",
        "over-smoothed": "detail is smoothed away",
        "structure-in-residual": "anatomy shows in the residual",
        "new-structure": "structure that no repetition shows",
        "misaligned": "repetitions are misaligned (double edges)",
        "motion": "motion within a repetition (ripples)",
        "mask": "the brain mask is wrong",
        "other": "something else (please say)",
    }
)
"""Names in the file, and their words in the page."""
_PATTERN = "*_rating*.json"
_LOWEST, _HIGHEST = 1.0, 4.0
_LARGEST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Rating:
    """What one person said of one denoised image; the fields are those of MRIQC's ratings, and some more."""

    subject: str
    """Label of the unit, such as ``sub-01_T1w``."""
    rating: float
    """1 (exclude) to 4 (excellent)."""
    artifacts: tuple[str, ...]
    confidence: float | None
    """0 (doubtful) to 4 (confident)."""
    comments: str
    preferred: str
    """One of `PREFERENCES`, or empty."""
    rater: str
    time_sec: float | None
    date: str
    run_uuid: str
    """Of the run whose result was rated."""
    file: str

    @property
    def participant(self) -> str:
        """Label without ``sub-``."""
        return self.subject.partition("_")[0].removeprefix("sub-")


def read_ratings(folders: Sequence[Path]) -> tuple[list[Rating], list[str]]:
    """Read all ratings in some folders.

    Parameters
    ----------
    folders : sequence of Path
        Folders below these are not looked into; those that do not exist are passed over.

    Returns
    -------
    ratings : list of Rating
        By unit, rater and date. The same file under two names counts once.
    problems : list of str
        One sentence for each file that is no rating.
    """
    ratings: dict[tuple[object, ...], Rating] = {}
    problems = []
    for path in _files(folders):
        try:
            rating = _rating(path)
        except BIDSDataError as error:
            problems.append(str(error))
            continue
        ratings.setdefault((rating.subject, rating.rater, rating.date or path.name), rating)
    return sorted(ratings.values(), key=lambda one: (one.subject, one.rater, one.date)), problems


def _files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in dict.fromkeys(folders):
        if folder.is_dir():
            yield from sorted(path for path in folder.glob(_PATTERN) if not path.name.startswith("."))


def _rating(path: Path) -> Rating:
    """One file, saved by our viewer or in the way of MRIQC, which writes numbers as text.

    Raises
    ------
    BIDSDataError
        If it is no rating.
    """
    remedy = "save it again in the viewer, or take it out of the folder"
    expected = "a rating as the viewer saves it"
    if path.is_file() and path.stat().st_size > _LARGEST_BYTES:
        raise BIDSDataError(f"{path}: expected {expected}, found {path.stat().st_size} bytes; {remedy}")
    content = read_json_object(path, expected=expected, remedy=remedy)
    subject, rating = content.get("subject"), _number(content, "rating")
    if not isinstance(subject, str) or not subject.startswith("sub-"):
        raise BIDSDataError(f"{path}: expected a subject such as sub-01_T1w, found {subject!r:.60}; {remedy}")
    if rating is None or not _LOWEST <= rating <= _HIGHEST:
        found = f"{content.get('rating')!r:.60}"
        raise BIDSDataError(
            f"{path}: expected a rating of {_LOWEST:g} to {_HIGHEST:g}, found {found}; {remedy}"
        )
    return Rating(
        subject=subject,
        rating=rating,
        artifacts=tuple(str(one) for one in listed(content.get("artifacts", []))),
        confidence=_number(content, "confidence"),
        time_sec=_number(content, "time_sec"),
        file=path.name,
        **{name: _text(content, name) for name in ("comments", "preferred", "rater", "date", "run_uuid")},
    )


def _number(content: JsonObject, name: str) -> float | None:
    """A finite number, also one written as text; None where there is none."""
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(content: JsonObject, name: str) -> str:
    value = content.get(name)
    return value.strip() if isinstance(value, str) else ""
