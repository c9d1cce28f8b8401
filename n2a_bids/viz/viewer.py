"""Encodes images for the viewer page, 8 bit and small enough; the page: ``data/templates/viewer.html``."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import nibabel as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.record.viewer import ViewerImage, ViewerRecord
from n2a_bids.viz.view import crop_to_mask, grey_window

MARGIN_MM = 4.0
"""How far beyond the brain mask is shown: errors of the mask can be seen, a face cannot."""
LARGEST_CHARACTERS = 13_500_000
"""Of the images of one unit: with library and page they stay below 15 MB."""
_ATTEMPTS = ((256, 1), (128, 1), (64, 1), (32, 1), (128, 2), (32, 2), (32, 4))
"""Grey levels and coarsening, tried in this order. Noise of a few levels hides coarser steps: they come
before coarser voxels, which would change how noise looks."""
_MAP_LEVELS = 32
"""Of residual and maps: steps of a fifth of the SD of a residual."""
_HEADROOM = 0.35
"""Intensities above the window that are kept, as part of it: vessels and fat can be made to show."""

_HEAD_BRIGHTNESS = 0.2
"""Of the median of the brain: skin and fat are brighter, smoothed noise of the air is darker."""
_PALETTE_OF_MAPS = "inferno"


@dataclass(frozen=True, slots=True)
class ViewerGroup:
    """The images of one volume: (X, Y, Z) arrays in RAS order, all on one grid."""

    mean: NDArray[np.float32]
    denoised: NDArray[np.float32]
    name: str = ""
    """Which volume of a series it is; empty for images of one volume."""
    repetition: NDArray[np.float32] | None = None
    """One aligned repetition; None where nothing was repeated."""
    noise_sd: NDArray[np.float32] | None = None
    uncertainty: NDArray[np.float32] | None = None
    before: str = "mean"
    """What the image before denoising is called."""
    same_contrast: bool = True
    """Whether the repetition has the contrast of the mean; otherwise it has a grey window of its own."""


@dataclass(frozen=True, slots=True)
class _Volume:
    """One volume, and how it is shown."""

    name: str
    values: NDArray[np.float32]
    window: tuple[float, float]
    palette: str
    is_image: bool = False
    """Whether it is an image, of which there may be more than the brain, and not a residual or a map."""
    outside: float = 0.0
    """Value beyond the brain: no difference, or black."""


def shown_region(
    mask: NDArray[np.bool_], voxel_size_mm: Sequence[float], margin_mm: float = MARGIN_MM
) -> NDArray[np.bool_]:
    """Voxels that may be shown without the head: the brain mask and what lies next to it.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
        Brain mask.
    voxel_size_mm : three floats
        Edge lengths of a voxel.
    margin_mm : float
        Added on each side.

    Returns
    -------
    region : (X, Y, Z) bool array

    Examples
    --------
    >>> mask = np.zeros((9, 9, 9), dtype=bool)
    >>> mask[4, 4, 4] = True
    >>> int(shown_region(mask, (1, 1, 1), margin_mm=1).sum())
    7
    """
    return ndimage.distance_transform_edt(~mask, sampling=voxel_size_mm) <= margin_mm


def head_region(
    image: NDArray[np.float32], mask: NDArray[np.bool_], voxel_size_mm: Sequence[float]
) -> NDArray[np.bool_]:
    """The whole head without the air around it, whose noise would take more room in a page than the head.

    Parameters
    ----------
    image : (X, Y, Z) array
        Mean of the repetitions.
    mask : (X, Y, Z) bool array
        Brain mask.
    voxel_size_mm : three floats
        Edge lengths of a voxel.

    Returns
    -------
    region : (X, Y, Z) bool array
        Everything as bright as a fifth of the brain, what that encloses, and the margin of `shown_region`.
    """
    smooth = ndimage.gaussian_filter(np.nan_to_num(image), 2.0 / np.asarray(voxel_size_mm))
    bright = mask | (smooth > _HEAD_BRIGHTNESS * np.median(smooth[mask]))
    labels, _ = ndimage.label(bright)
    head = np.isin(labels, np.unique(labels[mask]))
    return shown_region(ndimage.binary_fill_holes(head), voxel_size_mm)


def encode_groups(
    groups: Sequence[ViewerGroup],
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    *,
    whole_head: bool = False,
    largest: int = LARGEST_CHARACTERS,
) -> ViewerRecord:
    """Quantise images for the viewer, as finely as the size of a page allows.

    Parameters
    ----------
    groups : sequence of ViewerGroup
        On one grid. The repetition, mean and denoised image of a group get one grey window, that of the mean.
    mask : (X, Y, Z) bool array
        Brain mask on that grid.
    affine : (4, 4) array
        Of that grid: voxels to world, RAS+ mm.
    whole_head : bool
        Show the head without the air around it (residual and maps: the brain). Otherwise all but the brain is
        blanked before anything is encoded.
    largest : int
        Characters that all images together may take.

    Returns
    -------
    record : ViewerRecord
        The finest of the attempts that fits, or the coarsest.

    Raises
    ------
    ValueError
        If the mask is empty: nothing may be shown then.
    """
    if not mask.any():
        raise ValueError("the brain mask is empty: there is nothing that the viewer may show")
    sizes_mm = nb.affines.voxel_sizes(affine)
    brain = shown_region(mask, sizes_mm)
    region = brain | head_region(groups[0].mean, mask, sizes_mm) if whole_head else brain
    box = crop_to_mask(region, sizes_mm, 0.0)
    regions = {True: region[box], False: brain[box]}
    affine = affine @ nb.affines.from_matvec(np.eye(3), [part.start for part in box])
    volumes = [(group.name, one) for group in groups for one in _volumes(group, mask)]
    record = ViewerRecord((), "head" if whole_head else "brain", 0)
    for n_levels, factor in _ATTEMPTS:
        grid = _coarse_affine(affine, factor)
        images = tuple(
            _encode(name, one, _coarse(one.values[box], regions[one.is_image], factor), grid, n_levels)
            for name, one in volumes
        )
        record = replace(record, images=images, n_levels=n_levels, coarsening=factor)
        if record.n_characters <= largest:
            break
    return record


def _volumes(group: ViewerGroup, mask: NDArray[np.bool_]) -> Iterator[_Volume]:
    """The images of a group in the order of the page, each with its window."""
    window = grey_window([group.mean], mask)
    if group.repetition is not None:
        own = window if group.same_contrast else grey_window([group.repetition], mask)
        yield _grey("one repetition", group.repetition, own)
    yield _grey(group.before, group.mean, window)
    yield _grey("denoised", group.denoised, window)
    residual = group.mean - group.denoised
    if residual[mask].any():
        limit = _largest(residual, mask)
        yield _Volume("residual", residual, (-limit, limit), "gray")
    for name, values in (("noise map", group.noise_sd), ("expected error", group.uncertainty)):
        if values is not None and np.any(values[mask] > 0):
            yield _Volume(name, values, (0.0, _largest(values, mask)), _PALETTE_OF_MAPS)


def _grey(name: str, values: NDArray[np.float32], window: tuple[float, float]) -> _Volume:
    return _Volume(name, values, window, "gray", is_image=True, outside=window[0])


def _largest(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """The 99.5th percentile of the absolute values in the brain, or 1 where they are all zero."""
    inside = np.abs(values[mask & np.isfinite(values)])
    return float(np.percentile(inside, 99.5)) or 1.0 if inside.size else 1.0


def _coarse(
    values: NDArray[np.float32], region: NDArray[np.bool_], factor: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Means of cubes of voxels, and the cubes that lie in the region for the most part."""
    if factor == 1:
        return values, region
    shape = [size // factor for size in values.shape]
    kept = tuple(slice(0, size * factor) for size in shape)
    split = [part for size in shape for part in (size, factor)]
    means, inside = (
        np.asarray(one[kept], dtype=np.float32).reshape(split).mean(axis=(1, 3, 5))
        for one in (values, region)
    )
    return means, inside > 0.99


def _coarse_affine(affine: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Grid of means of cubes of voxels."""
    return affine @ nb.affines.from_matvec(factor * np.eye(3), np.full(3, (factor - 1) / 2))


def _encode(
    group: str,
    volume: _Volume,
    shown: tuple[NDArray[np.float32], NDArray[np.bool_]],
    affine: NDArray[np.float64],
    n_levels: int,
) -> ViewerImage:
    values, region = shown
    low, high = volume.window
    top = high + (_HEADROOM if volume.is_image else 0.0) * (high - low)
    levels = n_levels if volume.is_image else min(n_levels, _MAP_LEVELS)
    outside = volume.outside
    values = np.where(region, np.nan_to_num(values, nan=outside, posinf=top, neginf=low), outside)
    steps = np.round((levels - 1) * np.clip((values - low) / (top - low), 0, 1)).astype(np.uint8)
    image = nb.Nifti1Image(steps, affine)
    image.header.set_slope_inter((top - low) / (levels - 1), low)
    image.header["cal_min"], image.header["cal_max"] = low, high
    image.header.set_xyzt_units("mm")
    data = base64.b64encode(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)).decode("ascii")
    return ViewerImage(volume.name, group, data, low, high, volume.palette)
