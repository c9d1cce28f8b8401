"""Loads the images of a report figure: RAS order, one grid, cropped to the brain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.transforms import Affine, voxel_sizes_mm
from n2a_bids.viz import Frame, crop_to_mask


@dataclass(frozen=True, slots=True)
class Scene:
    """Volumes on one grid and what they have in common."""

    volumes: tuple[NDArray[np.float32], ...]
    """(X, Y, Z) or, where all volumes of a series were asked for, (X, Y, Z, N)."""
    frame: Frame
    affine: NDArray[np.float64]
    """From voxels of the volumes to the world, mm."""


def load_display(
    files: Sequence[str | Path],
    mask_file: str | Path,
    volume: int | None = 0,
    *,
    margin_mm: float = 5.0,
) -> Scene:
    """Load images for a figure.

    Parameters
    ----------
    files : sequence of paths
        Images; one on another grid than the mask is resampled linearly, for display only.
    mask_file : path
        Brain mask: its grid, in RAS order and cropped to the brain, is the one shown.
    volume : int or None
        Volume taken of 4D images; ``None`` takes all.
    margin_mm : float
        How far beyond the brain the grid reaches; an infinite margin keeps the whole image.

    Returns
    -------
    scene : Scene
        Volumes in the order of `files`.
    """
    mask_image = nb.as_closest_canonical(nb.load(mask_file))
    mask = np.asanyarray(mask_image.dataobj).reshape(mask_image.shape[:3]) > 0
    # pixdim may say otherwise where the sform places the voxels.
    voxel_size_mm = voxel_sizes_mm(mask_image.affine)
    if not mask.any():
        mask = np.ones_like(mask)
    box = (slice(None),) * 3
    if np.isfinite(margin_mm):
        box = crop_to_mask(mask, voxel_size_mm, margin_mm)
    affine = mask_image.affine @ nb.affines.from_matvec(np.eye(3), [part.start or 0 for part in box])
    frame = Frame(mask[box], voxel_size_mm, tuple(float(value) for value in affine[:3, 3]))
    volumes = tuple(_on_grid(nb.load(path), frame.mask.shape, affine, volume) for path in files)
    return Scene(volumes, frame, affine)


def _on_grid(
    image: nb.spatialimages.SpatialImage, shape: tuple[int, int, int], affine: NDArray, volume: int | None
) -> NDArray[np.float32]:
    """The part of an image that lies on a grid, without interpolation where the grids agree."""
    if len(image.shape) > 4:
        image = nb.squeeze_image(image)
    if len(image.shape) == 4 and volume is not None:
        image = image.slicer[..., min(volume, image.shape[3] - 1)]
    image = nb.as_closest_canonical(image)
    data = np.asarray(image.dataobj, dtype=np.float32)
    to_voxels = Affine().between_voxels(affine, image.affine)
    start = np.round(to_voxels[:3, 3]).astype(int)
    same_grid = np.allclose(to_voxels[:3, :3], np.eye(3), atol=1e-3) and np.allclose(
        to_voxels[:3, 3], start, atol=1e-2
    )
    if same_grid and (start >= 0).all() and (start + shape <= data.shape[:3]).all():
        return data[tuple(slice(first, first + extent) for first, extent in zip(start, shape, strict=True))]
    channels = data.reshape(*data.shape[:3], -1)
    resampled = [
        ndimage.affine_transform(channels[..., channel], to_voxels[:3, :3], to_voxels[:3, 3], shape, order=1)
        for channel in range(channels.shape[3])
    ]
    return np.stack(resampled, axis=-1).reshape(*shape, *data.shape[3:])


def map_of_volumes(shells: NDArray[np.float64]) -> NDArray[np.intp]:
    """Map of the expected error that belongs to each volume: one for each shell, in rising order."""
    return np.unique(shells, return_inverse=True)[1]
