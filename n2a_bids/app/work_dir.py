"""The folders of participants in the work directory, and what in them cannot be resumed."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from n2a_bids import __version__
from n2a_bids.app.messages import warn
from n2a_bids.config import Config
from n2a_bids.io.printable import printable


def top_name() -> str:
    """Name of the workflow above all participants: with the version, so that no other one resumes in it."""
    return re.sub(r"\W", "_", f"n2a_{__version__}")


def work_dir_of(label: str, config: Config) -> Path:
    """Intermediate files of a participant."""
    return config.work_dir / top_name() / re.sub(r"\W", "_", f"sub_{label}")


def forget_moved_steps(label: str, config: Config) -> None:
    """Delete the steps of a participant that were done while the work directory had another path.

    Their results name files there, which may be gone, or change under our eyes: a copy would read what its
    original writes. The path is kept beside them; links make no difference, for nipype resolves them.
    """
    folder = Path(os.path.realpath(work_dir_of(label, config)))
    note = folder.with_name(f"{folder.name}.path")
    earlier = ""
    with suppress(FileNotFoundError):
        earlier = note.read_text(encoding="utf-8", errors="surrogateescape")
    if earlier != str(folder) and folder.is_dir():
        was = printable(earlier) or "another folder, or before this was noted"
        warn(f"sub-{label}: its steps were done when {folder} was {was}; they are done again")
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(str(folder), encoding="utf-8", errors="surrogateescape")
