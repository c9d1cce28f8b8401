"""Tables that the code under test has written, read back."""

import csv
from pathlib import Path


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a TSV file, by column."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))
