"""``n2a_bids.align`` and ``n2a_bids.brain_mask``: Python functions for anatomical repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.api.aligned_files import (
    RANDOM_SEED,
    AlignmentOptions,
    align_files,
    refuse_series,
    run_interface,
)
from n2a_bids.api.arguments import image_list, input_folder, whole_number
from n2a_bids.api.images import ImageLike, in_memory, write_inputs, write_mask
from n2a_bids.config import AlignConfig
from n2a_bids.config.options import check_choices
from n2a_bids.interfaces.anat.mask import BrainMask
from n2a_bids.interfaces.gaps import FindGaps
from n2a_bids.io.transforms import read_itk_transform
from n2a_bids.record.alignment import AlignmentRecord


@dataclass(frozen=True, slots=True)
class Aligned:
    """Repetitions that were brought to one grid, with their brain mask and transforms."""

    images: tuple[nb.Nifti1Image, ...]
    """Accepted repetitions, float32 where they were interpolated."""
    mask: nb.Nifti1Image
    """Brain."""
    common_mask: nb.Nifti1Image
    """Brain inside the field of view of every accepted repetition."""
    transforms: tuple[NDArray[np.float64], ...]
    """(4, 4) each: world of the result to world of the repetition, RAS+ mm."""
    accepted: tuple[int, ...]
    """Which of the images they are, from 0."""
    record: AlignmentRecord
    """Motion and quality of every repetition, and why those that are left out are."""
    warnings: tuple[str, ...] = field(default=())


def align(
    images: Sequence[ImageLike],
    mask: ImageLike | None = None,
    *,
    space: str = "reference",
    different_contrast: bool = False,
    random_seed: int = RANDOM_SEED,
    threads: int = 1,
) -> Aligned:
    """Bring repetitions of an anatomical image onto one grid, each by one rigid motion and one interpolation.

    The grid is that of the best repetition. What does not fit the others, is a copy of one of them, or makes
    the mean of three or more worse by more than noise, is left out and named in the record.

    Parameters
    ----------
    images : sequence of image
        Two or more heads of one person: paths, images of nibabel, or (array, affine).
    mask : image, optional
        Brain of one of the images, which is the reference then: the one that has its grid, else the first.
        By default it is found in each.
    space : {"reference", "midspace"}
        Grid of the best repetition as it lies, or moved to the middle between all.
    different_contrast : bool
        Echoes: intensities need not agree, and shading is left as it is.
    random_seed : int
        Seed of the registration by ANTs.
    threads : int
        Threads that the brain extraction may use.

    Returns
    -------
    aligned : Aligned

    Raises
    ------
    BIDSDataError
        If something is no image, shows no brain, or fewer than two fit together.
    ConfigError
        If there is no such space.
    """
    config = AlignConfig(space=space)
    check_choices(config)
    threads, random_seed = whole_number(threads, "threads", 1), whole_number(random_seed, "random_seed")
    with input_folder("align") as folder:
        given = None if mask is None else write_mask(mask, folder)
        how = AlignmentOptions(given, config, not different_contrast, random_seed, threads)
        found = align_files(write_inputs(image_list(images), folder), folder, how)
        return Aligned(
            tuple(map(in_memory, found.runs)),
            in_memory(found.brain_mask),
            in_memory(found.common_mask),
            tuple(map(read_itk_transform, found.transforms)),
            found.accepted,
            found.record,
            found.warnings,
        )


def brain_mask(image: ImageLike, *, threads: int = 1) -> nb.Nifti1Image:
    """Find the brain in a head, of any contrast, with deepbet.

    Parameters
    ----------
    image : image
        Path, image of nibabel, or (array, affine); three axes.
    threads : int
        Of torch, in a process of its own.

    Returns
    -------
    mask : Nifti1Image
        uint8, 1 in the brain, on the grid of the image.

    Raises
    ------
    BIDSDataError
        If it is no image, or shows no brain.
    """
    threads = whole_number(threads, "threads", 1)
    with input_folder("mask") as folder:
        (path,) = write_inputs([image], folder)
        refuse_series([path])
        (plain,) = run_interface(FindGaps(in_files=[str(path)]), folder / "gaps").out_files
        return in_memory(
            Path(run_interface(BrainMask(in_file=plain, threads=threads), folder / "0").out_mask)
        )
