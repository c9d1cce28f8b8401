"""Decides on every T1w image: repetition, echo, or left out with the reason."""

from __future__ import annotations

from collections.abc import Sequence

from n2a_bids.dataset.group.entities import describe, group_by, shared_entities
from n2a_bids.dataset.group.protocols import split_protocols
from n2a_bids.dataset.group.sidecar_duplicates import split_same_acquisition
from n2a_bids.dataset.names import parse_name
from n2a_bids.dataset.units import Collection, DenoisingUnit, Excluded, ImageFile

_DERIVED = ("space", "desc", "res", "den", "label", "seg", "hemi")
_OTHER_SIGNAL = ("inv", "flip", "mt")


def group_t1w(images: Sequence[ImageFile]) -> Collection:
    """Find the groups among the T1w images of any number of participants.

    Runs are repetitions of one signal and echoes are not, so where both vary (two runs
    of a multi-echo MPRAGE) the runs of each echo are denoised together: every strategy
    can take them, and all echoes come out denoised. Echoes pair with each other only
    where no echo has a second run.

    Parameters
    ----------
    images : sequence of ImageFile
        With suffix T1w, UNIT1 or MP2RAGE.

    Returns
    -------
    collection : Collection
        Every image is either in one unit or among those left out.
    """
    excluded, candidates = [], []
    for image in images:
        reason = reason_never_denoised(image)
        if reason:
            excluded.append(Excluded(image.path, f"{describe(image)}: {reason}"))
        else:
            candidates.append(image)
    candidates, copies = split_copies(candidates)
    candidates, processed = split_same_acquisition(candidates)
    candidates, unlike = split_protocols(candidates, "t1w-repeats", ignoring=("run",))
    candidates, unlike_echoes = split_protocols(candidates, "t1w-echoes", ignoring=("run", "echo"))
    excluded += [*copies, *processed, *unlike, *unlike_echoes]
    units = []
    for family in group_by(candidates, ignoring={"run", "echo"}):
        found = find_repeats(family) or find_echoes(family)
        units.extend(found)
        taken = {image.path for unit in found for image in unit.images}
        alone = [image for image in family if image.path not in taken]
        excluded.extend(Excluded(image.path, _reason_alone(image, family, candidates)) for image in alone)
    return Collection(tuple(units), tuple(sorted(excluded, key=lambda item: item.path)))


def reason_never_denoised(image: ImageFile) -> str:
    """Why an image can never be a repetition, or an empty string."""
    _, suffix, _ = parse_name(image.path)
    entities = image.entities
    if suffix in ("UNIT1", "MP2RAGE"):
        return f"{suffix} belongs to MP2RAGE: its images are parts of one acquisition, never repetitions"
    if entities.get("part", "mag") != "mag":
        return f"part-{entities['part']} is no magnitude image"
    if "chunk" in entities:
        return f"chunk-{entities['chunk']} shows one part of the head: chunks are not repetitions"
    derived = [f"{name}-{entities[name]}" for name in _DERIVED if name in entities]
    if derived:
        return f"a derivative ({', '.join(derived)}): only images as acquired are repetitions"
    other = [f"{name}-{entities[name]}" for name in _OTHER_SIGNAL if name in entities]
    if other:
        return f"{', '.join(other)} marks one of several contrasts of a quantitative scan: not repetitions"
    return ""


def split_copies(images: Sequence[ImageFile]) -> tuple[list[ImageFile], list[Excluded]]:
    """Set apart files with the entities of another: ``.nii`` beside ``.nii.gz`` is one image, not two."""
    kept, copies = [], []
    for first, *others in group_by(images, ignoring=()):
        kept.append(first)
        for copy in others:
            reason = f"{describe(copy)}: the same image as {first.path.name} under another name or extension"
            copies.append(Excluded(copy.path, reason))
    return kept, copies


def _reason_alone(image: ImageFile, family: Sequence[ImageFile], everything: Sequence[ImageFile]) -> str:
    if len(family) > 1:
        if any("echo" not in member.entities for member in family):
            return f"{describe(image)}: images with and without echo- are not repetitions of each other"
        return f"{describe(image)}: echo {image.entities['echo']} has one run, nothing to average"
    marks = [f"{name}-{value}" for name, value in image.entities.items() if name not in ("sub", "ses")]
    reason = f"{describe(image)}: one T1w{' with ' + ' '.join(marks) if marks else ''}, nothing to average"
    where = describe(image)
    others = [other for other in everything if other is not image and describe(other) == where]
    if not others:
        return reason
    differing = sorted(
        {
            name
            for other in others
            for name in {*image.entities, *other.entities} - {"run", "echo"}
            if image.entities.get(name) != other.entities.get(name)
        }
    )
    return f"{reason} (other T1w of this session differ in {', '.join(differing)})"


def find_repeats(images: Sequence[ImageFile]) -> list[DenoisingUnit]:
    """Group T1w images whose names differ in ``run`` only.

    Parameters
    ----------
    images : sequence of ImageFile
        T1w images that may be repetitions (see `n2a_bids.dataset.group.anat`).

    Returns
    -------
    units : list of DenoisingUnit
        One per group of two or more; the same contrast is assumed within each.
    """
    units = []
    for members in group_by(images, ignoring={"run"}):
        if len(members) > 1:
            entities = shared_entities(members)
            of_echo = f" of echo {entities['echo']}" if "echo" in entities else ""
            units.append(
                DenoisingUnit(
                    kind="t1w-repeats",
                    images=members,
                    entities=entities,
                    reason=f"{len(members)} runs{of_echo}: the names differ in run only",
                )
            )
    return units


def find_echoes(images: Sequence[ImageFile]) -> list[DenoisingUnit]:
    """Group T1w images whose names differ in ``echo`` only.

    Parameters
    ----------
    images : sequence of ImageFile
        T1w images, without those that are already in a group of repeated runs.

    Returns
    -------
    units : list of DenoisingUnit
        One per group of two or more echoes; images without ``echo`` never join one,
        since they are combinations of echoes or other scans.
    """
    units = []
    with_echo = [image for image in images if "echo" in image.entities]
    for members in group_by(with_echo, ignoring={"echo"}):
        if len(members) > 1:
            units.append(
                DenoisingUnit(
                    kind="t1w-echoes",
                    images=members,
                    entities=shared_entities(members),
                    reason=f"{len(members)} echoes: the names differ in echo only, so the contrast differs",
                )
            )
    return units
