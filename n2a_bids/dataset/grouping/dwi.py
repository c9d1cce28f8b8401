"""Groups diffusion series into pair, repeat, split or single; the others with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from n2a_bids.algorithms.diffusion.shells import FEWEST_VOLUMES
from n2a_bids.config import SelectionConfig
from n2a_bids.dataset.grouping.anat import reason_never_denoised, split_copies
from n2a_bids.dataset.grouping.dwi_b0 import (
    is_sbref,
    read_b0_images,
    read_fieldmaps,
    reason_against_b0,
    reason_computed,
    reason_not_denoised,
    with_reversed_b0,
)
from n2a_bids.dataset.grouping.dwi_reasons import reason_against_pair
from n2a_bids.dataset.grouping.dwi_repeats import find_dwi_repeats, may_repeat
from n2a_bids.dataset.grouping.dwi_reverse_pe import find_reverse_pe
from n2a_bids.dataset.grouping.dwi_split import find_dti_split, reason_against_split
from n2a_bids.dataset.grouping.dwi_volumes import reason_not_beside
from n2a_bids.dataset.grouping.entities import describe, group_by, same_session, with_direction_in_dir
from n2a_bids.dataset.grouping.sidecar_duplicates import split_same_acquisition
from n2a_bids.dataset.read.fieldmaps import identifiers, is_fieldmap, part_linked, unused_fieldmap, uri_of
from n2a_bids.dataset.read.gradient_tables import Series, encodings, read_series
from n2a_bids.dataset.units import Collection, DenoisingUnit, Excluded, ImageFile
from n2a_bids.errors import BIDSDataError

Pairing = Literal["auto", "reverse-pe", "repeat", "split", "single"]


def group_dwi(images: Sequence[ImageFile], selection: SelectionConfig) -> Collection:
    """Find the groups among the DWI series of any number of participants.

    Parameters
    ----------
    images : sequence of ImageFile
        With suffix dwi or sbref, and echo-planar field maps.
    selection : SelectionConfig
        Where series are denoised in place, each is a unit of its own. Otherwise, its pairing ``auto`` tries
        opposite phase encoding, then repeats, then a split, then the series alone; any other value allows
        that way only. Where distortion has been corrected already, series of opposite phase encoding are
        repeats.

    Returns
    -------
    collection : Collection
        Every image but field maps is either in one unit or among those left out; a broken gradient
        table leaves out its series with ``is_error=True``. Single-band references of series that are there
        are not named.
    """
    maps = list(filter(is_fieldmap, images))
    images = [image for image in images if not is_fieldmap(image)]
    linked, loose = part_linked(maps, images)
    fieldmaps, unused = read_fieldmaps(linked, selection.b0_threshold)
    series, b0_images, excluded = _read_all(images, selection.b0_threshold)
    excluded += unused
    by_path = {one.image.path: one for one in series}
    units, left = _group_families(series, selection)
    excluded += left
    for unit in units:
        excluded.extend(_too_short(unit, by_path[unit.images[0].path]))
    short = {item.path for item in excluded}
    units = [unit for unit in units if unit.images[0].path not in short]
    if not (selection.dwi_corrected or selection.dwi_in_place):
        taken = {image.path for unit in units for image in unit.images}
        b0_images += [one for one in series if one.image.path not in taken and one.gradients.is_b0.any()]
        b0_images += fieldmaps
        # Who asks for one way of pairing has other plans with the rest.
        denoised = [by_path[path] for path in sorted(taken)] if selection.dwi_pairing == "auto" else []
        units = [with_reversed_b0(unit, by_path[unit.images[0].path], b0_images, denoised) for unit in units]
        unlinked, _ = read_fieldmaps(loose, selection.b0_threshold)
        excluded += _unlinked_fieldmaps(unlinked, units, by_path)
    return Collection(tuple(_told_apart(units)), tuple(sorted(excluded, key=lambda item: item.path)))


def _unlinked_fieldmaps(
    fieldmaps: Sequence[Series], units: Sequence[DenoisingUnit], by_path: Mapping[Path, Series]
) -> list[Excluded]:
    """Field maps that no sidecar links to an image, though they show the distortion of a unit."""
    distorted = [(unit, by_path[unit.images[0].path]) for unit in units if not unit.distortion_is_estimated]
    return [
        unused_fieldmap(one.image.path, _what_would_link(one.image, found.image))
        for one in fieldmaps
        if (found := _served_by(one, distorted)) is not None
    ]


def _what_would_link(fieldmap: ImageFile, series: ImageFile) -> str:
    """What a sidecar lacks that would let a field map serve a series."""
    if not identifiers(fieldmap):
        added = f'"IntendedFor": "{uri_of(series)}"'
        return f"its sidecar names no image; where it is meant for this series, add {added}"
    name, asked = identifiers(fieldmap)[0], series.metadata.get("B0FieldSource")
    other = f" ({series.path.name} has {asked})" if asked else ""
    return (
        f"its B0FieldIdentifier, {name}, is the B0FieldSource of no image{other}; where it is meant for "
        f'{series.path.name}, write "B0FieldSource": "{name}" into the sidecar of that'
    )


def _served_by(fieldmap: Series, distorted: Sequence[tuple[DenoisingUnit, Series]]) -> Series | None:
    """First of the series of its session whose distortion a field map shows the other way round."""
    return next(
        (
            series
            for unit, series in distorted
            if same_session(series.image, fieldmap.image) and not reason_against_b0(unit, series, fieldmap)
        ),
        None,
    )


def _group_families(
    series: Sequence[Series], selection: SelectionConfig
) -> tuple[list[DenoisingUnit], list[Excluded]]:
    """Units of series whose names differ in direction and run only, and why the others are in none.

    Many datasets name the direction by ``acq``: those are families, too.
    """
    by_path = {one.image.path: one for one in series}
    units: list[DenoisingUnit] = []
    excluded: list[Excluded] = []
    named = [with_direction_in_dir(one.image) for one in series]
    for members in group_by(named, ignoring={"dir", "run"}):
        family = [by_path[image.path] for image in members]
        if selection.dwi_in_place:
            decisions = [_in_place(one, family) for one in family]
        else:
            directed = _directed(family, members)
            found, alone = _pairs(family, directed, selection)
            others = [one for one in series if same_session(one.image, members[0])]
            decisions = [*found, *(_alone(one, selection.dwi_pairing, directed, others) for one in alone)]
        for decision in decisions:
            (units if isinstance(decision, DenoisingUnit) else excluded).append(decision)
    return units, excluded


def _read_all(
    images: Sequence[ImageFile], b0_threshold: float
) -> tuple[list[Series], list[Series], list[Excluded]]:
    """Series, b0 images without tables, and what is left out; the latter contains the b0 images too."""
    series, b0_images, excluded = [], [], []
    # A reference has the entities of its series.
    parts = [split_copies([one for one in images if is_sbref(one) is kind]) for kind in (False, True)]
    unique, copies = ([item for part in parts for item in part[index]] for index in (0, 1))
    unique, processed = split_same_acquisition(unique)
    copies += processed
    for image in unique:
        reason = reason_never_denoised(image) or reason_computed(image)
        if reason:
            excluded.append(Excluded(image.path, f"{describe(image)}: {reason}"))
            continue
        b0_image = read_b0_images(image, b0_threshold)
        if b0_image is not None:
            b0_images.append(b0_image)
            continue
        try:
            series.append(read_series(image, b0_threshold))
        except BIDSDataError as error:
            excluded.append(Excluded(image.path, str(error), is_error=True))
    for one in b0_images:
        reason = reason_not_denoised(one, images)
        if reason:
            excluded.append(Excluded(one.image.path, f"{describe(one.image)}: {reason}"))
    return series, b0_images, excluded + copies


def _directed(family: Sequence[Series], named: Sequence[ImageFile]) -> list[Series]:
    """The series with their direction in ``dir`` where ``acq`` tells it; as they are if ``acq`` is one."""
    if len({one.image.entities.get("acq") for one in family}) == 1:
        return list(family)
    return [replace(one, image=image) for one, image in zip(family, named, strict=True)]


def _pairs(
    family: Sequence[Series], directed: Sequence[Series], selection: SelectionConfig
) -> tuple[list[DenoisingUnit], list[Series]]:
    """Units of opposite phase encoding and repeats, and the series in none.

    Parameters
    ----------
    directed : sequence of Series
        The family by `_directed`: names what is made of both directions.
    """
    pairing, corrected = selection.dwi_pairing, selection.dwi_corrected
    opposite = partial(find_reverse_pe, trust_labels=pairing == "reverse-pe")
    repeats = partial(find_dwi_repeats, corrected=corrected, trust_labels=pairing == "repeat")
    units: list[DenoisingUnit] = []
    taken: set[Path] = set()
    for name, find, seen in (
        ("reverse-pe", opposite, directed),
        ("repeat", repeats, directed if corrected else family),
    ):
        if pairing in ("auto", name) and not (corrected and name == "reverse-pe"):
            units.extend(find([one for one in seen if one.image.path not in taken]))
            taken = {image.path for unit in units for image in unit.images}
    return units, [one for one in family if one.image.path not in taken]


def _in_place(series: Series, family: Sequence[Series]) -> DenoisingUnit | Excluded:
    """One series by itself, whatever else there is: others are learned from at most."""
    if np.count_nonzero(series.weighted) < 2:
        return _nothing_weighted(series)
    reason = "denoised where it lies, from its own volumes: --dwi-in-place was asked for"
    unit = replace(find_single_dwi(series, ""), kind="dwi-in-place", reason=reason)
    # Not of opposite phase encoding: what the scanner leaves in one of the two would stand in its residual.
    others = [other for other in family if other is not series and may_repeat(series, other)]
    reasons = {other.image.path: reason_not_beside(series, other) for other in others}
    beside = [other.image for other in others if not reasons[other.image.path]]
    if beside:
        return replace(unit, companion=beside[0])
    notes = (f"{path.name} is not learned from: {reason}" for path, reason in reasons.items())
    return replace(unit, companion_notes=tuple(notes))


def _nothing_weighted(series: Series) -> Excluded:
    found = "only one diffusion-weighted volume" if series.weighted.any() else "no diffusion-weighted volume"
    return Excluded(series.image.path, f"{describe(series.image)}: {found}, nothing to denoise")


def _alone(
    series: Series, pairing: Pairing, family: Sequence[Series], session: Sequence[Series]
) -> DenoisingUnit | Excluded:
    """Split, single or left out, for a series that belongs to no pair; the reason is told by its family."""
    where, path = describe(series.image), series.image.path
    if np.count_nonzero(series.weighted) < 2:
        return _nothing_weighted(series)
    against = reason_against_pair(series, family, session, pairing)
    if pairing in ("reverse-pe", "repeat"):
        return Excluded(path, f"{where}: --dwi-pairing {pairing} was asked for, but {against}")
    no_split = reason_against_split(series)
    if pairing == "split" and no_split:
        return Excluded(path, f"{where}: --dwi-pairing split was asked for, but {no_split}")
    forced = pairing != "auto"
    if pairing == "single" or no_split:
        why = "--dwi-pairing single was asked for" if forced else f"{against}, and {no_split}"
        return find_single_dwi(series, why)
    unit = find_dti_split(series)
    return unit if forced else replace(unit, reason=f"{unit.reason} ({against})")


def _too_short(unit: DenoisingUnit, first: Series) -> list[Excluded]:
    """The images of a unit that has too few volumes for any estimate of its noise."""
    n_volumes = len(unit.volumes[0]) if unit.volumes else first.gradients.bvals.size
    if n_volumes >= FEWEST_VOLUMES:
        return []
    reason = f"{n_volumes} volumes, too few to tell noise from signal ({FEWEST_VOLUMES} are needed)"
    return [Excluded(image.path, f"{describe(image)}: {reason}") for image in unit.images]


def _told_apart(units: Sequence[DenoisingUnit]) -> list[DenoisingUnit]:
    """Give units of one label the ``dir`` and ``run`` of their first image: labels name output files."""
    counts = Counter(unit.label for unit in units)
    named = []
    for unit in units:
        if counts[unit.label] > 1:
            own = unit.images[0].entities
            kept_names = {*unit.entities, "dir", "run"}
            unit = replace(unit, entities={name: own[name] for name in own if name in kept_names})
        named.append(unit)
    return named


def find_single_dwi(series: Series, why: str) -> DenoisingUnit:
    """Unit of one series that is denoised from its own volumes.

    Parameters
    ----------
    series : Series
        With two or more diffusion-weighted volumes.
    why : str
        Why no other way is open, half a sentence.
    """
    return DenoisingUnit(
        kind="dwi-single",
        images=(series.image,),
        entities=dict(series.image.entities),
        reason=f"no repetition, denoised from its own volumes: {why}",
        phase_encoding=encodings((series,)),
        notes=series.notes,
    )
