"""Fills gaps: of one repetition from the others; specks and filled areas of diffusion volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.masked_filters import Volume
from n2a_bids.algorithms.normalization import Mask, match_scales
from n2a_bids.algorithms.preparation.gaps import Gaps, find_gaps, without_gaps
from n2a_bids.algorithms.preparation.repetitions import find_head
from n2a_bids.algorithms.registration.placed_images import PlacedImage
from n2a_bids.algorithms.registration.resampling import field_of_view, move_measured
from n2a_bids.algorithms.transforms import Matrix, voxel_sizes_mm

_RIM_MM = 3.0
"""Brains cut out by one program twice differ by less at their border, or by a voxel."""
_LEAST_MISSING_ML = 1.0
"""Deeper than the rim."""
_SPECK_SPREADS = 8.0
"""Times the distance from the median to percentile 99.5: CSF in single voxels of the b0s of six real series
reaches 5.6."""
_LEAST_FILLED = 0.01
"""Part of a volume that holds its smallest, negative value, from which on that is a filling."""


@dataclass(frozen=True, slots=True)
class StoodIn:
    """Aligned repetitions without gaps."""

    data: NDArray[np.float32]
    """(R, X, Y, Z)."""
    n_measured: NDArray[np.uint8]
    """(X, Y, Z) how many repetitions were measured at each voxel; 0 only in zones that all have in common."""
    shared: Mask
    """(X, Y, Z) where all were measured."""
    missing_ml: tuple[float, ...]
    """Part of the head in the view of each repetition that it lacks and others show; 0 for a rim only."""
    unseen_ml: tuple[float, ...]
    """Part of the brain beyond the field of view of each repetition that others show; 0 for a rim only."""


def fill_aligned(
    data: NDArray[np.float32],
    measured: NDArray[np.bool_],
    gaps: Sequence[Gaps | None],
    voxel_maps: Sequence[Matrix],
    grid: PlacedImage,
    empty_value: float | None,
    shapes: Sequence[tuple[int, int, int]],
) -> StoodIn:
    """Fill the gaps of aligned repetitions with what the others show.

    Parameters
    ----------
    data : (R, X, Y, Z) float array
        Aligned; modified.
    measured : (R, X, Y, Z) bool array
        As `bring_to_grid` tells.
    gaps : sequence of Gaps or None
        Of each image on the grid it was acquired on; None without any.
    voxel_maps : sequence of (4, 4) arrays
        Indices of the common grid to indices of each image.
    grid : PlacedImage
        The common grid.
    empty_value : float or None
        What stands in the zone of the reference; None where it has none.
    shapes : sequence of (3,) tuples
        Of each image on the grid it was acquired on.
    """
    shown = measured.copy()
    for index, (image_gaps, voxel_map) in enumerate(zip(gaps, voxel_maps, strict=True)):
        if image_gaps is not None and image_gaps.specks.any():
            # Specks were mended by their surroundings: better than nothing where no other was measured.
            shown[index] = move_measured(~image_gaps.zone, voxel_map, grid.mask.shape)
    data, n_measured = fill_from_others(data, measured, grid.mask)
    n_measured = np.maximum(n_measured, 1)
    if empty_value is not None:
        # A face that all of them lost stays removed.
        empty = ~shown.any(axis=0)
        data[:, empty], n_measured[empty] = empty_value, 0
    head, views = find_head(data.mean(axis=0), grid.mask) & shown.any(axis=0), []
    for shape, voxel_map in zip(shapes, voxel_maps, strict=True):
        views.append(field_of_view(shape, voxel_map, grid.mask.shape))
    missing = [_deep_ml(head & view & ~one, grid) for view, one in zip(views, shown, strict=True)]
    unseen = [_deep_ml(grid.mask & shown.any(axis=0) & ~view, grid) for view in views]
    return StoodIn(data, n_measured, measured.all(axis=0), tuple(missing), tuple(unseen))


def fill_from_others(
    data: NDArray[np.float32], measured: NDArray[np.bool_], mask: Mask
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Let repetitions stand in where one was not measured.

    A gap takes the mean of the repetitions that were measured there, in the intensity scale of its own, so
    that the plain mean of all is the mean of those. Where none was measured, values stay as they are.

    Parameters
    ----------
    data : (R, X, Y, Z) float array
        Aligned; modified.
    measured : (R, X, Y, Z) bool array
    mask : (X, Y, Z) bool array
        Brain; intensities are matched where all were measured in it.

    Returns
    -------
    data : (R, X, Y, Z) float array
        The same array.
    n_measured : (X, Y, Z) uint8 array
        How many repetitions were measured at each voxel.
    """
    n_measured = measured.sum(axis=0, dtype=np.uint8)
    gaps = (n_measured > 0) & (n_measured < len(data))
    shared = mask & (n_measured == len(data))
    if not gaps.any() or not shared.any():
        return data, n_measured
    scales = match_scales(data, shared)
    total = np.zeros(np.count_nonzero(gaps), np.float32)
    for image, known, scale in zip(data, measured, scales, strict=True):
        total += np.where(known[gaps], scale.apply(image[gaps]), np.float32(0))
    mean = total / n_measured[gaps]
    for image, known, scale in zip(data, measured, scales, strict=True):
        image[gaps] = np.where(known[gaps], image[gaps], scale.invert(mean))
    return data, n_measured


def fill_series(data: NDArray[np.float32], measured: NDArray[np.bool_], mask: Mask) -> NDArray[np.float32]:
    """Let diffusion series stand in where one was not measured, as `fill_from_others`, by a gain alone.

    Parameters
    ----------
    data : (R, X, Y, Z, C) float array
        Modified.
    measured : (R, X, Y, Z) bool array
    mask : (X, Y, Z) bool array
        Brain; mean intensities are matched where all were measured in it.

    Returns
    -------
    data : (R, X, Y, Z, C) float array
        The same array.
    """
    n_measured = measured.sum(axis=0)
    gaps, shared = (n_measured > 0) & (n_measured < len(data)), mask & (n_measured == len(data))
    if not gaps.any() or not shared.any():
        return data
    levels = [float(series[shared].mean()) for series in data]
    known = measured[:, gaps][..., None]
    scaled = np.stack([series[gaps] / np.float32(level) for series, level in zip(data, levels, strict=True)])
    mean = (scaled * known).sum(axis=0) / n_measured[gaps][:, None]
    for series, own, level in zip(data, known, levels, strict=True):
        series[gaps] = np.where(own, series[gaps], mean * np.float32(level))
    return data


def _deep_ml(missing: Mask, grid: PlacedImage) -> float:
    """Volume of a part of the head; 0 where it is nowhere deeper than a rim."""
    sizes_mm = np.array(voxel_sizes_mm(grid.affine))
    voxel_ml = float(np.prod(sizes_mm)) / 1000
    missing_ml = np.count_nonzero(missing) * voxel_ml
    if missing_ml < _LEAST_MISSING_ML:
        return 0.0
    deep = ndimage.distance_transform_edt(missing, sampling=sizes_mm) > max(_RIM_MM, sizes_mm.max())
    return missing_ml if np.count_nonzero(deep) * voxel_ml >= _LEAST_MISSING_ML else 0.0


def mend_series(
    series: NDArray[np.float32], voxel_size_mm: Sequence[float], limits: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """Make specks of impossible values like their surroundings, and areas of NaN or of a filling zero.

    Parameters
    ----------
    series : (X, Y, Z, C) float32 array
        As acquired. Modified: each volume is mended by itself; one without any finite value becomes zero.
    voxel_size_mm : sequence of three floats
    limits : (float, float), optional
        Smallest and largest value that the data type on disk can hold.

    Returns
    -------
    specks : (N,) float32 array
        The values that were mended.
    """
    found = []
    for index in range(series.shape[-1]):
        volume = series[..., index]
        if not _is_odd(volume, limits):
            continue
        if not np.isfinite(volume).any():
            volume[...] = 0
            continue
        gaps = find_gaps(volume, voxel_size_mm, limits, speck_spreads=_SPECK_SPREADS)
        found.append(volume[gaps.specks])
        series[..., index] = without_gaps(volume, gaps)
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def _is_odd(volume: Volume, limits: tuple[float, float] | None) -> bool:
    """Whether a volume is worth a closer look, which takes most of a second."""
    least, largest = float(volume.min()), float(volume.max())
    if not np.isfinite([least, largest]).all() or (limits is not None and largest >= limits[1]):
        return True
    if least < 0 and np.count_nonzero(volume == least) > _LEAST_FILLED * volume.size:
        return True
    values = volume[volume != 0]
    if not values.size:
        return False
    low, middle, high = np.percentile(values, [0.5, 50, 99.5])
    return max(largest - middle, middle - least) > _SPECK_SPREADS * max(high - middle, middle - low)
