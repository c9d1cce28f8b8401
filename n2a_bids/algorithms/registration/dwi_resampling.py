"""Resamples diffusion series onto the common grid: motion and distortion undone in one interpolation.

A voxel map leads from the common grid to a volume as acquired, by motion and eddy currents; the displacement
stands on the common grid, in voxels of the acquired volume along its own phase-encoding axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.algorithms.distortion.field import in_view, resample
from n2a_bids.algorithms.noise.interpolation import noise_kept
from n2a_bids.algorithms.normalization import Mask
from n2a_bids.algorithms.transforms import Matrix

_STILL_VOXELS = 0.1
"""A motion that moves no brain voxel farther than this from a whole voxel is not worth an interpolation."""


def resample_series(
    data: NDArray[np.float32],
    voxel_maps: Sequence[Matrix],
    displacement: NDArray[np.float32],
    axis: int,
    mask: Mask,
    *,
    signed: bool = False,
) -> NDArray[np.float32]:
    """Undo motion and distortion of every volume.

    A volume without distortion whose voxels are those of the common grid, in whatever order they are
    stored, is reordered, not interpolated.

    Parameters
    ----------
    data : (X, Y, Z, C) array
        As acquired.
    voxel_maps : sequence of C (4, 4) arrays
    displacement : (X', Y', Z') array
    axis : int
        Phase-encoding axis of the series in its own array.
    mask : (X', Y', Z') bool array
        Brain, where motion counts.
    signed : bool
        Intensities may be negative (real-valued images): the undershoots of splines are kept, too.

    Returns
    -------
    aligned : (X', Y', Z', C) float32 array
        Zero outside of the field of view.
    """
    aligned = np.empty((*displacement.shape, data.shape[-1]), np.float32)
    is_distorted = bool(displacement.any())
    for volume, voxel_map in enumerate(voxel_maps):
        whole = None if is_distorted else whole_voxels(voxel_map, mask)
        if whole is None:
            shown = resample(data[..., volume], voxel_map, displacement, axis, 1, signed=signed)
        else:
            shown = _reorder(data[..., volume], whole, displacement.shape)
        aligned[..., volume] = shown
    return aligned


def whole_voxels(voxel_map: Matrix, mask: Mask) -> Matrix | None:
    """The map without its fractions of a voxel, where these move no brain voxel noticeably; else None.

    Examples
    --------
    >>> mirrored = np.diag([-1.0, 1.0, 1.0, 1.0])
    >>> mirrored[:3, 3] = 7.02, 0.0, 0.03
    >>> whole_voxels(mirrored, np.ones((8, 8, 8), bool))[:3, 3].tolist()
    [7.0, 0.0, 0.0]
    >>> whole_voxels(np.diag([1.1, 1.0, 1.0, 1.0]), np.ones((8, 8, 8), bool)) is None
    True
    """
    whole = np.eye(4)
    whole[:3, :3] = np.round(voxel_map[:3, :3])
    axes = np.abs(whole[:3, :3])
    if not (np.all(axes.sum(axis=0) == 1) and np.all(axes.sum(axis=1) == 1)):
        return None
    points = np.argwhere(mask)[:: max(1, int(mask.sum()) // 2000)]
    moved = points @ voxel_map[:3, :3].T + voxel_map[:3, 3]
    rotated = points @ whole[:3, :3].T
    whole[:3, 3] = np.round((moved - rotated).mean(axis=0))
    rest = np.linalg.norm(moved - rotated - whole[:3, 3], axis=1)
    return whole if rest.max() < _STILL_VOXELS else None


def _reorder(volume: NDArray[np.float32], whole: Matrix, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if volume.shape == shape and np.array_equal(whole, np.eye(4)):
        return volume
    return ndimage.affine_transform(volume, whole[:3, :3], whole[:3, 3], shape, order=0)


def series_noise_kept(
    shape: tuple[int, ...],
    voxel_maps: Sequence[Matrix],
    displacement: NDArray[np.float32],
    axis: int,
    mask: Mask,
) -> float:
    """Root mean square over the volumes of a series of `noise_kept`; what is not interpolated keeps all.

    Parameters
    ----------
    shape : tuple of int
        Grid of the series as acquired.
    voxel_maps : sequence of (4, 4) arrays
        Voxels of the common grid to voxels of each volume.
    displacement, axis
        Distortion of the series, in voxels along an axis of its grid.
    mask : (X, Y, Z) bool array
        Brain on the common grid.
    """
    is_distorted = bool(displacement.any())
    moved = [one for one in voxel_maps if is_distorted or whole_voxels(one, mask) is None]
    kept = noise_kept(shape, moved, displacement, axis, 1, mask)
    return float(np.sqrt((len(voxel_maps) - len(moved) + len(moved) * kept**2) / len(voxel_maps)))


def series_view(
    shape: tuple[int, ...],
    voxel_maps: Sequence[Matrix],
    displacement: NDArray[np.float32],
    axis: int,
    mask: Mask,
) -> tuple[NDArray[np.bool_], list[float]]:
    """Voxels of the common grid that all volumes of a series show, and the part of the brain each shows.

    Parameters
    ----------
    shape, voxel_maps, displacement, axis, mask
        As in `series_noise_kept`.

    Returns
    -------
    common : (X, Y, Z) bool array
        Shown by all volumes.
    fractions : list of float
        Part of the brain that each volume shows.
    """
    common, fractions = np.ones(mask.shape, bool), []
    for voxel_map in voxel_maps:
        view = in_view(shape, voxel_map, displacement, axis, 1)
        fractions.append(round(float(view[mask].mean()), 4))
        common &= view
    return common, fractions


def still_b0(
    data: NDArray[np.float32],
    gradients: Gradients,
    voxel_maps: NDArray[np.float64],
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Mean b0 of a series without the motion between its volumes.

    Parameters
    ----------
    data : (X, Y, Z, C) float array
        Series as acquired.
    gradients : Gradients
        Its table.
    voxel_maps : (C, 4, 4) float array
        For each volume, voxel where the first b0 lies to voxel of the volume.
    mask : (X, Y, Z) bool array
        Brain, where motion counts.

    Returns
    -------
    b0 : (X, Y, Z) float32 array
        Mean of the volumes without diffusion weighting; of those of the lowest b-value, as they lie, where
        there are none.
    """
    if not gradients.is_b0.any():
        return mean_b0(data, gradients)
    own = np.flatnonzero(gradients.is_b0)
    still = np.zeros(mask.shape, np.float32)
    signed = bool(data.min() < 0)
    return resample_series(data[..., own], voxel_maps[own], still, 1, mask, signed=signed).mean(axis=-1)


def mean_b0(data: NDArray[np.float32], gradients: Gradients) -> NDArray[np.float32]:
    """Mean of the volumes without diffusion weighting; of the lowest b-value where there is none."""
    return data[..., lowest_weighting(gradients)].mean(axis=-1)


def lowest_weighting(gradients: Gradients) -> NDArray[np.bool_]:
    """(C,) whether a volume has no diffusion weighting, or is of the lowest shell where all have some."""
    shells = find_shells(gradients)
    return shells == shells.min()
