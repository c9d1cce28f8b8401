"""JSON objects that n2a wrote."""

from __future__ import annotations

from pathlib import Path

from n2a_bids.io.json import read_json_object
from n2a_bids.record.typed_json import JsonObject


def read_json(path: Path) -> JsonObject:
    """A JSON object.

    Raises
    ------
    BIDSDataError
        If the file is not readable, or holds no object.
    """
    return read_json_object(path, expected="a JSON file written by n2a", remedy="run the participant again")
