"""Groups micrographs: exposures of one field of view, or the frames of one file."""

from __future__ import annotations

from collections.abc import Sequence

from n2a_bids.dataset.grouping.entities import describe, describe_kind, group_by, shared_entities
from n2a_bids.dataset.read.duplicate_files import same_name_reason, with_content_first
from n2a_bids.dataset.read.micrographs import count_pages
from n2a_bids.dataset.units import Collection, DenoisingUnit, Excluded, ImageFile

_DERIVED = ("desc", "space", "res", "label", "seg")


def group_micr(images: Sequence[ImageFile], n_frame_groups: int | None = None) -> Collection:
    """Find the groups among micrographs.

    Parameters
    ----------
    images : sequence of ImageFile
        Of any number of participants and kinds of microscope.
    n_frame_groups : int, optional
        Files of several pages are groups by themselves: their pages are frames, summed to so many.

    Returns
    -------
    collection : Collection
        Exposures differ in ``run`` alone: another ``chunk`` is another field of view, another sample, stain
        or acquisition another image.
    """
    excluded, units = [], []
    for suffix in dict.fromkeys(image.suffix for image in images):
        candidates = []
        for image in (one for one in images if one.suffix == suffix):
            derived = [f"{name}-{image.entities[name]}" for name in _DERIVED if name in image.entities]
            if derived:
                reason = f"a derivative ({', '.join(derived)}): only images as acquired are repetitions"
                excluded.append(Excluded(image.path, f"{describe(image)}: {reason}"))
            else:
                candidates.append(image)
        for members in group_by(candidates, ignoring={"run"}):
            found = _group(members, n_frame_groups)
            units += found.units
            excluded += found.excluded
    return Collection(tuple(units), tuple(sorted(excluded, key=lambda item: item.path)))


def _group(members: Sequence[ImageFile], n_frame_groups: int | None) -> Collection:
    """Units among files that differ in ``run`` alone."""
    units, excluded, single_pages = [], [], []
    for alike in group_by(members, ignoring=()):
        first, *copies = with_content_first(alike)
        n_pages = count_pages(first.path) if n_frame_groups else 1
        if n_frame_groups and n_pages > 1:
            reason = f"{n_pages} frames in one file: --micr-frames sums them to {n_frame_groups}, interleaved"
            units.append(DenoisingUnit("micr-frames", (first,), dict(first.entities), reason))
        else:
            single_pages.append(first)
        for copy in copies:
            reason = same_name_reason(copy.path, first.path)
            excluded.append(Excluded(copy.path, f"{describe(copy)}: {reason}"))
    if len(single_pages) > 1:
        reason = f"{len(single_pages)} exposures: the names differ in run only"
        entities = shared_entities(single_pages)
        excluded += [_same_name(unit.images[0]) for unit in units if unit.entities == entities]
        units = [unit for unit in units if unit.entities != entities]
        units.append(DenoisingUnit("micr-repeats", tuple(single_pages), entities, reason))
    else:
        excluded += [Excluded(image.path, _reason_alone(image, n_frame_groups)) for image in single_pages]
    return Collection(tuple(units), tuple(excluded))


def _same_name(image: ImageFile) -> Excluded:
    """Of two results with one name, the last would replace the first."""
    reason = "what is made of the exposures beside it gets its name; give it a run- of its own"
    return Excluded(image.path, f"{describe(image)}: {reason}")


def _reason_alone(image: ImageFile, n_frame_groups: int | None) -> str:
    hint = ""
    if n_frame_groups:
        hint = "; it has one page (channels are none), so that --micr-frames finds no frames in it"
    elif (n_pages := count_pages(image.path)) > 1:
        hint = f"; if its {n_pages} pages are frames, --micr-frames 2 uses them"
    return f"{describe(image)}: one exposure of {describe_kind(image)}, nothing to average{hint}"
