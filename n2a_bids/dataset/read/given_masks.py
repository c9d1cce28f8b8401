"""Finds brain masks that users bring with ``--derivatives``, and the images each belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.dataset.names import comparable, parse_name
from n2a_bids.dataset.read.files import check_file
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.images import UNREADABLE

_GRID_TOLERANCE_MM = 1e-2


def find_brain_mask(derivatives: Mapping[str, Path], unit: DenoisingUnit) -> Path | None:
    """Brain mask of a unit in derivatives that the user names.

    A mask fits if all its entities are those of the unit or of one of its images. With
    ``space-``, which must be that of the images, or ``res-`` it must lie on the grid of one
    of them; without, as sMRIPrep and n2a write it, it may have another grid in the same world
    coordinates, and has to be resampled. Where several fit, one on the grid of an image wins,
    then the one with most entities, then the first derivative named.

    Parameters
    ----------
    derivatives : mapping of str to Path
        Name and root of each derivative dataset.
    unit : DenoisingUnit
        Images to be masked.

    Returns
    -------
    mask : Path or None
        None if no derivative has a mask that fits.

    Raises
    ------
    BIDSDataError
        If a derivative folder does not exist, or a mask cannot be read.
    """
    ranked = []
    for rank, (name, root) in enumerate(derivatives.items()):
        if not Path(root).is_dir():
            raise BIDSDataError(
                f"{root}: expected the derivatives '{name}', found no such folder; correct the path"
            )
        for path in _masks(Path(root), unit):
            entities = parse_name(path)[0]
            if not _fits(entities, unit) or _is_elsewhere(entities, unit):
                continue
            same_grid = _on_grid_of_an_image(path, unit)
            if same_grid or _may_be_resampled(entities, unit):
                ranked.append((not same_grid, -len(entities), rank, path))
    return min(ranked)[-1] if ranked else None


def owner_of_mask(mask: Path, images: Sequence[Path]) -> int:
    """Index of the image that a given brain mask lies on: the first on its grid, and of its name if one is.

    Parameters
    ----------
    mask : Path
        In the world of that image: the head may lie elsewhere in the others.
    images : sequence of Path
        Those that cannot be read are passed over.
    """
    entities, grid = parse_name(mask)[0], _grid(mask)

    def likeness(index: int) -> tuple[bool, bool]:
        own, suffix, _ = parse_name(images[index])
        is_named = _required(entities, suffix).items() <= _compared(own).items()
        return _is_one_grid(_grid(images[index]), grid), is_named

    return max(range(len(images)), key=likeness)


def masks_in_other_spaces(derivatives: Mapping[str, Path], unit: DenoisingUnit) -> list[Path]:
    """Brain masks of a unit that `find_brain_mask` passes over for their ``space-``: those of templates.

    Parameters
    ----------
    derivatives : mapping of str to Path
        Name and root of each derivative dataset.
    unit : DenoisingUnit
        Images to be masked.
    """
    masks = [(path, parse_name(path)[0]) for root in derivatives.values() for path in _masks(root, unit)]
    return [path for path, entities in masks if _fits(entities, unit) and _is_elsewhere(entities, unit)]


def mask_warnings(
    derivatives: Mapping[str, Path], given: Path | None, method: str, elsewhere: Sequence[Path] = ()
) -> list[str]:
    """A sentence for those who brought derivatives, where no mask in them fits a group.

    Parameters
    ----------
    derivatives : mapping of str to Path
        Name and root of each derivative dataset.
    given : Path or None
        The mask that was taken.
    method : str
        How the brain was found, in a few words.
    elsewhere : sequence of Path
        Masks that were passed over because they lie in another space.

    Examples
    --------
    >>> mask_warnings({"masks": Path("/data/masks")}, None, "by deepbet")
    ['no brain mask in the derivatives masks fits this group: the brain was found by deepbet']
    """
    if given is not None or not derivatives:
        return []
    names = ", ".join(derivatives)
    ignored = f" ({', '.join(path.name for path in elsewhere)}: not in the space of the images)"
    return [
        f"no brain mask in the derivatives {names} fits this group{ignored if elsewhere else ''}: the brain "
        f"was found {method}"
    ]


def _masks(root: Path, unit: DenoisingUnit) -> list[Path]:
    subject = Path(root) / f"sub-{unit.entities['sub']}"
    folders = [subject / unit.datatype]
    if "ses" in unit.entities:
        folders.append(subject / f"ses-{unit.entities['ses']}" / unit.datatype)
    return sorted(path for folder in folders for path in folder.glob("*_desc-brain*_mask.nii*"))


def _is_elsewhere(entities: Mapping[str, str], unit: DenoisingUnit) -> bool:
    return "space" in entities and entities["space"] not in (unit.suffix, "orig")


def _may_be_resampled(entities: Mapping[str, str], unit: DenoisingUnit) -> bool:
    """Whether a mask on another grid shows the brain where these images do.

    A mask without a space is that of the T1w images, which others need not lie on.
    """
    if unit.suffix in ("T1w", "dwi"):
        return not {"space", "res"} & entities.keys()
    return unit.suffix in (entities.get("space"), entities.get("mod")) and "res" not in entities


def _fits(entities: Mapping[str, str], unit: DenoisingUnit) -> bool:
    if entities.get("desc") != "brain":
        return False
    required = _required(entities, unit.suffix)
    return any(required.items() <= _compared(image.entities).items() for image in unit.images)


def _required(entities: Mapping[str, str], suffix: str) -> dict[str, str]:
    """What the name of a mask says of the image that it lies on."""
    own = {name: value for name, value in entities.items() if name not in ("desc", "space", "res")}
    if own.get("mod") == suffix:
        del own["mod"]
    return _compared(own)


def _compared(entities: Mapping[str, str]) -> dict[str, str]:
    return {name: comparable(name, value) for name, value in entities.items()}


def _on_grid_of_an_image(mask: Path, unit: DenoisingUnit) -> bool:
    try:
        check_file(mask)
        own = nb.load(mask)
    except (BIDSDataError, *UNREADABLE) as error:
        found = str(error) if isinstance(error, BIDSDataError) else f"{type(error).__name__}: {error}"
        raise BIDSDataError(
            f"{mask}: expected a brain mask for {unit.label}, found {' '.join(found.split())}; "
            "fetch or repair the file, or leave this derivative out"
        ) from error
    grid = own.shape[:3], own.affine
    return any(_is_one_grid(_grid(image.path), grid) for image in unit.images)


_Grid = tuple[tuple[int, ...], NDArray[np.float64]]


def _is_one_grid(first: _Grid, second: _Grid) -> bool:
    return first[0] == second[0] and np.allclose(first[1], second[1], atol=_GRID_TOLERANCE_MM)


def _grid(path: Path) -> _Grid:
    """No grid for an image that cannot be read: its own check reports that."""
    try:
        image = nb.load(path)
    except UNREADABLE:
        return (), np.eye(4)
    return image.shape[:3], image.affine
