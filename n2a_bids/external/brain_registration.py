"""Registers two T1w brains rigidly with ANTs, in a child process."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from n2a_bids.algorithms.registration.placed_images import PlacedImage, find_start
from n2a_bids.algorithms.shading import shaded_alike
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.io.gaps import load_gaps
from n2a_bids.io.images import load, load_mask, save_like
from n2a_bids.io.transforms import read_itk_transform, write_itk_transform
from n2a_bids.system.child import run_ants


@dataclass(frozen=True, slots=True)
class BrainFiles:
    """One head, its brain mask, and the map of what was not measured, if there is one."""

    image: Path
    mask: Path
    gaps: str = ""


def register_brains(
    reference: BrainFiles,
    moving: BrainFiles,
    folder: Path,
    random_seed: int = 1,
    *,
    match_shading: bool = False,
) -> Path:
    """Find the motion between two brains by mutual information, from a coarse search.

    The sampling is regular, the seed fixed and there is one thread: equal inputs give equal bits.

    Parameters
    ----------
    folder : Path
        For the files of the registration.
    random_seed : int
        Seed of the registration by ANTs.
    match_shading : bool
        Whether images whose shading differs notably are registered again with the same: a head at 3 T with
        and without prescan normalisation came to lie 0.3 mm beside itself.

    Returns
    -------
    transform : Path
        ITK text file: reference world to moving world.
    """
    initial, out_transform = folder / "first_guess.txt", folder / "rigid.txt"
    still, other = _placed(reference), _placed(moving)
    write_itk_transform(find_start(still, other).matrix, initial)
    _register(reference, moving, initial, out_transform, random_seed)
    if match_shading:
        matched = shaded_alike(still, other, Affine(read_itk_transform(out_transform)))
        if matched is not other:
            shaded = save_like(matched.image, moving.image, folder / "same_shading.nii.gz")
            _register(reference, replace(moving, image=shaded), out_transform, out_transform, random_seed)
    return out_transform


def _register(
    reference: BrainFiles, moving: BrainFiles, initial: Path, out_transform: Path, random_seed: int
) -> None:
    """Register by ANTs, from one transform to another."""
    files = {
        "fixed": os.fspath(reference.image),
        "moving": os.fspath(moving.image),
        "fixed_mask": os.fspath(reference.mask),
        "fixed_gaps": reference.gaps,
        "moving_gaps": moving.gaps,
        "initial": os.fspath(initial),
        "out_file": os.fspath(out_transform),
    }
    run_ants("rigid", files, out_transform.parent, random_seed=random_seed)


def _placed(head: BrainFiles) -> PlacedImage:
    image, affine = load(head.image)
    gaps = load_gaps(head.gaps)
    measured = None if gaps is None else gaps.measured
    return PlacedImage(image, affine, load_mask(head.mask, head.image), measured)
