"""Groups anatomical images into repetitions and multi-echo sets; the others with a reason."""

from __future__ import annotations

from collections.abc import Sequence

from n2a_bids.contrasts import CONTRASTS, NEVER_DENOISED, Contrast
from n2a_bids.dataset.grouping.entities import describe, describe_kind, group_by, shared_entities
from n2a_bids.dataset.grouping.protocols import repeats_group, split_protocols
from n2a_bids.dataset.grouping.sidecar_duplicates import split_same_acquisition
from n2a_bids.dataset.read.acquisition import is_phase, positive_number
from n2a_bids.dataset.read.duplicate_files import same_name_reason, with_content_first
from n2a_bids.dataset.units import Collection, DenoisingUnit, Excluded, ImageFile
from n2a_bids.enumeration import enumerated

_DERIVED = ("space", "desc", "res", "den", "label", "seg", "hemi")
_OTHER_SIGNAL = ("inv", "flip", "mt")
SINGLE_REMEDY = "; --single denoises it by itself"
"""End of the reason against an image that was not repeated."""
_SAME_TIME = 0.02
"""Echo times of one echo differ by less, by rounding."""


def group_anat(images: Sequence[ImageFile], *, single: bool = False) -> Collection:
    """Find the groups among the anatomical images of any number of participants.

    Images of different suffix are never denoised together. Runs are repetitions of one signal and echoes are
    not, so where both vary (two runs of a multi-echo MPRAGE) the runs of each echo are denoised together:
    every strategy can take them, and all echoes come out denoised. Echoes pair with each other only where no
    echo has a second run.

    Parameters
    ----------
    images : sequence of ImageFile
        With the suffixes of `n2a_bids.contrasts`.
    single : bool
        Images that were not repeated are units by themselves, instead of being left out.

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
    found = [
        _group_one_contrast(
            [image for image in candidates if image.suffix == contrast.suffix], contrast, single
        )
        for contrast in CONTRASTS
    ]
    excluded += [item for part in found for item in part.excluded]
    units = [unit for part in found for unit in part.units]
    return Collection(tuple(units), tuple(sorted(excluded, key=lambda item: item.path)))


def _group_one_contrast(images: Sequence[ImageFile], contrast: Contrast, single: bool) -> Collection:
    candidates, copies = split_copies(images)
    named, processed = split_same_acquisition(candidates)
    candidates, unlike = split_protocols(named, repeats_group(contrast), ignoring=("run",))
    candidates, unlike_echoes = split_protocols(candidates, "anat-echoes", ignoring=("run", "echo"))
    excluded = [*copies, *processed, *unlike, *unlike_echoes]
    kept = {image.path for image in candidates}
    apart = [image for image in named if image.path not in kept]
    units = []
    for family in group_by(candidates, ignoring={"run", "echo"}):
        found = find_repeats(family) or find_echoes(family)
        units.extend(found)
        taken = {image.path for unit in found for image in unit.images}
        alone = [image for image in family if image.path not in taken]
        for image in alone:
            reason = _reason_alone(image, family, candidates) + _beside(image, family, apart)
            if any(_named_alike(unit, image) for unit in found):
                excluded.append(Excluded(image.path, f"{reason}; {_name_of_echoes(image)}"))
            elif single:
                units.append(_alone(image, reason))
            else:
                excluded.append(Excluded(image.path, f"{reason}{SINGLE_REMEDY}"))
    return Collection(tuple(units), tuple(excluded))


def _beside(image: ImageFile, family: Sequence[ImageFile], apart: Sequence[ImageFile]) -> str:
    """The images that its name would have put with one: why they do not fit is told of them."""
    ignored = {"run"} if len(family) > 1 else {"run", "echo"}
    names = [one.path.name for one in apart if len(group_by((image, one), ignored)) == 1]
    return f" ({enumerated(names, most=1)} left out, for a reason that is told there)" if names else ""


def _named_alike(unit: DenoisingUnit, image: ImageFile) -> bool:
    """Whether results of a unit and of an image would have one name: the last would replace the first."""
    own, its = ({key: one[key] for key in one if key != "part"} for one in (unit.entities, image.entities))
    return own == its


def _name_of_echoes(image: ImageFile) -> str:
    return (
        "what is made of the echoes gets its name; to denoise it instead of them, give --single and "
        f"--filter-{image.suffix.lower()} echo:none"
    )


def _alone(image: ImageFile, reason: str) -> DenoisingUnit:
    said = reason.removeprefix(f"{describe(image)}: ")
    reason = f"{said}: denoised by itself (--single)"
    return DenoisingUnit("anat-single", (image,), dict(image.entities), reason)


def reason_never_denoised(image: ImageFile) -> str:
    """Why an image can never be a repetition, or an empty string."""
    suffix, entities = image.suffix, image.entities
    if suffix in NEVER_DENOISED:
        return f"{suffix} {NEVER_DENOISED[suffix]}"
    if entities.get("part", "mag") != "mag":
        return f"part-{entities['part']} is no magnitude image"
    if is_phase(image.metadata):
        return "a phase image by its ImageType, no magnitude; name it part-phase"
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
    """Set apart files with the entities of another: ``.nii`` beside ``.nii.gz``, run-1 beside run-01."""
    kept, copies = [], []
    for members in group_by(images, ignoring=()):
        first, *others = with_content_first(members)
        kept.append(first)
        for copy in others:
            copies.append(Excluded(copy.path, f"{describe(copy)}: {same_name_reason(copy.path, first.path)}"))
    return kept, copies


def _reason_alone(image: ImageFile, family: Sequence[ImageFile], everything: Sequence[ImageFile]) -> str:
    if len(family) > 1:
        if any("echo" not in member.entities for member in family):
            return f"{describe(image)}: images with and without echo- are not repetitions of each other"
        return f"{describe(image)}: echo {image.entities['echo']} has one run, nothing to average"
    reason = f"{describe(image)}: one {describe_kind(image)}, nothing to average"
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
    return f"{reason} (other {image.suffix} of this session differ in {', '.join(differing)})"


def find_repeats(images: Sequence[ImageFile]) -> list[DenoisingUnit]:
    """Group images whose names differ in ``run`` only.

    Parameters
    ----------
    images : sequence of ImageFile
        Images of one suffix that may be repetitions (see `n2a_bids.dataset.grouping.anat`).

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
                    kind="anat-repeats",
                    images=members,
                    entities=entities,
                    reason=f"{len(members)} runs{of_echo}: the names differ in run only",
                )
            )
    return units


def find_echoes(images: Sequence[ImageFile]) -> list[DenoisingUnit]:
    """Group images whose names differ in ``echo`` only.

    Parameters
    ----------
    images : sequence of ImageFile
        Images of one suffix, without those that are already in a group of repeated runs.

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
                    kind="anat-echoes",
                    images=members,
                    entities=shared_entities(members),
                    reason=_reason_of_echoes(members),
                )
            )
    return units


def _reason_of_echoes(images: Sequence[ImageFile]) -> str:
    times = [positive_number(image.metadata.get("EchoTime")) for image in images]
    names = f"{len(images)} echoes: the names differ in echo only"
    if None in times or max(times) - min(times) > _SAME_TIME * max(times):
        return f"{names}, so the contrast differs"
    return (
        f"{names}, although all have the EchoTime {times[0]:g}: images of one contrast are better denoised "
        "as repetitions, with run- in place of echo-"
    )
