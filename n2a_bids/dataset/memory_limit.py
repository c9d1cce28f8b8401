"""Leaves out images, and groups of images, that the memory cannot hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from n2a_bids.config import SelectionConfig
from n2a_bids.dataset.grouping.sound_groups import regroup_sound_images
from n2a_bids.dataset.read.image_memory import least_memory_gb
from n2a_bids.dataset.units import Collection, DenoisingUnit, Excluded, ImageFile

_REMEDY = "give more with --mem, on a machine that has it, or leave the image out with --bids-filter-file"


def leave_out_too_large(collection: Collection, selection: SelectionConfig, memory_gb: float) -> Collection:
    """Leave out images, and groups of images, that the memory cannot hold.

    Parameters
    ----------
    collection : Collection
        Everything found.
    selection : SelectionConfig
        How the remaining images are grouped.
    memory_gb : float
        What may be used.

    Returns
    -------
    collection : Collection
        What is too large is left out with ``is_error=True``, with the memory it takes and what there is.
    """
    n_groups = {
        image.path: selection.micr_frames or 0
        for unit in collection.units
        for image in unit.images
        if unit.is_movie
    }

    def problem(image: ImageFile) -> str:
        words = f"{image.path}: expected an image"
        return _problem(words, [image.path], n_groups.get(image.path, 0), memory_gb)

    def problem_of_unit(unit: DenoisingUnit) -> str:
        paths = [image.path for image in unit.images]
        words = f"{unit.label}: expected {len(paths)} images"
        return _problem(words, paths, n_groups.get(paths[0], 0), memory_gb)

    images = [image for unit in collection.units for image in unit.images]
    if any(problem(image) for image in images):
        found = regroup_sound_images(collection.units, selection, problem, lambda image: None)
        collection = Collection(found.units, (*collection.excluded, *found.excluded))
    too_large = {unit.label: reason for unit in collection.units if (reason := problem_of_unit(unit))}
    kept = tuple(unit for unit in collection.units if unit.label not in too_large)
    others = [
        Excluded(image.path, too_large[unit.label], is_error=True)
        for unit in collection.units
        if unit.label in too_large
        for image in unit.images
    ]
    return Collection(kept, tuple(sorted((*collection.excluded, *others), key=lambda item: item.path.parts)))


def _problem(words: str, images: Sequence[Path], n_frame_groups: int, memory_gb: float) -> str:
    needed_gb = least_memory_gb(images, n_frame_groups)
    if needed_gb <= memory_gb:
        return ""
    return (
        f"{words} that fit into the {memory_gb:.1f} GB of memory that may be used, found some that take "
        f"{needed_gb:.1f} GB at least, by their headers; {_REMEDY}"
    )
