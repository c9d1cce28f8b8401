"""Finds EPI images in ``fmap`` folders and the diffusion series they are meant for (``IntendedFor``)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from n2a_bids.dataset.names import parse_name
from n2a_bids.dataset.read.image_checks import header_problem
from n2a_bids.dataset.read.metadata import SidecarReader
from n2a_bids.dataset.units import Excluded, ImageFile
from n2a_bids.enumeration import enumerated
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.json import listed

_DIFFUSION = re.compile(r"_dwi(\.|$)")
"""In the name of a diffusion series."""
_OTHER_FOLDERS = ("func", "perf")
"""Whose images an echo-planar field map may be meant for, too."""


def find_fieldmaps(images: Iterable[ImageFile], reader: SidecarReader) -> list[ImageFile | Excluded]:
    """Read the ``epi`` images of the sessions of diffusion series that are meant for one of them.

    Parameters
    ----------
    images : iterable of ImageFile
        Diffusion series; others have no field maps that matter here.
    reader : SidecarReader
        Of their dataset.

    Returns
    -------
    fieldmaps : list of ImageFile or Excluded
        Sorted by path, with those that no sidecar links to any image. One that cannot be read is left out,
        and no fault: the series can do without.
    """
    series = [image for image in images if image.path.parent.name == "dwi"]
    sessions = sorted({image.path.parents[1] for image in series})
    paths = [path for session in sessions for path in sorted((session / "fmap").glob("sub-*_epi.nii*"))]
    found = [_read(path, reader, series) for path in paths]
    return [one for one in found if one is not None]


def is_fieldmap(image: ImageFile) -> bool:
    """Whether an image is an echo-planar field map, by its folder and suffix."""
    return image.path.parent.name == "fmap" and image.suffix == "epi"


def is_meant_for(fieldmap: ImageFile, series: ImageFile) -> bool:
    """Whether sidecars link a field map to a series.

    ``IntendedFor`` names the series, as a path below the participant or as a BIDS URI, or the
    ``B0FieldIdentifier`` of the field map is ``B0FieldSource`` or ``B0FieldIdentifier`` of the series.
    """
    if fieldmap.entities.get("sub") != series.entities.get("sub"):
        return False
    path = series.path.as_posix()
    named = (name.rpartition("::")[2] for name in _texts(fieldmap.metadata.get("IntendedFor")))
    if any(
        path.endswith("/" + name.strip().removeprefix("./").lstrip("/")) for name in named if name.strip()
    ):
        return True
    return not _fields(series).isdisjoint(identifiers(fieldmap))


def identifiers(fieldmap: ImageFile) -> Sequence[str]:
    """``B0FieldIdentifier`` of a field map; empty where it has none."""
    return _texts(fieldmap.metadata.get("B0FieldIdentifier"))


def _fields(series: ImageFile) -> set[str]:
    """What a series says of the fields that are estimated with it, or serve it."""
    values = (series.metadata.get(key) for key in ("B0FieldSource", "B0FieldIdentifier"))
    return {name for value in values for name in _texts(value)}


def _names_no_image(fieldmap: ImageFile) -> bool:
    """Whether the sidecar of a field map does not link it to anything, as many converters leave it."""
    return not (_texts(fieldmap.metadata.get("IntendedFor")) or identifiers(fieldmap))


def part_linked(
    fieldmaps: Iterable[ImageFile], series: Iterable[ImageFile]
) -> tuple[list[ImageFile], list[ImageFile]]:
    """Field maps that sidecars link to something, and those that no sidecar does."""
    asked = {(image.entities.get("sub"), name) for image in series for name in _fields(image)}
    parts: tuple[list[ImageFile], list[ImageFile]] = ([], [])
    for one in fieldmaps:
        named = any((one.entities.get("sub"), name) in asked for name in identifiers(one))
        parts[not (named or _texts(one.metadata.get("IntendedFor")))].append(one)
    return parts


def uri_of(series: ImageFile) -> str:
    """How ``IntendedFor`` names a series."""
    return f"bids::{series.path.relative_to(_participant_folder(series).parent).as_posix()}"


def _participant_folder(image: ImageFile) -> Path:
    return next(folder for folder in image.path.parents if folder.name.startswith("sub-"))


def _read(path: Path, reader: SidecarReader, series: Sequence[ImageFile]) -> ImageFile | Excluded | None:
    """None for a field map of other images: whether it is sound does not matter."""
    try:
        # Some hold a whole series, of which the table tells the b0s.
        tables = (reader.nearest(path, ".bval"), reader.nearest(path, ".bvec"))
        fieldmap = ImageFile(path, parse_name(path)[0], reader.metadata(path), *tables)
    except BIDSDataError as error:
        return unused_fieldmap(path, str(error))
    if _names_no_image(fieldmap):
        return None if header_problem(path) else fieldmap
    if not any(is_meant_for(fieldmap, image) for image in series):
        missing = _missing_series(fieldmap)
        told = f"its IntendedFor names {enumerated(missing, most=1)}, which is not there; correct the path"
        if missing:
            return unused_fieldmap(path, f"{told} (below the participant, with /)")
        is_theirs = _texts(fieldmap.metadata.get("IntendedFor")) or _serves_others(fieldmap, reader)
        return None if is_theirs or header_problem(path) else fieldmap
    problem = header_problem(path)
    return unused_fieldmap(path, problem) if problem else fieldmap


def _serves_others(fieldmap: ImageFile, reader: SidecarReader) -> bool:
    """Whether images of its session that are no diffusion series ask for a field map by its identifier."""
    session = fieldmap.path.parents[1]
    paths = [path for name in _OTHER_FOLDERS for path in sorted((session / name).glob("sub-*.nii*"))]
    try:
        images = (ImageFile(path, parse_name(path)[0], reader.metadata(path)) for path in paths)
        return any(is_meant_for(fieldmap, image) for image in images)
    except BIDSDataError:
        return True  # nobody can tell


def _missing_series(fieldmap: ImageFile) -> list[str]:
    """Diffusion series that a field map is meant for by their names, and which no file has."""
    participant = _participant_folder(fieldmap)
    named = [name for name in _texts(fieldmap.metadata.get("IntendedFor")) if _DIFFUSION.search(name)]
    found = [name.rpartition("::")[2].strip().removeprefix("./").lstrip("/") for name in named]
    return [
        name
        for name, below in zip(named, found, strict=True)
        # A link that was not fetched is there.
        if not any(os.path.lexists(folder / below) for folder in (participant, participant.parent))
    ]


def unused_fieldmap(path: Path, problem: str) -> Excluded:
    """A field map that cannot be used, which is no fault: the series can do without."""
    return Excluded(path, f"it is not used to estimate distortion: {problem}")


def _texts(value: object) -> Sequence[str]:
    return [text for text in listed(value) if isinstance(text, str)]
