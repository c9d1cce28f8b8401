"""Writes down which repetitions a step fails for: `app.odd_repetitions` then runs without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from n2a_bids.io.json import write_record
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
