"""Which weights a run may load, told apart by their content and without reading them as tensors."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

PACKAGED = Path(__file__).resolve().parent / "data" / "weights"
"""Weights that come with the package."""


def weights_checksums(folder: Path | None = None) -> dict[str, str]:
    """SHA-256 of every weights file that a strategy may load.

    All of them rather than those of one strategy: which these are is known to the strategies, and asking
    them means to load torch into the process that nipype forks from.

    Parameters
    ----------
    folder : Path or None
        Where the user's weights are; those of the package stand in for names that it does not hold.

    Returns
    -------
    checksums : dict of str to str
        By file name, in the order of the names.
    """
    files = {path.name: path for path in PACKAGED.glob("*.safetensors")}
    files |= {path.name: path for path in (folder.glob("*.safetensors") if folder else ())}
    # What is no file is left to the denoiser, which says what is wrong with it.
    there = {name: path for name, path in sorted(files.items()) if path.is_file()}
    return {name: _sha256(path, path.stat().st_mtime_ns) for name, path in there.items()}


@cache
def _sha256(path: Path, modified_ns: int) -> str:
    """Read once for all units of a run, as long as the file is not written again."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
