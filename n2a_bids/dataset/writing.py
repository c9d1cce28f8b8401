"""Text files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name and move it into place.

    A reader, or a parallel process that writes the same file, never sees half of it.
    A file that already holds this text is left alone.

    Parameters
    ----------
    path : Path
        Its folder is created where it is missing.
    text : str
        Content, stored as UTF-8.

    Raises
    ------
    OSError
        If the folder cannot be written; nothing is left behind.
    """
    path = Path(path)
    content = text.encode()
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        # mkstemp makes files private; shared folders expect the rights that the umask gives.
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current
