"""JSON objects that n2a wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from n2a_bids.errors import BIDSDataError


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    BIDSDataError
        If the file is not readable, or holds no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BIDSDataError(
            f"{path}: expected a JSON file written by n2a, found one that cannot be read ({error}); "
            "run the participant again"
        ) from error
    if not isinstance(content, dict):
        found = type(content).__name__
        raise BIDSDataError(f"{path}: expected a JSON object, found {found}; run the participant again")
    return content
