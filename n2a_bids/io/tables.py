"""Writes BIDS tables (TSV): cells as BIDS spells them, and the text of a whole table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence


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
