"""Downloads a template with the TemplateFlow client, in a child process.

The client fills its home with the names of all templates when it is imported (2,540 files, half a second),
which the caller therefore sets: ``python -m n2a_bids.external.template_archive NAME [atlas-LABEL ...]``.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

RESOLUTIONS = (1, None, 2)
"""In the order in which they are taken: about 1 mm where there are several; the names of some tell none."""


class Archive(Protocol):
    """What is used of TemplateFlow's client."""

    def templates(self) -> list[str]:
        """Names of all templates."""

    def get(self, template: str, **entities: object) -> list[Path] | Path:
        """Paths of files, which are downloaded where they are not there."""

    def ls(self, template: str, **entities: object) -> list[Path]:
        """Paths of files that the archive has, here or elsewhere."""


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
        found = _best_resolution(archive, name, RESOLUTIONS, **labels)
        if isinstance(found, list):
            raise LookupError(f"TemplateFlow has {len(found)} files for the {what} of {name}: one is needed")
        files.append(Path(found))
    return files


_MASK = {"suffix": "mask", "desc": "brain"}
_QUERIES = {"atlas": "atlas", "seg": "segmentation", "scale": "scale", "label": "label", "desc": "desc"}
"""Entity in the name of a file -> what the client calls it."""


def fetch_regions(name: str, entities: Mapping[str, str], archive: Archive) -> list[Path]:
    """Download a segmentation of a template, at 1 mm where there are several, and its look-up table.

    Parameters
    ----------
    name : str
        Such as ``MNI152NLin2009cAsym``.
    entities : mapping of str to str
        Short names and labels, such as ``{"atlas": "HOSPA", "desc": "th25"}``; what is not told is absent.

    Returns
    -------
    files : list of Path
        Segmentation and, where there is one, its table.

    Raises
    ------
    LookupError
        If there is no such segmentation: with those that there are.
    """
    asked = {query: entities.get(key) for key, query in _QUERIES.items()}
    told = entities.get("res")
    # The client knows resolutions as numbers; a label that is none finds nothing.
    resolutions = RESOLUTIONS if told is None else (int(told) if told.isdecimal() else told,)
    labels = _best_resolution(archive, name, resolutions, suffix="dseg", **asked)
    if isinstance(labels, list):
        known = sorted({path.name for path in archive.ls(name, suffix="dseg", extension=".nii.gz")})
        spelled = " ".join(f"{key}-{label}" for key, label in entities.items())
        raise LookupError(f"TemplateFlow has no segmentation {spelled} of {name}, but {', '.join(known)}")
    # Some tables are for all thresholds (desc) of an atlas.
    for query in (asked, asked | {"desc": None}):
        names = archive.get(name, suffix="dseg", extension=".tsv", **query)
        if names:
            return [Path(labels), *([names] if isinstance(names, Path) else names)]
    return [Path(labels)]


def _best_resolution(
    archive: Archive, name: str, resolutions: Sequence[int | str | None], **entities: object
) -> list[Path] | Path:
    """The first image that there is: one comes as a path, none as an empty list."""
    found: list[Path] | Path = []
    for resolution in resolutions:
        found = found or archive.get(name, resolution=resolution, extension=".nii.gz", **entities)
    return found


def main(name: str, told: Sequence[str] = ()) -> int:
    """Fetch, and say in one line what went wrong."""
    from templateflow import api

    try:
        fetch_template(name, api)
        if told:
            fetch_regions(name, dict(one.split("-", 1) for one in told), api)
    except Exception as error:
        # Servers fail in many ways; the last line is what the caller shows.
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
