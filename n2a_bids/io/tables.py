"""Writes BIDS tables (TSV), with cells as BIDS spells them, and reads tables of numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.errors import BIDSDataError


def cell(value: object) -> str:
    """Text of a value in a BIDS table.

    Examples
    --------
    >>> cell(None), cell(True), cell(0.25)
    ('n/a', 'true', '0.25')
    """
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


def read_numbers(path: Path) -> NDArray[np.float64]:
    """Numbers of a text file, parted by spaces, in rows of equal length.

    Raises
    ------
    BIDSDataError
        If the file cannot be read or holds anything else.
    """
    if path.exists() and not path.is_file():
        # A pipe would be waited for.
        kind = "folder" if path.is_dir() else "pipe or device"
        raise BIDSDataError(f"{path}: expected numbers separated by spaces, found a {kind}; restore it")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "," in text or ";" in text:
            raise BIDSDataError(
                f"{path}: expected numbers with decimal points, separated by spaces, found commas; replace "
                "them"
            )
        rows = [[float(word) for word in line.split()] for line in text.splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise BIDSDataError(
            f"{path}: expected numbers separated by spaces, found {type(error).__name__}: {error}; correct "
            "or fetch the file"
        ) from error
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        found = f"rows of {sorted(lengths)} values" if rows else "an empty file"
        raise BIDSDataError(f"{path}: expected rows of equal length, found {found}; restore the table")
    return np.array(rows)
