"""Least memory (GB) that images need, by their headers, and exclusion of what is too large."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from n2a_bids.config import SelectionConfig
from n2a_bids.dataset.grouping.sound_groups import regroup_sound_images
from n2a_bids.dataset.read.files import has_content, open_nifti
from n2a_bids.dataset.read.micrographs import count_pages
from n2a_bids.dataset.units import Collection, DenoisingUnit, Excluded, ImageFile
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrograph_pixels import is_micrograph

_COPIES = 2.0
"""The images themselves in single precision, and the array in which they are put together."""
_BYTES_OF_EXPOSURE, _BYTES_OF_RESULT = 10, 28
"""Of each value of a micrograph, for each exposure and for the results."""
_BYTES_OF_FRAME = 4
"""Of each value of frames, which are summed as they are stored."""
_REMEDY = "give more with --mem, on a machine that has it, or leave the image out with --bids-filter-file"


def least_memory_gb(images: Sequence[Path], n_frame_groups: int = 0) -> float:
    """Memory below which images cannot be denoised together, whatever the settings.

    Parameters
    ----------
    images : sequence of Path
        Those that have no readable header count nothing: their own check names them.
    n_frame_groups : int
        As in `exposures_gb`.

    Returns
    -------
    memory_gb : float
        In units of 1024**3 bytes.
    """
    exposed_gb = exposures_gb(images, n_frame_groups)
    return exposed_gb or _COPIES * 4 * sum(_n_values(Path(path)) for path in images) / 1024**3


def exposures_gb(images: Sequence[Path], n_frame_groups: int = 0) -> float:
    """Memory that exposures of a microscope take together, but for what does not grow with them; 0 of others.

    Measured, not the least that might do: all exposures are held in single precision beside their files.

    Parameters
    ----------
    n_frame_groups : int
        Groups to which the pages of each image are summed; 0 where they are no frames.

    Returns
    -------
    memory_gb : float
        In units of 1024**3 bytes.
    """
    exposures = [Path(path) for path in images if is_micrograph(Path(path))]
    if not exposures:
        return 0.0
    # Datasets of heads do without the libraries that read micrographs.
    from n2a_bids.io.micrographs import count_values

    sizes, n_frame_values = [count_values(path) for path in exposures], 0
    if n_frame_groups:
        n_frame_values = sum(sizes)
        sizes = [
            size // count_pages(path) for path, size in zip(exposures, sizes) for _ in range(n_frame_groups)
        ]
    held = _BYTES_OF_FRAME * n_frame_values + _BYTES_OF_EXPOSURE * sum(sizes)
    return (held + _BYTES_OF_RESULT * max(sizes, default=0)) / 1024**3


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


def _n_values(path: Path) -> int:
    try:
        return math.prod(open_nifti(path).shape) if has_content(path) else 0
    except BIDSDataError:
        return 0
