"""Checks before the work: folders that must not be written to, or cannot be."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from n2a_bids.errors import BIDSDataError


def check_output_dir(bids_dir: Path, output_dir: Path) -> None:
    """Refuse an output folder that would damage the input or cannot be written.

    Parameters
    ----------
    bids_dir : Path
        The input dataset.
    output_dir : Path
        May not exist yet; it is not created.

    Raises
    ------
    BIDSDataError
        If it is the input, inside it (but for ``derivatives/<name with n2a>``), a file,
        another raw dataset, or not writable.
    """
    source, target = Path(bids_dir).resolve(), Path(output_dir).resolve()
    if target == source:
        raise BIDSDataError(
            f"{output_dir}: expected an output folder apart from the input, found the input itself; "
            f"choose for example {source / 'derivatives' / 'n2a'}"
        )
    if source in target.parents:
        _check_inside(source, target)
    if target.exists() and not target.is_dir():
        raise BIDSDataError(f"{output_dir}: expected an output folder, found a file; choose another name")
    _check_no_raw_dataset(target)
    check_writable(output_dir)


def check_writable(folder: Path) -> None:
    """Refuse a folder in which, or above which where it does not exist yet, nothing can be written.

    Parameters
    ----------
    folder : Path
        It is not created.

    Raises
    ------
    BIDSDataError
        With the nearest folder that exists, and why it cannot be written.
    """
    target = Path(folder).resolve()
    existing = next(parent for parent in (target, *target.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise BIDSDataError(
            f"{folder}: expected an output folder that can be written, found {type(error).__name__} in "
            f"{existing}: {error.strerror}; correct its permissions, free space, or choose another folder"
        ) from error


def _check_inside(source: Path, target: Path) -> None:
    parts = target.relative_to(source).parts
    # BIDS: a dataset inside derivatives/ carries the name of the software that made it.
    if parts[0] != "derivatives" or len(parts) < 2 or "n2a" not in parts[1]:
        raise BIDSDataError(
            f"{target}: expected an output folder outside of the input or in its derivatives under a name "
            f"with 'n2a', found a folder inside {source}; choose for example {source / 'derivatives' / 'n2a'}"
        )


def _check_no_raw_dataset(target: Path) -> None:
    path = target / "dataset_description.json"
    if not path.is_file():
        return
    try:
        description = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return
    if isinstance(description, dict) and description.get("DatasetType", "raw") == "raw":
        raise BIDSDataError(
            f"{target}: expected a new folder or a derivative dataset, found a raw BIDS dataset "
            f"({path.name} has no DatasetType 'derivative'); choose another output folder"
        )
