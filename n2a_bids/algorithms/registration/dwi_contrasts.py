"""Groups volumes of a diffusion series by contrast, for motion estimation: who predicts whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.shells import FEWEST_VOLUMES
from n2a_bids.algorithms.transforms import Affine, inverse

AlignContrasts = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]
"""Two (X, Y, Z) images of other contrast to the (4, 4) map from voxels of the first to the second."""

_SMALL_GAP, _LARGE_GAP = 150.0, 600.0
"""Between b-values (s/mm2): at most as far apart, volumes predict each other; farther, they never do."""
_BLOCK_WIDTH = 500.0
_FEWEST_ALIGNED = 4
"""Volumes whose mean another contrast can be aligned to; of fewer, the noise shows."""
_LEAST_STEP_VOXELS, _SURE_STEP_VOXELS = 0.5, 1.0
"""Largest displacement between two contrasts that error explains, and that is believed wholly."""
_STEP_ERROR_VOXELS = 0.25
"""Typical displacement that mutual information finds in a head at rest: between b = 0 and the mean of six
volumes of b = 300 to 3000, 0.12 to 0.34 voxels, at most 0.2 to 0.6 (4 mm, noise of 3 and 6 % of a b0)."""


def contrast_groups(gradients: Gradients) -> list[NDArray[np.intp]]:
    """Cut a series where its b-values leave a gap that no prediction should bridge.

    Parameters
    ----------
    gradients : Gradients
        Table of C volumes.

    Returns
    -------
    groups : list of int arrays
        From low to high b; every volume is in one. Groups of fewer than four volumes join the nearest,
        up to 600 s/mm2 away; the b0s stay apart from what has enough volumes of its own.
    """
    bvals = np.where(gradients.is_b0, 0.0, gradients.bvals)
    order = np.argsort(bvals, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(bvals[order]) > _SMALL_GAP) + 1)
    while len(groups) > 1:
        gaps = [bvals[high].min() - bvals[low].max() for low, high in zip(groups, groups[1:])]
        small = [group.size < _FEWEST_ALIGNED for group in groups]
        # A few b0s of another contrast are better aligned by mutual information than by extrapolation.
        joined = [
            (low and high) or (index > 0 and (low or high))
            for index, (low, high) in enumerate(zip(small, small[1:]))
        ]
        costs = np.where(joined, gaps, np.inf)
        nearest = int(np.argmin(costs))
        if costs[nearest] > _LARGE_GAP:
            break
        groups[nearest : nearest + 2] = [np.concatenate(groups[nearest : nearest + 2])]
    return [np.sort(group) for group in groups]


def contrast_blocks(bvals: NDArray[np.float64], members: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Cut the volumes of a group into blocks of much the same contrast.

    Parameters
    ----------
    bvals : (C,) array
        In s/mm2.
    members : int array
        Volumes of the group.

    Returns
    -------
    blocks : list of int arrays
        From low to high b, each of seven volumes or more (or all), and up to 500 s/mm2 or half its b wide.
    """
    order = members[np.argsort(bvals[members], kind="stable")]
    blocks, start = [], 0
    for index in range(1, order.size):
        low, here = bvals[order[start]], bvals[order[index]]
        enough = min(index - start, order.size - index) >= FEWEST_VOLUMES
        if enough and here > bvals[order[index - 1]] and here - low > max(_BLOCK_WIDTH, here / 2):
            blocks.append(order[start:index])
            start = index
    return [*blocks, order[start:]]


def align_groups(
    data: NDArray[np.float32],
    maps: NDArray[np.float64],
    groups: list[NDArray[np.intp]],
    bvals: NDArray[np.float64],
    mask: NDArray[np.bool_],
    align_shell: AlignContrasts,
    errors_voxels: Sequence[float],
) -> None:
    """Add the motion between b-values that predictions do not tell.

    Across gaps nothing predicts. Within a group, a drift of the head along with b looks in every voxel like
    another diffusivity, so that predictions follow it; it is believed where it is larger than the error of
    aligning two contrasts.

    Parameters
    ----------
    data : (X, Y, Z, C) float array
        A diffusion series.
    maps : (C, 4, 4) float array
        Voxel map of each volume; changed in place.
    groups : list of int array
        As of `contrast_groups`: volumes that predict each other.
    bvals : (C,) float array
        In s/mm2.
    mask : (X, Y, Z) bool array
        Brain.
    align_shell : callable
        Finds the motion between two contrasts.
    errors_voxels : sequence of float
        Of the motion between each group and the ones before, as time tells it: how far the alignment of
        contrasts is believed follows from them.
    """
    lowest_block = contrast_blocks(bvals, groups[0])[0]
    lowest = _mean_without_motion(data, maps, lowest_block)
    for members, error_voxels in zip(groups, errors_voxels, strict=True):
        blocks = contrast_blocks(bvals, members)
        steps = [
            np.eye(4)
            if block is blocks[0] and members is groups[0]
            else _credible_step(
                align_shell(lowest, _mean_without_motion(data, maps, block)), mask, error_voxels
            )
            for block in blocks
        ]
        drifts = [inverse(steps[0]) @ step for step in steps]
        maps[members] = maps[members] @ steps[0]
        if max(largest_shift_voxels(drift, mask) for drift in drifts) > _LEAST_STEP_VOXELS:
            centres = [float(np.mean(bvals[block])) for block in blocks]
            for volume in members:
                maps[volume] = maps[volume] @ _between(drifts, centres, bvals[volume])


def largest_shift_voxels(voxel_map: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    """Voxels by which a map moves the brain at most."""
    points = np.argwhere(mask)[:: max(1, int(mask.sum()) // 5000)]
    return float(np.linalg.norm(Affine(voxel_map).apply(points) - points, axis=1).max())


def _credible_step(
    step: NDArray[np.float64], mask: NDArray[np.bool_], error_voxels: float
) -> NDArray[np.float64]:
    """The alignment of two contrasts, as far as it is known better than what neighbours in time tell."""
    beyond = largest_shift_voxels(step, mask) - _LEAST_STEP_VOXELS
    share = float(np.clip(beyond / (_SURE_STEP_VOXELS - _LEAST_STEP_VOXELS), 0, 1))
    share = max(share, error_voxels**2 / (error_voxels**2 + _STEP_ERROR_VOXELS**2))
    return np.eye(4) + share * (step - np.eye(4))


def _between(maps: list[NDArray[np.float64]], positions: list[float], position: float) -> NDArray[np.float64]:
    """Map at a position between others, or the nearest; small motions may be interpolated linearly."""
    return np.array(
        [
            [np.interp(position, positions, [m[row, column] for m in maps]) for column in range(4)]
            for row in range(4)
        ]
    )


def _mean_without_motion(
    data: NDArray[np.float32], maps: NDArray[np.float64], members: NDArray[np.intp]
) -> NDArray[np.float32]:
    total = np.zeros(data.shape[:3], np.float32)
    for volume in members:
        matrix = maps[volume]
        total += ndimage.affine_transform(
            data[..., volume], matrix[:3, :3], matrix[:3, 3], order=1, mode="nearest"
        )
    return total / members.size
