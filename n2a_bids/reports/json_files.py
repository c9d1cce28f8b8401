"""JSON objects that n2a wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from n2a_bids.json_objects import read_json_object


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    BIDSDataError
        If the file is not readable, or holds no object.
    """
    return read_json_object(path, expected="a JSON file written by n2a", remedy="run the participant again")
