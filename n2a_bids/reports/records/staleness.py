"""Finds outdated (stale) results of earlier runs in the output: they are named, never deleted.

Each run leaves the list of what it set out to do in ``sub-<label>/log/<run_uuid>/units.json``, and each
record holds the run that wrote it. A result is outdated if a later run was to replace it and did not, or if
the last run found that its source images are not all there any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from n2a_bids.dataset.names import parse_name
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import write_whole
from n2a_bids.io.json import json_text, read_json
from n2a_bids.record.alignment import AlignmentRecord
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.typed_json import JsonObject

REPETITION_ENTITIES = ("run", "echo", "dir")
"""Entities that tell repetitions of one unit apart: figures of one repetition carry them."""
_RAW = "bids:raw:"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An image that a run did not denoise."""

    image: str
    """Path in the input dataset."""
    reason: str
    """Why, and what would denoise it, where something would."""
    is_error: bool = False
    """Whether it is broken, so that the participant counts as failed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """That a run set out to denoise a unit."""

    run: str
    images: frozenset[str]
    """Paths in the input dataset; empty where an earlier version has not written them down."""


@dataclass(frozen=True, slots=True)
class Runs:
    """What the runs of a participant set out to do."""

    order: tuple[str, ...] = ()
    """All runs that left a list, the earliest first."""
    last: Mapping[str, str] = field(default_factory=dict)
    """Label of a unit -> last run that was to denoise it."""
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    """The same, without units that are no more: a later run looked at their images and did otherwise."""
    without_sources: Collection[str] = ()
    """Labels of units whose source images the last of all runs did not find."""
    left_out: tuple[LeftOut, ...] = ()
    """Images that the last run which looked at them did not denoise."""


def write_attempt(
    folder: Path,
    bids_dir: Path,
    attempted: Collection[str],
    sources: Mapping[str, Collection[str]],
    left_out: Sequence[LeftOut] = (),
    looked_at: Collection[str] = (),
    images: Mapping[str, Collection[str]] | None = None,
) -> list[str]:
    """Write down what a run sets out to do, before it does it; nothing, where there is nothing to say.

    Parameters
    ----------
    folder : Path
        ``sub-<label>/log/<run_uuid>``.
    bids_dir : Path
        The input dataset.
    attempted : collection of str
        Labels of the units that the run denoises.
    sources : mapping of str to collection of str
        Label of each unit that has results already, and the BIDS URIs of its images.
    left_out : sequence of LeftOut
        Images that the run looked at and does not denoise.
    looked_at : collection of str
        Paths in the input dataset of all files that it looked at, whatever becomes of them.
    images : mapping of str to collection of str, optional
        Label of each unit that the run denoises, and the paths of its files.

    Returns
    -------
    without_sources : list of str
        Labels of units whose images are not all there any more.
    """
    gone = {label for label, uris in sources.items() if not all(_is_there(uri, bids_dir) for uri in uris)}
    without_sources = sorted(gone - set(attempted))
    if attempted or without_sources or left_out:
        runs = read_runs(folder.parents[1])
        earlier = {item.image for item in runs.left_out}.union(
            *(one.images for one in runs.attempts.values())
        )
        absent = {image for image in earlier if not _is_there(f"{_RAW}{image}", bids_dir)}
        content = {
            "units": sorted(attempted),
            "images": {label: sorted(paths) for label, paths in sorted((images or {}).items())},
            "without_sources": without_sources,
            "left_out": [asdict(item) for item in left_out],
            "looked_at": sorted(absent.union(looked_at)),
        }
        write_whole(folder / "units.json", json_text(content) + "\n")
    return without_sources


def read_runs(root: Path) -> Runs:
    """Read what `write_attempt` wrote for all runs of a participant.

    Parameters
    ----------
    root : Path
        ``sub-<label>`` of the derivative dataset.
    """
    lists: dict[str, JsonObject] = {}
    # Names of runs begin with date and time.
    for path in sorted((root / "log").glob("*/units.json")):
        # No later run repairs the list of an earlier one: a broken one must not spoil the report for ever.
        with suppress(BIDSDataError):
            lists[path.parent.name] = read_json(path)
    last = {label: run for run, content in lists.items() for label in _labels(content.get("units"))}
    latest = next(reversed(lists.values())) if lists else {}
    gone = _labels(latest.get("without_sources"))
    return Runs(tuple(lists), last, _last_attempts(lists), gone, _still_left_out(lists.values()))


def _last_attempts(lists: Mapping[str, JsonObject]) -> dict[str, Attempt]:
    """The last attempt at each unit that there still is, as far as the runs after it have looked."""
    found: dict[str, Attempt] = {}
    for run, content in lists.items():
        seen = _with_folders(_labels(content.get("looked_at")))
        found = {label: one for label, one in found.items() if one.images and not one.images & seen}
        images = content.get("images")
        for label in _labels(content.get("units")):
            own = images.get(label) if isinstance(images, dict) else None
            found[label] = Attempt(run, frozenset(_labels(own)))
    return found


def _still_left_out(lists: Iterable[JsonObject]) -> tuple[LeftOut, ...]:
    """What is left out after all runs: each has the last word on the images that it looked at."""
    found: list[LeftOut] = []
    for content in lists:
        looked_at = content.get("looked_at")
        # Without that list, it is one of an earlier version, and stands for all images.
        seen = None if looked_at is None else _with_folders(_labels(looked_at))
        found = [item for item in found if seen is not None and item.image not in seen]
        found += _left_out(content.get("left_out"))
    return tuple(sorted(found, key=lambda item: item.image))


def _with_folders(paths: Iterable[str]) -> set[str]:
    """Paths and the folders that they lie in: one that could not be opened was left out as a whole."""
    return {text for path in paths for text in (path, *map(str, PurePosixPath(path).parents))}


def _left_out(value: object) -> list[LeftOut]:
    items = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    return [
        LeftOut(str(item.get("image", "")), str(item.get("reason", "")), item.get("is_error") is True)
        for item in items
    ]


def _labels(value: object) -> list[str]:
    return [label for label in value if isinstance(label, str)] if isinstance(value, list) else []


def why_outdated(label: str, denoising: DenoisingRecord | None, runs: Runs) -> str:
    """Why the record of a unit is no longer the last word, in one sentence; empty if it is.

    Examples
    --------
    >>> runs = Runs(("run-a", "run-b"), {"sub-01_T1w": "run-b"})
    >>> why_outdated("sub-01_T1w", DenoisingRecord(run_uuid="run-b"), runs)
    ''
    >>> why_outdated("sub-01_T1w", DenoisingRecord(run_uuid="run-a"), runs)
    'this is a result of the run run-a: the run run-b has not replaced it'
    """
    if denoising is None:
        return ""
    own = denoising.run_uuid or ""
    this = f"this is a result of {f'the run {own}' if own else 'an earlier run'}"
    if label in runs.without_sources:
        return f"{this}, and its source images are not all in the dataset any more"
    last, later = runs.last.get(label), _later(own, runs)
    if last in later:
        return f"{this}: the run {last} has not replaced it"
    sources = {str(uri).removeprefix(_RAW) for uri in denoising.sources or ()}
    taken = {
        name: one
        for name, one in runs.attempts.items()
        if name != label and one.run in later and one.images & sources
    }
    if sources and sources <= {image for one in taken.values() for image in one.images}:
        run = max(one.run for one in taken.values())
        return f"{this}, and all of its images have gone into {', '.join(sorted(taken))} since (run {run})"
    return ""


def _later(run: str, runs: Runs) -> tuple[str, ...]:
    """Runs after one; all, where that has left no list."""
    return runs.order[runs.order.index(run) + 1 :] if run in runs.order else runs.order


def unfinished_units(runs: Runs, known: Collection[str]) -> list[str]:
    """Labels of the units that a run set out to denoise and of which there is nothing.

    Parameters
    ----------
    runs : Runs
        Of the participant.
    known : collection of str
        Labels of the units of which there is something, be it of an earlier run.
    """
    return [label for label in runs.attempts if label not in known]


def is_left_over(path: Path, alignment: AlignmentRecord) -> bool:
    """Whether a file belongs to a repetition that is no longer used.

    Parameters
    ----------
    path : Path
        File of a unit.
    alignment : AlignmentRecord
        Of that unit; from an empty one nothing is known.
    """
    own = _repetition(path)
    return bool(own and alignment.used) and not any(
        own <= _repetition(Path(row.file)) for row in alignment.used
    )


def _repetition(path: Path) -> set[tuple[str, str]]:
    return {pair for pair in parse_name(path)[0].items() if pair[0] in REPETITION_ENTITIES}


def _is_there(uri: str, bids_dir: Path) -> bool:
    """Whether an image is in the dataset, fetched or not; images of other datasets are trusted."""
    path = bids_dir / uri.removeprefix(_RAW)
    return not uri.startswith(_RAW) or path.is_symlink() or path.exists()
