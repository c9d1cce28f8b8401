"""Gaussian blur and gradient inside a mask: voxels outside do not count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.gaussian import gaussian_blur

Volume = NDArray[np.floating]
"""(X, Y, Z) float array."""
Mask = NDArray[np.bool_]
"""(X, Y, Z) bool array."""


def check_grids(mask: Mask, *images: Volume) -> None:
    """Raise ValueError unless every image lies on the grid of a mask that is not empty."""
    for image in images:
        if image.shape != mask.shape:
            raise ValueError(f"image grid {image.shape} is not the mask grid {mask.shape}")
    if not mask.any():
        raise ValueError("the mask is empty")


def bounding_box(mask: Mask, margin: int | Sequence[int] = 0) -> tuple[slice, ...]:
    """Smallest box of slices that holds the whole mask, with a margin where the image has that much.

    Parameters
    ----------
    mask : bool array
        Not empty.
    margin : int or one for each axis
        Voxels.

    Examples
    --------
    >>> mask = np.zeros((9, 9), dtype=bool)
    >>> mask[4, 7] = True
    >>> bounding_box(mask, margin=(1, 2))
    (slice(3, 6, None), slice(5, 9, None))
    """
    margins, box = np.broadcast_to(margin, mask.ndim).tolist(), []
    for axis, (extra, size) in enumerate(zip(margins, mask.shape)):
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(max(int(inside[0]) - extra, 0), min(int(inside[-1]) + 1 + extra, size)))
    return tuple(box)


def box_within(box: Sequence[slice], outer: Sequence[slice]) -> tuple[slice, ...]:
    """A box in the voxels of a larger one that holds it.

    Examples
    --------
    >>> box_within([slice(5, 9)], [slice(3, 12)])
    (slice(2, 6, None),)
    """
    return tuple(
        slice(own.start - its.start, own.stop - its.start) for own, its in zip(box, outer, strict=True)
    )


def largest_piece(mask: Mask) -> Mask:
    """Return the largest of the pieces whose voxels touch by their faces; nothing of an empty mask."""
    pieces, count = ndimage.label(mask)
    if count == 0:
        return np.zeros(mask.shape, dtype=bool)
    return pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])


def without_rim(inside: Mask) -> Mask:
    """Return the mask without its outermost two voxels, or itself where that leaves nothing."""
    inner = ndimage.binary_erosion(inside, iterations=2)
    return inner if inner.any() else inside


def blur(image: Volume, sd_voxels: float | Sequence[float]) -> Volume:
    """Gaussian blur with zeros beyond the array."""
    return gaussian_blur(image, sd_voxels, 3.5, "constant")


def blur_in_mask(image: Volume, inside: Mask, sd_voxels: float | Sequence[float]) -> Volume:
    """Gaussian average over the voxels of the mask only; zero outside."""
    weight = blur(inside.astype(np.float32), sd_voxels)
    total = blur(np.where(inside, image, 0).astype(np.float32), sd_voxels)
    return np.divide(total, weight, out=np.zeros_like(total), where=inside)


def gradient(image: Volume, voxel_size_mm: Sequence[float]) -> list[Volume]:
    """Central differences per mm along each axis; zero along axes of one voxel."""
    return [
        np.gradient(image, float(size), axis=axis) if image.shape[axis] > 1 else np.zeros_like(image)
        for axis, size in enumerate(voxel_size_mm)
    ]


def magnitude(slopes: Sequence[Volume]) -> Volume:
    """Length of the vector whose components are given."""
    return np.sqrt(sum(slope * slope for slope in slopes))
