"""Finds image files that are byte for byte equal, across sessions and participants."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nb
import numpy as np

from n2a_bids.dataset.read.files import has_content
from n2a_bids.dataset.units import DenoisingUnit, ImageFile
from n2a_bids.enumeration import enumerated
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.images import UNREADABLE
from n2a_bids.io.micrographs import is_micrograph, read_micrograph

_PROBE_BYTES = 1 << 16
_MOST_NAMED = 3
"""Of equal files in one note."""


def note_duplicates(units: Sequence[DenoisingUnit], bids_dir: Path) -> list[DenoisingUnit]:
    """Add a note to groups with an image that is stored in another group, too.

    One of the two has the wrong name. Only files of one size are opened, and read to their end only where
    they begin, go on in the middle, and end alike. Copies within a group are found by their noise.

    Parameters
    ----------
    units : sequence of DenoisingUnit
        Of all participants that are selected.
    bids_dir : Path
        Root of the dataset, from which files are named.
    """
    owners = {image.path: index for index, unit in enumerate(units) for image in unit.images}
    notes: dict[Path, list[str]] = defaultdict(list)
    for group in equal_files(list(owners)):
        for path in group:
            others = [other.relative_to(bids_dir) for other in group if owners[other] != owners[path]]
            if others:
                notes[path].append(_equality_note(path, others))
    return [unit.with_image_notes(notes) for unit in units]


def _equality_note(path: Path, others: Sequence[Path]) -> str:
    """What to say of a file that is stored under other names, of which the first are named."""
    return (
        f"{path.name} is, byte for byte, {enumerated(others, _MOST_NAMED)}: one of them was stored under a "
        "wrong name, and two sessions or participants would share one measurement; put the right file in "
        "place"
    )


def equal_files(paths: Sequence[Path]) -> list[list[Path]]:
    """Groups of two or more files with the same content; what is empty or cannot be read is in none."""
    groups = [list(paths)]
    for fingerprint in (_size, _probe, _content):
        groups = [part for group in groups for part in _split(group, fingerprint)]
    return groups


def _split(group: Sequence[Path], fingerprint: Callable[[Path], object | None]) -> list[list[Path]]:
    parts: dict[object, list[Path]] = defaultdict(list)
    for path in group:
        try:
            if (found := fingerprint(path)) is not None:
                parts[found].append(path)
        except OSError:
            # A link to content that was not fetched: its own check names it.
            continue
    return [part for part in parts.values() if len(part) > 1]


def _size(path: Path) -> int | None:
    """Bytes of a file; None of one that holds nothing, which no other can repeat."""
    return path.stat().st_size or None


def _probe(path: Path) -> bytes:
    """Bytes at the start, in the middle and at the end of a file."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        probes = []
        for start in (0, size // 2, max(size - _PROBE_BYTES, 0)):
            stream.seek(start)
            probes.append(stream.read(_PROBE_BYTES))
    return hashlib.sha256(b"".join(probes)).digest()


def _content(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def with_content_first(images: Sequence[ImageFile]) -> list[ImageFile]:
    """Images in their order, those after the others of which there is no more than a name.

    An empty file or a link that was not fetched must not stand for a sound file whose name means the same.
    """
    return sorted(images, key=lambda image: not has_content(image.path)) if len(images) > 1 else list(images)


def same_name_reason(path: Path, taken: Path) -> str:
    """What to say of an image whose name means the same as that of one that is taken."""
    differs = holds_other_values(path, taken)
    if differs is None:
        lacks = "could not be compared" if has_content(path) else "holds nothing that could be compared"
        return (
            f"its name means the same as that of {taken.name}, which is taken, and it {lacks}; fetch or "
            "restore it with a run- of its own if it is a repetition, or remove it"
        )
    if differs:
        return (
            f"another image than {taken.name}, which is taken, under a name that means the same; rename it, "
            "with a run- of its own if it is a repetition"
        )
    return f"the same image as {taken.name} under another name or extension"


def holds_other_values(path: Path, other: Path) -> bool | None:
    """Whether an image differs from another in its grid or in the voxels of its first volume.

    Of micrographs, in size or any pixel. None where one of them cannot be read: then nothing is known.
    """
    try:
        if is_micrograph(path):
            return not np.array_equal(*(read_micrograph(one).pixels for one in (path, other)), equal_nan=True)
        images = [nb.load(one) for one in (path, other)]
        first, second = (
            np.asanyarray(image.dataobj[..., 0] if image.ndim > 3 else image.dataobj) for image in images
        )
        grids_differ = images[0].shape != images[1].shape or not np.allclose(
            images[0].affine, images[1].affine, atol=1e-3
        )
        return grids_differ or not np.array_equal(first, second, equal_nan=True)
    except (*UNREADABLE, BIDSDataError, TypeError, ValueError):
        return None
