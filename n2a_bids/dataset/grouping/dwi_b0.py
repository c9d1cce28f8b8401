"""b0 and SBRef images beside diffusion series: never denoised, but used to estimate distortion.

They lie in ``dwi``, or in ``fmap`` with a sidecar that names the series (see
`n2a_bids.dataset.read.fieldmaps`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.shells import FEWEST_VOLUMES
from n2a_bids.dataset.grouping.dwi_reverse_pe import (
    are_opposite,
    compare_encoding,
    is_readout_note_of,
    missing_direction,
    readout_notes,
)
from n2a_bids.dataset.grouping.dwi_volumes import unequal_voxels
from n2a_bids.dataset.names import comparable
from n2a_bids.dataset.read.acquisition import computed_map, is_phase, read_acquisition
from n2a_bids.dataset.read.fieldmaps import is_fieldmap, is_meant_for, unused_fieldmap
from n2a_bids.dataset.read.files import has_content
from n2a_bids.dataset.read.gradient_tables import Series, read_header, read_series, read_shape
from n2a_bids.dataset.read.image_checks import content_problem
from n2a_bids.dataset.units import DenoisingUnit, Excluded, ImageFile
from n2a_bids.enumeration import counted
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.gradients import read_bvals


def read_b0_images(image: ImageFile, b0_threshold: float) -> Series | None:
    """A series of b0 images without a gradient table of its own, or None where the image is none.

    Converters write no table for a scan without diffusion weighting, of one volume or a few, or a ``.bval``
    of zeros without directions, for any number. A table that applies by inheritance alone and has another
    number of volumes belongs to other series.

    Parameters
    ----------
    image : ImageFile
        With suffix dwi, sbref, or epi in a folder ``fmap``.
    b0_threshold : float
        Largest b-value (s/mm2) that counts as b0.

    Returns
    -------
    series : Series or None
        With a table of zeros, and an image without files of one; a field map that is a whole series by its
        own table has that.

    Raises
    ------
    BIDSDataError
        If that table is broken.
    """
    n_volumes, affine = read_header(image.path)
    if is_fieldmap(image) and _holds_weighted(image, n_volumes, b0_threshold):
        return read_series(image, b0_threshold)
    if is_sbref(image) or is_fieldmap(image):
        n_volumes = n_volumes or 1
    elif not n_volumes or not (
        _holds_b0s_alone(image, n_volumes, b0_threshold)
        or (n_volumes < FEWEST_VOLUMES and _lacks_table(image, n_volumes))
    ):
        return None
    acquisition = read_acquisition(image.metadata, read_shape(image.path))
    table = Gradients(np.zeros(n_volumes), np.zeros((n_volumes, 3)), b0_threshold)
    without_table = replace(image, bval=None, bvec=None)
    return Series(without_table, table, acquisition.notes, affine, acquisition)


def read_fieldmaps(images: Sequence[ImageFile], b0_threshold: float) -> tuple[list[Series], list[Excluded]]:
    """Field maps with b0s, and those that cannot be used, each with the reason.

    Parameters
    ----------
    images : sequence of ImageFile
        Echo-planar field maps.
    b0_threshold : float
        See `read_b0_images`.
    """
    found: list[Series] = []
    unused: list[Excluded] = []
    for image in images:
        if reason_computed(image) or image.entities.get("part", "mag") != "mag" or is_phase(image.metadata):
            continue
        try:
            one = read_b0_images(image, b0_threshold)
        except BIDSDataError as error:
            unused.append(unused_fieldmap(image.path, str(error)))
            continue
        if one.gradients.is_b0.any():
            found.append(one)
        else:
            unused.append(unused_fieldmap(image.path, f"no volume of {image.path.name} is a b0"))
    return found, unused


def reason_computed(image: ImageFile) -> str:
    """Half a sentence about a trace, ADC or other map that the scanner computed; empty for all else.

    Such a map shows neither the contrast of a b0 nor that of a volume. What a sidecar says of an image of
    many volumes was said of one of them: there the gradient table tells.
    """
    found = computed_map(image.metadata)
    n_volumes = read_header(image.path)[0] if found else None
    if not n_volumes or n_volumes >= FEWEST_VOLUMES:
        return ""
    return f"a {found}, which the scanner computed from other volumes (ImageType): nothing to denoise"


def reason_not_denoised(series: Series, everything: Sequence[ImageFile]) -> str:
    """Half a sentence about b0 images that `read_b0_images` gave; empty for one that needs no word."""
    if is_sbref(series.image):
        own = _name_without(series.image, ())
        if any(_name_without(image, ()) == own for image in everything if not is_sbref(image)):
            return ""
        return "a single-band reference without its series, nothing to denoise"
    count = series.gradients.bvals.size
    return (
        f"{counted(count, 'volume')} without a gradient table: taken for "
        f"{'a b0 image' if count == 1 else 'b0 images'}, nothing to denoise"
    )


def with_reversed_b0(
    unit: DenoisingUnit, series: Series, b0_images: Sequence[Series], denoised: Sequence[Series] = ()
) -> DenoisingUnit:
    """Give a unit the b0 image that shows its distortion the other way round, where there is one.

    Parameters
    ----------
    unit : DenoisingUnit
        Of one series, or of repeats of one phase encoding.
    series : Series
        Its first.
    b0_images : sequence of Series
        Without diffusion weighting, of any participant; the sidecars decide.
    denoised : sequence of Series
        Series of units, whose b0s serve where no image is there for that: those of another table (64
        directions of AP, 12 of PA) are no partners, but show the distortion all the same.

    Returns
    -------
    unit : DenoisingUnit
        Without a b0 where sidecars do not tell of opposite phase encoding, or the series has no b0 itself; a
        note says why where an image seems meant for this.
    """
    if unit.has_opposite_series:
        return unit
    where = _place(series.image)
    beside = [
        (one, reason_against_b0(unit, series, one))
        for one in b0_images
        if _place(one.image) == where
        if not is_fieldmap(one.image) or is_meant_for(one.image, series.image)
    ]
    fitting = [one for one, against in beside if not against]
    others = [
        one
        for one in denoised
        if _place(one.image) == where
        and one.gradients.is_b0.any()
        and not reason_against_b0(unit, series, one)
    ]
    ranked = [*_nearest_protocol_first(fitting, series), *_nearest_protocol_first(others, series)]
    notes = list(unit.notes)
    is_there = has_content(series.image.path)
    for one in ranked:
        # Of a clone of DataLad, nothing is there yet.
        problem = content_problem(one.image.path) if is_there else ""
        if not problem:
            reason = unit.reason + _estimated_with(one.image.path.name)
            notes += readout_notes((series, one))
            return replace(unit, reversed_b0=one.image, reason=reason, notes=tuple(notes))
        # The series can do without: no reason to stop.
        notes.append(f"the distortion is not estimated with a b0 image that cannot be used: {problem}")
    unused = [
        f"the distortion is not estimated with {one.image.path.name}: {against}"
        for one, against in beside
        if against and _is_expected(series, one)
    ]
    return replace(unit, notes=(*notes, *unused))


def _nearest_protocol_first(b0_images: Sequence[Series], series: Series) -> list[Series]:
    """A b0 of the same protocol first, a series of b0s before a reference of other contrast."""
    own = {ignored: _name_without(series.image, ignored) for ignored in (("dir", "run"), ("dir",))}
    return sorted(
        b0_images,
        key=lambda one: (
            is_sbref(one.image),
            is_fieldmap(one.image),
            *(_name_without(one.image, ignored) != name for ignored, name in own.items()),
            one.image.path.name,
        ),
    )


def reason_against_b0(unit: DenoisingUnit, series: Series, one: Series) -> str:
    """Why b0s do not show the distortion of a unit the other way round; empty where they do."""
    relation = compare_encoding(series, one)
    if relation in ("unknown", "same axis"):
        lacking = series if one.phase_encoding else one
        return missing_direction(lacking, f" of {lacking.image.path.name}")
    if relation != "opposite":
        where = "the same" if relation == "same" else "along another axis"
        return f"its phase encoding is {where}, by its sidecar"
    if not unit.phase_encoding:
        return "PhaseEncodingDirection is missing for one of the runs"
    if not series.gradients.is_b0.any():
        return f"{series.image.path.name} has no b0 to compare it with"
    sizes = unequal_voxels(series, one)
    return f"{sizes} to compare the two" if sizes else ""


def _is_expected(series: Series, one: Series) -> bool:
    """Whether b0s seem meant to show the distortion: by a sidecar, or a direction that the name tells."""
    if is_fieldmap(one.image) or are_opposite(series, one):
        return True
    direction = one.image.entities.get("dir", "")
    differs = comparable("dir", direction) != comparable("dir", series.image.entities.get("dir", ""))
    # A sidecar that was copied from the series states the same polarity under the name of another.
    return bool(direction) and differs and compare_encoding(series, one) in ("unknown", "same axis", "same")


def leave_distortion(unit: DenoisingUnit) -> DenoisingUnit:
    """A unit whose distortion is left to the tool that takes its raw-like series, with the same b0.

    Parameters
    ----------
    unit : DenoisingUnit
        Of any kind; those without a reversed b0 stay as they are.
    """
    if unit.reversed_b0 is None:
        return unit
    name = unit.reversed_b0.path.name
    left = (
        "its distortion is left, in the derivatives, too, to the tool that corrects the series of "
        f"--emit-raw-like; without that option, n2a would correct it with {name}"
    )
    kept = unit.reason.removesuffix(_estimated_with(name))
    notes = [note for note in unit.notes if not is_readout_note_of(note, name)]
    return replace(unit, reversed_b0=None, reason=kept, notes=(*notes, left))


def _estimated_with(name: str) -> str:
    return f"; the distortion is estimated with {name}, of opposite phase encoding"


def _holds_b0s_alone(image: ImageFile, n_volumes: int, b0_threshold: float) -> bool:
    """Whether b-values without directions tell of b0s in all volumes."""
    if image.bval is None or (image.bvec is not None and _is_own(image, image.bvec.name)):
        return False
    try:
        bvals, _ = read_bvals(image.bval)
    except BIDSDataError:
        return False
    return bvals.size == n_volumes and bool((bvals <= b0_threshold).all())


def _lacks_table(image: ImageFile, n_volumes: int) -> bool:
    if image.bval is None:
        return image.bvec is None or not _is_own(image, image.bvec.name)
    try:
        bvals, _ = read_bvals(image.bval)
    except BIDSDataError:
        return False
    return bvals.size != n_volumes and not _is_own(image, image.bval.name)


def _holds_weighted(image: ImageFile, n_volumes: int | None, b0_threshold: float) -> bool:
    """Whether the table of a field map tells of diffusion-weighted volumes, or directions, in it."""
    if image.bval is None:
        return False
    bvals, _ = read_bvals(image.bval)
    has_directions = image.bvec is not None and _is_own(image, image.bvec.name)
    return bvals.size == n_volumes and (has_directions or bool((bvals > b0_threshold).any()))


def _is_own(image: ImageFile, table: str) -> bool:
    return table.split(".")[0] == image.path.name.split(".")[0]


def is_sbref(image: ImageFile) -> bool:
    """Whether an image is a single-band reference, by its suffix."""
    return image.suffix == "sbref"


def _place(image: ImageFile) -> tuple[str, str]:
    return image.entities.get("sub", ""), image.entities.get("ses", "")


def _name_without(image: ImageFile, ignored: Sequence[str]) -> dict[str, str]:
    return {name: comparable(name, value) for name, value in image.entities.items() if name not in ignored}
