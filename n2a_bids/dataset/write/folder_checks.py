"""Refuses output folders that must not or cannot be written to, before the work."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from n2a_bids.config import Config
from n2a_bids.dataset.read.layout import read_description
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.io.json import listed


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
        another raw dataset, a derivative dataset of another program, or not writable.
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
    _check_dataset_there(target)
    check_writable(output_dir)


def check_raw_like_dir(config: Config) -> None:
    """Refuse a folder of ``--emit-raw-like`` in which something would be overwritten.

    Parameters
    ----------
    config : Config
        Its folders; nothing is created.

    Raises
    ------
    ConfigError
        If the folder is, holds or lies in that of the input, of the output or of intermediate files, if
        anything but an earlier dataset of this kind is in it, or if it cannot be written.
    """
    target = config.outputs.raw_like_dir
    if target is None:
        return
    folders = {"input": config.bids_dir, "output": config.output_dir, "work": config.work_dir}
    for word, other in folders.items():
        if _overlap(target.resolve(), other.resolve()):
            raise ConfigError(
                f"--emit-raw-like {target}: expected a folder of its own, found one that overlaps with the "
                f"{word} directory {other}; choose another"
            )
    try:
        check_writable(target)
        there = read_description(target) if (target / "dataset_description.json").exists() else {}
    except BIDSDataError as error:
        raise ConfigError(f"--emit-raw-like {error}") from error
    is_ours = "n2a" in generators(there) and there.get("DatasetType") == "raw"
    if target.exists() and not is_ours and (there or not _is_empty(target)):
        raise ConfigError(
            f"--emit-raw-like {target}: expected a new or empty folder, or one that this option has filled "
            "before, found other files in it; choose another"
        )


def _overlap(first: Path, second: Path) -> bool:
    return first.is_relative_to(second) or second.is_relative_to(first)


def _is_empty(folder: Path) -> bool:
    """Nothing to be seen in it: a new DataLad dataset holds hidden files."""
    return folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir())


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


def _check_dataset_there(target: Path) -> None:
    """Refuse to take over a dataset that n2a has not made."""
    path = target / "dataset_description.json"
    if not path.exists():
        return
    description = read_description(target)
    if description.get("DatasetType", "raw") == "raw":
        raise BIDSDataError(
            f"{target}: expected a new folder or a derivative dataset, found a raw BIDS dataset "
            f"({path.name} has no DatasetType 'derivative'); choose another output folder"
        )
    names = generators(description)
    if "n2a" not in names:
        raise BIDSDataError(
            f"{path}: expected a new output folder or one of n2a, found a dataset generated by "
            f"{', '.join(names) or 'something that it does not name'}, whose description would be replaced; "
            "choose another output folder"
        )


def generators(description: Mapping[str, object]) -> list[str]:
    """Names of the programs that a dataset says it was made by.

    Examples
    --------
    >>> generators({"GeneratedBy": [{"Name": "fMRIPrep", "Version": "25.1"}]})
    ['fMRIPrep']
    """
    items = listed(description.get("GeneratedBy"))
    return [str(item["Name"]) for item in items if isinstance(item, dict) and item.get("Name")]
