"""Starts the grouping of all images by kind, and repeats it where damaged ones were excluded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from n2a_bids.config import SelectionConfig
from n2a_bids.dataset.grouping.anat import group_anat
from n2a_bids.dataset.grouping.complex_parts import with_parts_decided, without_faulty_parts
from n2a_bids.dataset.grouping.entities import NO_OTHER_SERIES, group_by, with_direction_in_dir
from n2a_bids.dataset.grouping.micr import group_micr
from n2a_bids.dataset.names import parse_name
from n2a_bids.dataset.read.fieldmaps import is_fieldmap
from n2a_bids.dataset.read.micrographs import has_micrograph_name
from n2a_bids.dataset.units import Collection, DenoisingUnit, Excluded, ImageFile
from n2a_bids.enumeration import enumerated


def group_images(images: Sequence[ImageFile], selection: SelectionConfig) -> Collection:
    """Find the groups among anatomical images and diffusion series.

    Parameters
    ----------
    images : sequence of ImageFile
        Of any number of participants.
    selection : SelectionConfig
        How diffusion series are paired.

    Returns
    -------
    collection : Collection
        Every image is in one unit or left out, but for field maps.
    """
    series = [image for image in images if is_diffusion(image)]
    micrographs = [image for image in images if has_micrograph_name(image.path)]
    anatomy = [image for image in images if not (is_diffusion(image) or has_micrograph_name(image.path))]
    found = [group_anat(anatomy, single=selection.single)]
    if micrographs:
        found.append(group_micr(micrographs, selection.micr_frames))
    if series:
        # The gradient mathematics import torch: datasets of anatomy alone do without it.
        from n2a_bids.dataset.grouping.dwi import group_dwi

        found.append(group_dwi(series, selection))
    decided = [
        with_parts_decided(unit, ignore_phase=selection.ignore_phase) for part in found for unit in part.units
    ]
    units = sorted(decided, key=lambda unit: unit.images[0].path.parts)
    return Collection(tuple(units), tuple(item for part in found for item in part.excluded))


def group_sound_images(
    images: Sequence[ImageFile],
    selection: SelectionConfig,
    problem: Callable[[ImageFile], str],
    fault: Callable[[ImageFile], Excluded | None],
) -> Collection:
    """Find the groups, and leave out every image of a group that cannot be used: the others are grouped anew.

    Parameters
    ----------
    problem : callable
        What keeps an image from being used, with the remedy; empty if nothing does. Asked for the images
        of groups only: what is left out anyway need not be sound.
    fault : callable
        What keeps the second file of a complex image from being used, likewise; None if nothing does.

    Returns
    -------
    collection : Collection
        Images that cannot be used are left out with ``is_error=True``.
    """
    kept = list(images)
    seen: dict[Path, str] = {}
    broken: list[Excluded] = []
    sound: set[Path] = set()
    while True:
        found = group_images(kept, selection)
        members = {image.path: image for unit in found.units for image in unit.images}
        for path, image in members.items():
            if path not in seen:
                seen[path] = problem(image)
        bad = {path for path in members if seen[path]}
        new = members.keys() - sound - bad
        whole, faults = without_faulty_parts(
            [image for image in kept if image.path in new], fault, ignore_phase=selection.ignore_phase
        )
        sound |= new
        if not bad and not faults:
            break
        # What is whole stays, perhaps without its phase; of the others a new look may find other groups.
        looked_at = dict.fromkeys(bad | new) | {image.path: image for image in whole}
        kept = [one for image in kept if (one := looked_at.get(image.path, image)) is not None]
        broken += faults
    broken += [Excluded(path, text, is_error=True) for path, text in seen.items() if text]
    return Collection(found.units, (*found.excluded, *broken))


def regroup_sound_images(
    units: Sequence[DenoisingUnit],
    selection: SelectionConfig,
    problem: Callable[[ImageFile], str],
    fault: Callable[[ImageFile], Excluded | None],
) -> Collection:
    """Group the images of units again, without those that cannot be used.

    Parameters
    ----------
    units : sequence of DenoisingUnit
        b0 images that show the distortion of one are kept beside it.
    selection : SelectionConfig
        How diffusion series are paired.
    problem, fault : callable
        As in `group_sound_images`.

    Returns
    -------
    collection : Collection
        Only images that were in a unit are left out.
    """
    images = [image for unit in units for image in unit.images]
    beside = {unit.reversed_b0.path: unit.reversed_b0 for unit in units if unit.reversed_b0 is not None}
    found = group_sound_images([*images, *beside.values()], selection, problem, fault)
    found = with_broken_partners(found)
    regrouped = (
        replace(unit, notes=(*unit.notes, *(note for image in unit.images for note in image.notes)))
        for unit in found.units
    )
    return Collection(tuple(regrouped), tuple(item for item in found.excluded if item.path not in beside))


def with_broken_partners(collection: Collection) -> Collection:
    """Name the series that cannot be used where another is said to have no partner.

    Parameters
    ----------
    collection : Collection
        Broken series are among what is left out, with ``is_error=True``.
    """
    broken = [ImageFile(item.path, parse_name(item.path)[0]) for item in collection.excluded if item.is_error]
    broken = [image for image in broken if image.suffix == "dwi"]
    return replace(collection, units=tuple(_with_broken_partner(unit, broken) for unit in collection.units))


def _with_broken_partner(unit: DenoisingUnit, broken: Sequence[ImageFile]) -> DenoisingUnit:
    if NO_OTHER_SERIES not in unit.reason:
        return unit
    own = with_direction_in_dir(unit.images[0])
    names = [
        image.path.name
        for image in broken
        if len(group_by((own, with_direction_in_dir(image)), ignoring={"dir", "run"})) == 1
    ]
    if not names:
        return unit
    told = f"{NO_OTHER_SERIES} that can be used: {enumerated(names, most=1)} cannot, for a reason told there"
    return replace(unit, reason=unit.reason.replace(NO_OTHER_SERIES, told))


def is_diffusion(image: ImageFile) -> bool:
    """Whether an image is a diffusion series, or the reference or the field map of one, by its name."""
    return image.suffix in ("dwi", "sbref") or is_fieldmap(image)
