"""Index of the dataset by pybids: participants and images that it holds."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path

from n2a_bids.config import SelectionConfig
from n2a_bids.contrasts import LOOKED_FOR, MODALITIES, selected_modalities
from n2a_bids.dataset.read.micrographs import list_micrographs
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.json import read_json_object
from n2a_bids.io.printable import printable
from n2a_bids.record.typed_json import JsonObject

_DATATYPES = {modality: modality if modality in ("dwi", "micr") else "anat" for modality in MODALITIES}
_CACHE_NAME = re.compile(r"n2a_[0-9a-f]{16}")
_DATABASE = "layout_index.sqlite"
"""File of pybids: a folder without it is none of our indexes, whatever its name."""


def read_description(bids_dir: Path) -> JsonObject:
    """Content of ``dataset_description.json``.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.

    Returns
    -------
    description : dict
        The JSON object.

    Raises
    ------
    BIDSDataError
        If the folder or the file is missing, unreadable, or no JSON object.
    """
    if not bids_dir.is_dir():
        found = "a file" if bids_dir.exists() else "nothing"
        raise BIDSDataError(
            f"{bids_dir}: expected the folder of a BIDS dataset, found {found}; check the path, and in a "
            "container that the folder is bound into it"
        )
    path = bids_dir / "dataset_description.json"
    if not path.exists() and not path.is_symlink():
        raise BIDSDataError(
            f"{path}: expected the description that makes this folder a BIDS dataset, found no such file; "
            'give the top folder of the dataset, or write {"Name": "...", "BIDSVersion": "1.10.0"} there'
        )
    return read_json_object(
        path,
        expected="a readable JSON file with Name and BIDSVersion",
        remedy="correct the file or its permissions",
    )


def select_participants(bids_dir: Path, selection: SelectionConfig) -> tuple[str, ...]:
    """Labels of the participants to look at, without ``sub-``: also those that BIDS does not allow.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset; only its top level is listed.
    selection : SelectionConfig
        Participants asked for and excluded.

    Returns
    -------
    labels : tuple of str
        Sorted.

    Raises
    ------
    BIDSDataError
        If the folder cannot be listed, has no participant, lacks one that is asked for, or all are excluded.
    """
    try:
        with os.scandir(bids_dir) as entries:
            names = [entry.name for entry in entries if entry.name.startswith("sub-")]
    except OSError as error:
        raise BIDSDataError(
            f"{bids_dir}: expected a folder that can be listed, found {type(error).__name__}: "
            f"{error.strerror}; correct its permissions"
        ) from error
    # A link to itself is no folder, and no reason to stop.
    there = {name[4:] for name in names if os.path.isdir(bids_dir / name)}
    if not there:
        expected = "expected folders named sub-<label>, found none; give the top folder of the BIDS dataset"
        raise BIDSDataError(f"{bids_dir}: {expected}")
    selected = [label.removeprefix("sub-") for label in selection.participants]
    unknown = sorted(set(selected) - there)
    if unknown:
        raise BIDSDataError(_unknown_message(bids_dir, unknown, sorted(there)))
    excluded = {label.removeprefix("sub-") for label in selection.exclude_participants}
    kept = tuple(sorted(set(selected or there) - excluded))
    if not kept:
        found = "--exclude-participant-label leaves out all of those selected; correct it"
        raise BIDSDataError(f"{bids_dir}: expected a participant that is left, found that {found}")
    return kept


def _unknown_message(bids_dir: Path, unknown: Sequence[str], there: Sequence[str]) -> str:
    labels = {label.lower(): label for label in there}
    close = (labels[one] for name in unknown for one in get_close_matches(name.lower(), labels, n=2))
    near = [f"sub-{label}" for label in dict.fromkeys(close)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"the first there is sub-{there[0]}"
    return (
        f"{bids_dir}: expected participant{'s' if len(unknown) > 1 else ''} "
        f"{', '.join(f'sub-{name}' for name in unknown)}, found no such folder among the {len(there)} there; "
        f"correct --participant-label, with spaces between labels ({hint})"
    )


def list_images(bids_dir: Path, participants: Sequence[str], selection: SelectionConfig) -> list[Path]:
    """Images of the selected participants, sessions and modalities.

    Only the folders ``sub-<label>[/ses-<label>]/{anat,dwi}`` of these participants are
    walked: never derivatives, sourcedata, code or other participants.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.
    participants : sequence of str
        Labels that exist, without ``sub-``.
    selection : SelectionConfig
        Sessions, modalities and where the index is cached.

    Returns
    -------
    images : list of Path
        Anatomical images (with those that are only named as left out) and DWI, sorted. Names that BIDS does
        not allow, and folders named like images, are among them.
    """
    folders = list(image_folders(bids_dir, participants, selection))
    micrographs = list_micrographs(folder for folder in folders if folder.name == "micr")
    folders = [folder for folder in folders if folder.name != "micr"]
    modalities = [one for one in selected_modalities(selection.modalities) if one != "micr"]
    if not modalities:
        return micrographs
    suffixes = [suffix for modality in modalities for suffix in LOOKED_FOR[modality]]
    keep = _kept_paths(participants, selection, suffixes)
    # pybids stops at a folder that it cannot look into.
    closed = [folder.relative_to(bids_dir).as_posix() for folder in closed_folders(bids_dir, participants)]
    if closed:
        keep = rf"(?!/(?:{'|'.join(map(re.escape, closed))})(?:/|\Z)){keep}"
    layout = _open_layout(bids_dir, keep, selection.database_dir, folders)
    # One query by suffix: a query by extension as well would make pybids join its tags again.
    found = {Path(name) for name in layout.get(suffix=suffixes, return_type="filename")}
    found = {path for path in found if path.name.endswith((".nii", ".nii.gz"))}
    return sorted(found.union(micrographs, *(_named_like_images(folder, suffixes) for folder in folders)))


def closed_folders(bids_dir: Path, participants: Sequence[str]) -> list[Path]:
    """Folders of participants, of their sessions and of images whose permissions keep us out."""
    found = []
    for label in participants:
        subject = bids_dir / f"sub-{label}"
        for parent in (subject, *sorted(subject.glob("ses-*"))):
            folders = (parent, *(parent / datatype for datatype in sorted(set(_DATATYPES.values()))))
            found += [
                folder
                for folder in folders
                if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK, effective_ids=True)
            ]
    return found


def _named_like_images(folder: Path, suffixes: Sequence[str]) -> set[Path]:
    """What is named like an image, whatever it is: names that pybids cannot or does not take, and folders."""
    # Copies that a browser numbered, extensions given twice, and capitals are meant as images, too.
    pattern = re.compile(
        rf"sub-.*_(?:{'|'.join(suffixes)})(?:[^A-Za-z0-9_].*)?\.nii(?:\.gz)?\s*", re.DOTALL | re.IGNORECASE
    )
    # A folder that cannot be listed is named where no image of its participant is found.
    with suppress(OSError), os.scandir(folder) as entries:
        return {folder / entry.name for entry in entries if pattern.fullmatch(entry.name)}
    return set()


def wipe_indexes(database_dir: Path) -> None:
    """Delete the cached indexes in a folder, and nothing else that lies there.

    Parameters
    ----------
    database_dir : Path
        What ``--bids-database-dir`` names; it need not exist.
    """
    for cache in Path(database_dir).glob("n2a_*"):
        if _CACHE_NAME.fullmatch(cache.name) and (cache / _DATABASE).is_file():
            shutil.rmtree(cache, ignore_errors=True)


def _kept_paths(participants: Sequence[str], selection: SelectionConfig, suffixes: Sequence[str]) -> str:
    """Regular expression of the paths (from ``/``, the root) that are indexed."""
    subjects = "|".join(map(re.escape, participants))
    # Names that pybids or its database choke on, such as "run-²", are found without it.
    sessions = "|".join(re.escape(name.removeprefix("ses-")) for name in selection.sessions)
    file_name = rf"sub-[A-Za-z0-9+_-]*_(?:{'|'.join(suffixes)})\.nii(?:\.gz)?"
    folder = rf"(?:/(?:{'|'.join(_datatypes(selection))})(?:/{file_name})?)?"
    places = [rf"/ses-(?:{sessions or '[A-Za-z0-9+]+'}){folder}", *([] if sessions else [folder])]
    return rf"/sub-(?:{subjects})(?:{'|'.join(places)})?"


def image_folders(bids_dir: Path, participants: Sequence[str], selection: SelectionConfig) -> Iterable[Path]:
    """Folders such as ``anat`` of what is selected; one outside of sessions is of none of those asked for."""
    datatypes = _datatypes(selection)
    sessions = {f"ses-{label.removeprefix('ses-')}" for label in selection.sessions}
    for label in participants:
        subject = bids_dir / f"sub-{label}"
        for parent in (subject, *sorted(subject.glob("ses-*"))):
            if not selection.sessions or parent.name in sessions:
                yield from (folder for name in datatypes if os.path.isdir(folder := parent / name))


def _datatypes(selection: SelectionConfig) -> list[str]:
    return sorted({_DATATYPES[modality] for modality in selected_modalities(selection.modalities)})


def _open_layout(bids_dir: Path, keep: str, database_dir: Path | None, folders: Iterable[Path]):
    # pybids takes seconds to import: commands that read no dataset do without it.
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    def index() -> BIDSLayout:
        # Metadata are read later, one image at a time: pybids stops the whole run at one broken sidecar.
        indexer = BIDSLayoutIndexer(
            validate=False, index_metadata=False, ignore=[re.compile(rf"^(?!{keep}\Z)")]
        )
        # Settings of pybids that somebody left in the dataset would be read, and may be broken.
        indexer.config_filename = ".n2a-reads-no-settings-of-pybids"
        try:
            return BIDSLayout(bids_dir, validate=False, derivatives=False, indexer=indexer)
        except Exception as error:  # sqlite, SQLAlchemy and pybids each raise their own
            raise BIDSDataError(
                f"{printable(bids_dir)}: expected a dataset that pybids can index, found "
                f"{type(error).__name__}: {printable(error)}; correct the names it speaks of"
            ) from error

    if database_dir is None:
        return index()
    cache = Path(database_dir) / f"n2a_{_fingerprint(bids_dir, keep, folders)}"
    if not cache.is_dir():
        _save_index(index(), cache)
    try:
        return BIDSLayout(bids_dir, validate=False, database_path=cache)
    except Exception as error:  # sqlite, SQLAlchemy and pybids each raise their own
        raise BIDSDataError(
            f"{cache}: expected a cached index of {bids_dir}, found a damaged one ({type(error).__name__}); "
            "delete this folder, it is made again"
        ) from error


def _fingerprint(bids_dir: Path, keep: str, folders: Iterable[Path]) -> str:
    """Name of a cached index: it changes with selection, pybids, files, and the path as it was given."""
    times = (f"{folder}:{folder.stat().st_mtime_ns}" for folder in folders)
    state = [version("pybids"), str(bids_dir), keep, *times]
    return hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]


def _save_index(layout, cache: Path) -> None:
    """Write the index whole: parallel processes may make the same one."""
    unfinished = None
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=cache.parent, prefix=f".{cache.name}."))
        layout.save(unfinished, replace_connection=False)
        _share_like(cache.parent, unfinished)
        unfinished.replace(cache)
    except OSError as error:
        if not cache.is_dir():
            raise BIDSDataError(
                f"{cache.parent}: expected a folder for the index that can be written, found "
                f"{type(error).__name__}: {error.strerror}; correct --bids-database-dir"
            ) from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)


def _share_like(parent: Path, folder: Path) -> None:
    """Give an index the permissions of the folder it goes to: temporary folders are for their owner alone.

    Others may read it where they may read that folder, and its group may renew it; but anyone may write to it
    never, not even in ``/tmp``.
    """
    mode = stat.S_IMODE(parent.stat().st_mode) & ~(stat.S_IWOTH | stat.S_ISVTX)
    for path in folder.rglob("*"):
        path.chmod(mode if path.is_dir() else mode & 0o666)
    folder.chmod(mode)
