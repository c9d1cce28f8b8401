"""Fetch a brain template with the client of TemplateFlow, in a process of its own.

The client fills its home with the names of all templates when it is imported (2,540 files, half a second),
which the caller therefore sets: ``python -m n2a_bids.external.template_archive NAME``.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Protocol


class Archive(Protocol):
    """What is used of TemplateFlow's client."""

    def templates(self) -> list[str]:
        """Names of all templates."""

    def get(self, template: str, **entities: object) -> list[Path] | Path:
        """Paths of files, which are downloaded where they are not there."""


def fetch_template(name: str, archive: Archive) -> list[Path]:
    """Download the T1w image of a template and its brain mask, at 1 mm where there are several.

    Parameters
    ----------
    name : str
        Such as ``MNI152NLin2009cAsym``.
    archive : Archive
        TemplateFlow's client.

    Returns
    -------
    files : list of Path
        Image and mask.

    Raises
    ------
    LookupError
        If TemplateFlow has no such template, or not the two files; with names like it.
    """
    known = archive.templates()
    if name not in known:
        similar = difflib.get_close_matches(name, known, n=3)
        hint = f", but {', '.join(similar)}" if similar else f"; there are {', '.join(known)}"
        raise LookupError(f"TemplateFlow has no template {name}{hint}")
    files = []
    for what, labels in (("T1w image", {"suffix": "T1w", "desc": None}), ("brain mask", _MASK)):
        found = archive.get(name, resolution=1, extension=".nii.gz", **labels)
        # One file comes as a path, none as an empty list; some templates have one resolution without number.
        found = found or archive.get(name, resolution=None, extension=".nii.gz", **labels)
        if isinstance(found, list):
            raise LookupError(f"TemplateFlow has {len(found)} files for the {what} of {name}: one is needed")
        files.append(Path(found))
    return files


_MASK = {"suffix": "mask", "desc": "brain"}


def main(name: str) -> int:
    """Fetch, and say in one line what went wrong."""
    from templateflow import api

    try:
        fetch_template(name, api)
    except Exception as error:
        # Servers fail in many ways; the last line is what the caller shows.
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
