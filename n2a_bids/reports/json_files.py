"""JSON objects that n2a wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from n2a_bids.json_objects import read_json_object
from n2a_bids.record import DenoisingRecord
from n2a_bids.typed_json import from_json


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    BIDSDataError
        If the file is not readable, or holds no object.
    """
    return read_json_object(path, expected="a JSON file written by n2a", remedy="run the participant again")


def read_denoising(path: Path) -> DenoisingRecord:
    """The record of a denoising.

    Raises
    ------
    BIDSDataError
        If the file is not readable, or holds anything else.
    """
    return from_json(DenoisingRecord, read_json(path), path)
