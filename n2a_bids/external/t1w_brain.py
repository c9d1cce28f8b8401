"""Brain mask of a T1w image by deepbet, and whether a mask can be a brain at all (volume in ml)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from n2a_bids.algorithms.quality.mask_checks import shows_structure
from n2a_bids.algorithms.registration.rigid_fit import size_factor
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.images import load
from n2a_bids.system.child import run_module

_BRAIN_VOLUME_ML = (200.0, 2600.0)
"""Smallest newborn and largest adult brains, with a wide margin for poor masks."""
_FEWEST_VOXELS = 500
"""Of a brain that could be aligned at all."""
GIVE_A_MASK = "give a mask of your own (n2a: --derivatives NAME=PATH; n2a-tools denoise: --mask)"
"""What to do about a brain that was not found, in the words of both commands."""
_LOOK = (
    "look at the image: where its header turns the head, so that the face is not in front, convert it again; "
    f"of an animal, or of a head that lies well, {GIVE_A_MASK}"
)


def write_brain_mask(image: Path, mask: Path, threads: int = 1) -> Path:
    """Write the brain mask that deepbet, in a process of its own without GPU, finds in a head.

    Parameters
    ----------
    image : Path
        Head, of any contrast.
    mask : Path
        uint8 image to write, on the grid of the head.
    threads : int
        Threads that torch may use.

    Raises
    ------
    BIDSDataError
        If what was found is no brain: see `check_brain`.
    """
    run_module("n2a_bids.external.deepbet", [image, mask, threads], threads=threads)
    return check_brain(mask, image, "deepbet")


def check_brain(mask: Path, image: Path, source: str) -> Path:
    """The mask itself, if it can be that of a human brain.

    Parameters
    ----------
    mask : Path
        On the grid of the image.
    image : Path
        Head.
    source : str
        Where the mask is from, in a few words.

    Raises
    ------
    BIDSDataError
        If the mask is too small or too large for a brain, or the image shows nothing but noise in it.
    """
    return _check(mask, image, source, _BRAIN_VOLUME_ML, _LOOK)


def check_given_mask(mask: Path, image: Path, given: Path) -> Path:
    """The mask itself, if it can be that of any brain: users may bring those of animals.

    Parameters
    ----------
    mask : Path
        On the grid of the image.
    image : Path
        Head.
    given : Path
        The mask that the user brought.

    Raises
    ------
    BIDSDataError
        If the mask has too few voxels or is too large, or the image shows nothing but noise in it.
    """
    count = int(np.count_nonzero(load(mask)[0] > 0.5))
    if 0 < count < _FEWEST_VOXELS:
        raise BIDSDataError(
            f"{image}: expected a brain of {_FEWEST_VOXELS} voxels or more in {given}, found {count}; "
            "look whether it lies on the head, and at the voxel sizes of both"
        )
    volume_ml = (0.0, _BRAIN_VOLUME_ML[1])
    return _check(mask, image, str(given), volume_ml, "look whether the mask lies on the brain of the image")


def _check(mask: Path, image: Path, source: str, volumes_ml: tuple[float, float], remedy: str) -> Path:
    """The mask itself, if its volume lies in a range and there is anatomy in it."""
    data, affine = load(mask)
    inside, sizes_mm = data > 0.5, voxel_sizes_mm(affine)
    volume_ml = float(np.count_nonzero(inside) * np.prod(sizes_mm) / 1000)
    low, high = volumes_ml
    if not low <= volume_ml <= high or volume_ml == 0:
        found = "an empty mask" if volume_ml == 0 else f"{volume_ml:.0f} ml"
        raise BIDSDataError(
            f"{image}: expected a brain of {low:.0f} to {high:.0f} ml, found {found} by {source}; {remedy}"
        )
    # Structure is smaller in small brains.
    as_in_large = np.array(sizes_mm) / size_factor(inside, sizes_mm)
    is_structured, correlation = shows_structure(load(image)[0], inside, as_in_large)
    if not is_structured:
        raise BIDSDataError(
            f"{image}: expected a brain in the mask by {source}, found noise alone: voxels 8 mm apart are no "
            f"more alike than by chance (correlation {correlation:.3f}); {remedy}"
        )
    return mask


def packaged_template(folder: Path) -> tuple[Path, Path]:
    """ICBM 152 (2009a, symmetric, nonlinear) brain that nilearn carries, and its mask, written to a folder.

    Its T1w image holds the brain only, so the mask is what is not zero.
    """
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    template, mask = folder / "template.nii.gz", folder / "template_mask.nii.gz"
    load_mni152_template(resolution=1).to_filename(template)
    load_mni152_brain_mask(resolution=1).to_filename(mask)
    return template, mask
