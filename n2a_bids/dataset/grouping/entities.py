"""Groups images by the BIDS entities of their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from n2a_bids.dataset.names import comparable
from n2a_bids.dataset.units import ImageFile

DIRECTION = re.compile(r"(?<![A-Z])(AP|PA|LR|RL|SI|IS|HF|FH)(?![A-Z])")
"""A direction of phase encoding in a label or a description, such as AP in b1000AP."""

NO_OTHER_SERIES = "the session has no other series of this kind"
"""Why a diffusion series has no partner, where none comes near to being one."""


def group_by(images: Sequence[ImageFile], ignoring: Collection[str]) -> list[tuple[ImageFile, ...]]:
    """Split images into groups that agree in every entity but the ignored ones.

    Parameters
    ----------
    images : sequence of ImageFile
        In any order.
    ignoring : collection of str
        Short entity names that may differ within a group.

    Returns
    -------
    groups : list of tuples
        In the order of the first member; members in order of echo, run and name.
    """
    groups: dict[tuple[tuple[str, str], ...], list[ImageFile]] = {}
    for image in sorted(images, key=_order):
        key = {
            name: comparable(name, value)
            for name, value in image.entities.items()
            # An image without part- is a magnitude.
            if name not in ignoring and (name, value) != ("part", "mag")
        }
        groups.setdefault(tuple(sorted(key.items())), []).append(image)
    return [tuple(members) for members in groups.values()]


def shared_entities(images: Sequence[ImageFile]) -> dict[str, str]:
    """Entities with the same label in every image, in the order of the first name."""
    first, *others = images
    return {
        name: value
        for name, value in first.entities.items()
        if all(comparable(name, other.entities.get(name)) == comparable(name, value) for other in others)
    }


def with_direction_in_dir(image: ImageFile) -> ImageFile:
    """An image whose ``acq`` names a direction of phase encoding as if ``dir`` did, which is made for that.

    What else ``acq`` says stays there, and a ``dir`` that is there stays as it is.

    Examples
    --------
    >>> from pathlib import Path
    >>> image = ImageFile(Path("sub-01_acq-b1000AP_dwi.nii.gz"), {"sub": "01", "acq": "b1000AP"})
    >>> with_direction_in_dir(image).entities
    {'sub': '01', 'acq': 'b1000', 'dir': 'AP'}
    """
    label = image.entities.get("acq", "")
    found = DIRECTION.search(label) or DIRECTION.fullmatch(label.upper())
    if not found:
        return image
    rest = label[: found.start()] + label[found.end() :]
    named = {**image.entities, "acq": rest} if rest else dict(image.entities)
    if not rest:
        del named["acq"]
    return replace(image, entities={**named, "dir": image.entities.get("dir", label[slice(*found.span())])})


def same_session(first: ImageFile, second: ImageFile) -> bool:
    """Whether two images are of one participant and session."""
    return all(first.entities.get(name) == second.entities.get(name) for name in ("sub", "ses"))


def describe(image: ImageFile) -> str:
    """Participant and session of an image, as in ``sub-01 ses-2``."""
    return " ".join(f"{name}-{image.entities[name]}" for name in ("sub", "ses") if name in image.entities)


def describe_kind(image: ImageFile) -> str:
    """Suffix and further entities of an image, as in ``T1w with acq-hi run-1``."""
    marks = [f"{name}-{value}" for name, value in image.entities.items() if name not in ("sub", "ses")]
    return f"{image.suffix}{' with ' + ' '.join(marks) if marks else ''}"


def _order(image: ImageFile) -> tuple[str, int, int, str]:
    folder = str(image.path.parent)
    echo, run = (
        int(value) if (value := image.entities.get(name, "0")).isascii() and value.isdigit() else 0
        for name in ("echo", "run")
    )
    return folder, echo, run, image.path.name
