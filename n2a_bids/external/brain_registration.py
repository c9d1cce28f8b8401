"""Registers two T1w brains rigidly with ANTs, in a child process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from n2a_bids.algorithms.registration.rigid import first_guess
from n2a_bids.io.images import load, load_mask
from n2a_bids.io.transforms import write_itk_transform
from n2a_bids.system.child import run_ants


@dataclass(frozen=True, slots=True)
class BrainFiles:
    """One head, its brain mask, and the map of what was not measured, if there is one."""

    image: Path
    mask: Path
    gaps: str = ""


def register_brains(reference: BrainFiles, moving: BrainFiles, folder: Path, random_seed: int = 1) -> Path:
    """Find the motion between two brains by mutual information, from a coarse search.

    The sampling is regular, the seed fixed and there is one thread: equal inputs give equal bits.

    Parameters
    ----------
    folder : Path
        For the files of the registration.
    random_seed : int
        Of ANTs.

    Returns
    -------
    transform : Path
        ITK text file: reference world to moving world.
    """
    initial, out_transform = folder / "first_guess.txt", folder / "rigid.txt"
    fixed_brain, moving_brain = (
        (load(head.image)[0] * load_mask(head.mask, head.image), load(head.image)[1])
        for head in (reference, moving)
    )
    write_itk_transform(first_guess(*fixed_brain, *moving_brain), initial)
    files = {
        "fixed": os.fspath(reference.image),
        "moving": os.fspath(moving.image),
        "fixed_mask": os.fspath(reference.mask),
        "fixed_gaps": reference.gaps,
        "moving_gaps": moving.gaps,
        "initial": os.fspath(initial),
        "out_file": os.fspath(out_transform),
    }
    run_ants("rigid", files, folder, random_seed=random_seed)
    return out_transform
