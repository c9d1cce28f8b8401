"""Lets repeated diffusion series stand in for each other where single slices have lost their signal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.normalization import Mask, Volume

_LEAST_PART = 0.1
"""Of a slice in what is interpolated, from which on its loss is seen."""


def lost_voxels(
    slices: Sequence[int],
    axis: int,
    shape: tuple[int, ...],
    voxel_map: NDArray[np.float64],
    grid_shape: tuple[int, ...],
) -> Mask:
    """Where slices of a volume lie on another grid.

    Distortion moves signal within slices, so that it changes nothing.

    Parameters
    ----------
    slices : sequence of int
        Numbers of the slices.
    axis : int
        Array axis of the volume across them.
    shape : (3,) tuple of int
        Of the volume.
    voxel_map : (4, 4) array
        Voxel of the grid to voxel of the volume.
    grid_shape : (3,) tuple of int

    Returns
    -------
    lost : grid_shape bool array
    """
    shown = np.zeros(shape, np.float32)
    np.moveaxis(shown, axis, 0)[list(slices)] = 1
    placed = ndimage.affine_transform(shown, voxel_map[:3, :3], voxel_map[:3, 3], grid_shape, order=1)
    return placed > _LEAST_PART


def bridge_slices(data: NDArray[np.float32], lost: Sequence[Sequence[int]], axis: int) -> NDArray[np.float32]:
    """Volumes in which slices without their signal look like those beside them, for what compares shapes.

    A dark slice would draw motion and distortion towards it. What is denoised is not touched.

    Parameters
    ----------
    data : (X, Y, Z, C) array
    lost : sequence of (volume, slice)
    axis : int
        Array axis across the slices.

    Returns
    -------
    bridged : (X, Y, Z, C) array
        A copy, linear between the nearest slices with signal; `data` itself where nothing was lost.

    Examples
    --------
    >>> ramp = np.arange(5, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 2, 1), np.float32)
    >>> ramp[2:4] = 0
    >>> bridge_slices(ramp, [(0, 2), (0, 3)], 0)[:, 0, 0, 0]
    array([0., 1., 2., 3., 4.], dtype=float32)
    """
    if not lost:
        return data
    bridged = data.copy()
    slices = np.moveaxis(bridged, axis, 0)
    for volume in {volume for volume, _ in lost}:
        missing = [index for other, index in lost if other == volume]
        kept = np.setdiff1d(np.arange(len(slices)), missing)
        for index in missing:
            place = int(np.searchsorted(kept, index))
            below, above = kept[max(place - 1, 0)], kept[min(place, kept.size - 1)]
            part = np.float32((index - below) / (above - below) if above > below else 0)
            slices[index, ..., volume] = (1 - part) * slices[below, ..., volume] + part * slices[
                above, ..., volume
            ]
    return bridged


def stand_in(lost: Mask, others: Sequence[tuple[Volume, Mask | None]], gains: Sequence[float]) -> Volume:
    """What other measurements of one volume show where it was lost.

    Parameters
    ----------
    lost : (X, Y, Z) bool array
    others : sequence of (X, Y, Z) arrays with (X, Y, Z) bool arrays
        Each measurement, and where it was lost itself; None for nowhere.
    gains : sequence of float
        Factors that bring them to the unit of the volume.

    Returns
    -------
    shown : (X, Y, Z) float32 array
        Their mean where any was measured; NaN elsewhere.
    """
    total, count = np.zeros(lost.shape, np.float32), np.zeros(lost.shape, np.float32)
    for (volume, its_lost), gain in zip(others, gains, strict=True):
        known = lost if its_lost is None else lost & ~its_lost
        total[known] += np.float32(gain) * volume[known]
        count[known] += 1
    return np.divide(total, count, out=np.full(lost.shape, np.nan, np.float32), where=count > 0)
