"""Writes files whole or not at all, under a temporary name first; names of files without their extension."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}_")

_ABANDONED_S = 600.0

_LONGEST_END = 200
"""Bytes of a name that that of its temporary file ends with: names have 255 at most."""

_NO_SPACE = "No space left on the disk; free some, or choose another folder, and give the same command again"
_IS_FOLDER = "Expected a file or nothing, found a folder; move it away, and give the same command again"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Temporary name that becomes `path` when the block ends well, and is removed when it does not.

    The temporary file stands in the same folder (created where needed), starts with a dot and keeps the
    extension, so that a reader sees the old file or the whole new one, never a part.

    Raises
    ------
    OSError
        Where the disk is full or `path` is a folder, with the name of the file and what to do.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if error.strerror == _NO_SPACE or not (is_full or path.is_dir()):
            raise
        raise OSError(error.errno, _NO_SPACE if is_full else _IS_FOLDER, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Name beside a file or folder that no other has; it ends alike, and is no longer than names may be."""
    end = os.fsdecode(os.fsencode(path.name)[-_LONGEST_END:])
    return path.with_name(f".{uuid.uuid4().hex}_{end}")


def write_whole(path: Path, text: str) -> Path:
    """Write a text so that a reader never meets half of it: see `whole_file`.

    Parameters
    ----------
    text : str
        Written as UTF-8; what that cannot hold is written as its escape.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that a reader never meets half of the copy: see `whole_file`."""
    with copied_whole(source, target):
        pass


@contextmanager
def copied_whole(source: Path, target: Path) -> Iterator[None]:
    """Copy a file so that it appears when the block ends well, which writes the sidecar.

    The copy is made before the block: a disk that is full leaves no sidecar without its image.
    """
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)
        yield


def content_digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files of a folder; empty where there is nothing.

    A folder that was only copied keeps it; one with a changed file does not, whatever size and time say.
    """
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    files = sorted(entry for entry in path.rglob("*") if entry.is_file())
    parts = [f"{entry.relative_to(path).as_posix()} {content_digest(entry)}" for entry in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else ""


def remove_leftovers(folder: Path) -> None:
    """Delete what `whole_file` could not, because its process was killed.

    Parameters
    ----------
    folder : Path
        Looked through with all folders below. Temporary files that were written to lately stay: their
        writer may live, on another machine even.
    """
    now = time.time()
    for path in folder.rglob(".*"):
        # A living writer, whose file has just become whole, takes it away under our eyes.
        with suppress(FileNotFoundError):
            if _TEMPORARY.match(path.name) and now - path.stat().st_mtime > _ABANDONED_S:
                path.unlink()


def without_extension(path: Path) -> str:
    """Name of a NIfTI file without ``.nii`` or ``.nii.gz``."""
    return path.name.removesuffix(".gz").removesuffix(".nii")
