"""Which repetitions a step fails for: written by the step, read by who runs it again without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.json import read_typed, write_record
from n2a_bids.record.alignment import ODD_REPETITIONS_FILE, OddRepetitions


def note_odd_repetitions(folder: Path, reasons: Mapping[str, str]) -> None:
    """Write an `OddRepetitions`.

    Parameters
    ----------
    folder : Path
        Working directory of the step, which fails afterwards.
    reasons : mapping of str to str
        Why each is left out, by the name of its file: it makes the mean of all worse, or shows too little.
    """
    write_record(OddRepetitions(dict(reasons)), folder / ODD_REPETITIONS_FILE)


def read_odd_repetitions(folder: Path) -> Mapping[str, str]:
    """Why a step that failed in this folder wants repetitions left out, by file name; empty if it does not.

    Each run without them has fewer images, so that there is a last one.
    """
    path = folder / ODD_REPETITIONS_FILE
    return read_typed(OddRepetitions, path).reasons if path.is_file() else {}


def refuse_spoiled_reference(folder: Path, reference: Path, reason: str) -> NoReturn:
    """Stop for a reference that makes the mean worse: the others are aligned again, to the best of them.

    Parameters
    ----------
    folder : Path
        As of `note_odd_repetitions`.
    reference : Path
        Its file.
    reason : str
        Why it is left out.

    Raises
    ------
    BIDSDataError
        Names the reference.
    """
    note_odd_repetitions(folder, {reference.name: reason})
    raise BIDSDataError(
        f"{reference}: expected a reference as good as the others, but {reason}; leave it "
        "out (n2a: --bids-filter-file)"
    )


def note_odd_reference(folder: Path, reference: str, refused: Sequence[tuple[str, str]]) -> None:
    """Write an `OddRepetitions` where two repetitions or more are left, which may fit each other.

    Parameters
    ----------
    folder : Path
        As of `note_odd_repetitions`.
    reference : str
        Name of its file.
    refused : sequence of (str, str)
        Name of each repetition that could not be aligned with it, and why.
    """
    if len(refused) < 2:
        return
    against = "; ".join(f"{name}: {reason}" for name, reason in refused)
    reason = f"it fits none of the others, which were denoised without it ({against})"
    note_odd_repetitions(folder, {reference: reason})
