"""Writes down what speaks against the reference: `app.odd_references` then runs without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from n2a_bids.io.json import write_record
from n2a_bids.record.alignment import ODD_REFERENCE_FILE, OddReference


def note_odd_reference(folder: Path, reference: str, refused: Sequence[tuple[str, str]]) -> None:
    """Write an `OddReference` where two repetitions or more are left, which may fit each other.

    Parameters
    ----------
    folder : Path
        Working directory of the step, which fails afterwards.
    reference : str
        Name of its file.
    refused : sequence of (str, str)
        Name of each repetition that could not be aligned with it, and why.
    """
    if len(refused) < 2:
        return
    against = "; ".join(f"{name}: {reason}" for name, reason in refused)
    record = OddReference(
        reference, f"it fits none of the others, which were denoised without it ({against})"
    )
    write_record(record, folder / ODD_REFERENCE_FILE)


def note_spoiled_reference(folder: Path, reference: str, reason: str) -> None:
    """Write an `OddReference` of a repetition that fits, but makes the mean of all worse.

    Parameters
    ----------
    folder, reference
        As of `note_odd_reference`.
    reason : str
        Why it is left out.
    """
    write_record(OddReference(reference, reason), folder / ODD_REFERENCE_FILE)
