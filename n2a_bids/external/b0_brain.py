"""Brain mask of a b0: by a network for any contrast, deepbet, a template, or Otsu's threshold (dipy)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from dipy.segment.mask import median_otsu
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.masked_filters import largest_piece
from n2a_bids.algorithms.quality.mask_checks import dice
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.external.network_brain import find_by_network
from n2a_bids.external.t1w_brain import packaged_template
from n2a_bids.io.gradients import superior_axis
from n2a_bids.io.images import load
from n2a_bids.system.child import run_ants, run_module

Method = Literal["auto", "deepbet", "network", "template", "otsu"]

_LEAST_OVERLAP = 0.7
"""Dice coefficient of the masks by a network and by threshold, at least 0.9 on eight real b0s, although
the threshold had cut the brain stem, temporal poles or orbitofrontal lobe away in six."""

_BRAIN_VOLUME_ML = (100.0, 2600.0)
"""A slab of a brain, and the largest brain, with a margin for poor masks."""


@dataclass(frozen=True, slots=True)
class B0Brain:
    """A brain mask, and what is to be said of how it came about."""

    mask: NDArray[np.bool_]
    warning: str = ""


def find_brain(b0: NDArray[np.float32], superior: int = 2) -> NDArray[np.bool_]:
    """Brain in a b0 image.

    Parameters
    ----------
    b0 : (X, Y, Z) array
    superior : int
        Array axis from feet to head: holes are filled in each slice across it.

    Returns
    -------
    mask : (X, Y, Z) bool array
        One piece without holes.
    """
    _, mask = median_otsu(b0, median_radius=2, numpass=2)
    largest = largest_piece(ndimage.binary_opening(mask))
    if not largest.any():
        return mask
    filled = ndimage.binary_dilation(largest) & mask
    cuts = [ndimage.binary_fill_holes(cut) for cut in np.moveaxis(filled, superior, 0)]
    return np.stack(cuts, axis=superior)


def find_b0_brain(b0_file: Path, method: Method, folder: Path, *, random_seed: int = 1) -> B0Brain:
    """Find the brain in a b0.

    Parameters
    ----------
    b0_file : Path
        Mean b0.
    method : {"auto", "deepbet", "network", "template", "otsu"}
        ``auto`` is the network; the threshold stands in, with a warning, where the network finds no brain,
        or something else than what is bright.
    folder : Path
        For intermediate files.
    random_seed : int
        Seed of the registration by ANTs.

    Returns
    -------
    brain : B0Brain
        With an empty mask where nothing was found.
    """
    b0, affine = load(b0_file)
    target = folder / "found_brain.nii.gz"
    if method == "otsu":
        return B0Brain(find_brain(b0, superior_axis(affine)))
    if method in ("auto", "network"):
        found = find_by_network(b0, affine)
        return B0Brain(found) if method == "network" else _or_bright(found, b0, affine)
    if method == "template":
        template, template_brain = packaged_template(folder)
        images = {"image": b0_file, "template": template, "template_brain": template_brain}
        files = {name: os.fspath(path) for name, path in images.items()} | {"out_file": os.fspath(target)}
        run_ants("template_mask", files, folder, random_seed=random_seed)
        return B0Brain(load(target)[0] > 0.5)
    run_module("n2a_bids.external.deepbet", [b0_file, target, 1, "any"])
    return B0Brain(load(target)[0] > 0.5)


def _or_bright(found: NDArray[np.bool_], b0: NDArray[np.float32], affine: NDArray[np.float64]) -> B0Brain:
    bright = find_brain(b0, superior_axis(affine))
    overlap = dice(found, bright)
    if overlap >= _LEAST_OVERLAP or not bright.any():
        return B0Brain(found)
    return B0Brain(
        bright,
        "the brain mask is that of a threshold, because what the network found in the mean b0 "
        f"({found.sum()} voxels) is not what is bright there ({bright.sum()} voxels, Dice coefficient "
        f"{overlap:.2f}): look at its contours",
    )


def volume_problem(
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    path: Path,
    *,
    remedy: str = "of an animal bring a mask by --derivatives, of a human head try another --dwi-mask-method",
) -> str:
    """Say that a mask is too small or too large for a brain, with the remedy; empty if it can be one.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    affine : (4, 4) array
        Voxel to world mm.
    path : Path
        Of the series, for the message.
    remedy : str
        What brings another mask.
    """
    volume_ml = float(mask.sum() * np.prod(voxel_sizes_mm(affine)) / 1000)
    low, high = _BRAIN_VOLUME_ML
    if low <= volume_ml <= high:
        return ""
    return (
        f"{path}: expected a brain of {low:g} to {high:g} ml in the mean b0, found {volume_ml:.0f} ml; look "
        f"at the b0 volumes and the voxel size; {remedy}"
    )
