"""Fine rigid fit (least squares) of a noisy image to a target, with the standard error of the motion.

The slopes of the fit are those of the target, which is given or predicted from many volumes: slopes of the
noisy image itself share its noise with its values, and then the noise alone has a best place, half-way
between voxels, where interpolation smooths it most.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.transforms import Affine, Shear

_SAMPLE_MM = 5.0
_N_ITERATIONS = 30
"""Most steps of one registration; it ends where a step is small."""
_BLOCK_MM, _N_BLOCKS = 20.0, 50
"""Of noise and misfit, what is farther apart than a block is wide is independent. Small heads have smaller
blocks: of fewer, a standard error of six parameters is not known (of still heads of 36 mm, 6 of 20 moved)."""
_SMALL_HEAD_MM3 = 20_000.0
"""Of heads smaller than this (rodents), structure is smaller, too: lengths in mm shrink with them."""
BRAIN_MM3 = 200_000.0
"""Of brains smaller than this (animals), what is as coarse as a part of the brain shrinks with it."""
_STEEPEST = 0.3
"""Slope of a displacement beyond which a fit was lost: eddy currents make some hundredths."""
SMOOTHING_MM = (2.5, 1.5)
"""Of the rounds: the first catches large motions, the second is less biased."""
_BRAIN_RADIUS_MM = 50.0
LEAST_VOXELS = 3
"""Along an axis: points in the outermost voxels are not compared, and in a thinner slab none is left."""
_LEAST_RESPONSE = 0.02
"""Share of the slopes of a target that are taken for true at least."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an image should look like at the points of the brain."""

    values: NDArray[np.float64]
    """(N,) intensities."""
    slopes: NDArray[np.float64]
    """(N, 3) slopes per mm."""
    trust: NDArray[np.float64] | float = 1.0
    """(N,) weight of each point in a fit."""


class SmoothImage:
    """A smoothed image, and its slopes, read at points in mm."""

    def __init__(self, image: NDArray, voxel_size_mm: tuple[float, float, float], smoothing_mm: float):
        self._size = np.asarray(voxel_size_mm)
        self.shear: Shear | None = None
        """Its distortion, which is undone where it is read."""
        self._image = ndimage.gaussian_filter(image.astype(np.float32), smoothing_mm / self._size)

    def values(self, points: NDArray, motion: NDArray) -> NDArray[np.float64]:
        """(N,) values at the moved points."""
        return self._read(self._voxels(points, motion))

    def target(self, points: NDArray, motion: NDArray) -> Target:
        """Values at the moved points, and slopes along the axes that the points had before they moved."""
        voxels = self._voxels(points, motion)
        slopes = np.stack([self._slope(voxels, axis) for axis in range(3)], axis=1)
        if self.shear is not None:
            slopes += slopes[:, self.shear.axis, None] * self.shear.slopes
        return Target(self._read(voxels), slopes @ Rotation.from_rotvec(motion[:3]).as_matrix())

    def sees(self, points: NDArray, motion: NDArray) -> NDArray[np.bool_]:
        """(N,) whether the moved points lie in the image, away from its outermost voxels."""
        voxels = self._voxels(points, motion)
        return np.all((voxels >= 1) & (voxels <= np.array(self._image.shape) - 2), axis=1)

    def _voxels(self, points: NDArray, motion: NDArray) -> NDArray[np.float64]:
        moved = moved_points(points, motion)
        return (moved if self.shear is None else self.shear.apply(moved)) / self._size

    def _slope(self, voxels: NDArray, axis: int) -> NDArray[np.float64]:
        # Only where it is asked for: gradients of all images of a series would take three times its memory.
        last, step = np.array(self._image.shape) - 1, np.eye(3)[axis]
        ahead = np.clip(voxels, 0, last - step) + step
        behind = np.clip(voxels, step, last) - step
        distance_mm = (ahead - behind)[:, axis] * self._size[axis]
        return (self._read(ahead) - self._read(behind)) / distance_mm

    def _read(self, voxels: NDArray) -> NDArray[np.float64]:
        return ndimage.map_coordinates(self._image, voxels.T, output=float, order=1, mode="nearest")


def size_factor(
    mask: NDArray[np.bool_], voxel_size_mm: Sequence[float], of_mm3: float = _SMALL_HEAD_MM3
) -> float:
    """Edge length of a small head over that of one of 20 ml, or of another volume; 1 for larger ones."""
    volume_mm3 = np.count_nonzero(mask) * float(np.prod(voxel_size_mm))
    return float(min(1.0, np.cbrt(volume_mm3 / of_mm3))) or 1.0


def sample_points(mask: NDArray[np.bool_], voxel_size_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """(N, 3) positions in mm: the brain and a rim around it, about every 5 mm in plane."""
    rim = ndimage.binary_dilation(mask, iterations=2)
    sample_mm = _SAMPLE_MM * size_factor(mask, voxel_size_mm)
    steps = [max(1, round(sample_mm / size)) for size in voxel_size_mm]
    kept = np.zeros_like(mask)
    kept[:: steps[0], :: steps[1], :: max(1, steps[2] // 2)] = True
    return np.argwhere(rim & kept) * np.asarray(voxel_size_mm)


def moved_points(points: NDArray, motion: NDArray) -> NDArray[np.float64]:
    """(N, 3) points in mm, rotated about their centre and shifted."""
    centre = points.mean(axis=0)
    return Rotation.from_rotvec(motion[:3]).apply(points - centre) + centre + motion[3:]


def motion_matrix(motion: NDArray, points: NDArray) -> NDArray[np.float64]:
    """(4, 4) matrix in mm that moves the points as `moved_points` does."""
    centre = points.mean(axis=0)
    return Affine.about(Rotation.from_rotvec(motion[:3]).as_matrix(), centre, centre + motion[3:]).matrix


def fit_motion(
    image: SmoothImage, points: NDArray, target: Target, start: NDArray, held_axis: int | None = None
) -> NDArray[np.float64]:
    """Motion at which an image is closest to a target times a gain, by Gauss-Newton.

    Parameters
    ----------
    points : (N, 3) array
        Where they are compared, in mm.
    target : Target
        At the points.
    start : (6,) array
        Rotation vector and shift to start from.
    held_axis : int, optional
        Axis along which the centre of the points stays.

    Returns
    -------
    motion : (6,) array
        `start` where nothing can be told: the image does not show the target, or was lost on the way.
    """
    free = np.ones(7, bool)
    if held_axis is not None:
        free[3 + held_axis] = False
    motion = start.copy()
    for _ in range(_N_ITERATIONS):
        design, weight, rest = _linearised(image, points, target, motion)
        step = np.zeros(7)
        step[free] = _solve(design[:, free], weight, rest)
        motion = _stepped(motion, step)
        if _is_small(step):
            break
    return motion if _shows(image, points, target, motion) else start.copy()


def fit_sheared(
    image: SmoothImage, points: NDArray, target: Target, start: NDArray, axis: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Motion and shear along one axis, together, at which an image is closest to a target times a gain.

    Parameters
    ----------
    image : SmoothImage
        Not changed; the shear that it has is where the search starts.
    axis : int
        Of the displacement.
    points, target, start
        As in `fit_motion`.

    Returns
    -------
    motion : (6,) array
    slopes : (3,) array
        Of the displacement, in all, per mm along each axis; the motion holds its shift. Both as they were
        where nothing can be told.
    """
    centre = points.mean(axis=0)
    begun = Shear(axis, centre, 0.0, np.zeros(3)) if image.shear is None else image.shear
    seen, motion, slopes = copy(image), start.copy(), begun.slopes.copy()
    for _ in range(_N_ITERATIONS):
        seen.shear = replace(begun, slopes=slopes)
        design, weight, rest = _linearised(seen, points, target, motion)
        arms = moved_points(points, motion) - begun.centre_mm
        step = _solve(np.column_stack((design, design[:, 3 + axis, None] * arms)), weight, rest)
        motion, slopes = _stepped(motion, step[:7]), slopes + step[7:]
        if _is_small(step):
            break
    if np.abs(slopes).max() < _STEEPEST and _shows(seen, points, target, motion):
        return motion, slopes
    return start.copy(), begun.slopes.copy()


def _shows(image: SmoothImage, points: NDArray, target: Target, motion: NDArray) -> bool:
    """Whether an image is bright where a target is, with half of what it sees of the head at rest or more.

    A volume of noise that is no magnitude, or of another sign, is at its best where it sees no head.
    """
    n_at_rest, n_moved = (int(image.sees(points, one).sum()) for one in (np.zeros(6), motion))
    return 2 * n_moved >= n_at_rest and float(image.values(points, motion) @ target.values) > 0


def _is_small(step: NDArray) -> bool:
    return bool(np.abs(step[:3]).max() < 1e-4 and np.abs(step[3:6]).max() < 5e-3)


def _stepped(motion: NDArray, step: NDArray) -> NDArray[np.float64]:
    turn = Rotation.from_rotvec(step[:3]) * Rotation.from_rotvec(motion[:3])
    return np.concatenate((turn.as_rotvec(), motion[3:] + step[3:6]))


def _linearised(
    image: SmoothImage, points: NDArray, target: Target, motion: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """(N, 7) change of the image by small turns, shifts and gain, (N,) weights, and (N,) what is left."""
    values = image.values(points, motion)
    power = float(target.values @ target.values)
    gain = max(float(values @ target.values) / power, 1e-6) if power > 0 else 1.0
    rest = gain * target.values - values
    design = _design(points, target, motion, gain)
    # A few voxels of flow or artefact must not steer the fit.
    spread = 1.4826 * np.median(np.abs(rest)) + 1e-12 * np.abs(rest).max() + np.finfo(float).tiny
    weight = target.trust * image.sees(points, motion) / np.maximum(np.abs(rest) / (2.5 * spread), 1)
    return design, weight, rest


def _design(points: NDArray, target: Target, motion: NDArray, gain: float) -> NDArray[np.float64]:
    turn = Rotation.from_rotvec(motion[:3])
    arms, slopes = turn.apply(points - points.mean(axis=0)), gain * turn.apply(target.slopes)
    return np.column_stack((np.cross(arms, slopes), slopes, gain * target.values))


def _solve(design: NDArray, weight: NDArray, rest: NDArray) -> NDArray[np.float64]:
    """Weighted least squares, with a trace of a ridge."""
    normal = design.T @ (weight[:, None] * design)
    power = np.diag(normal)
    normal += np.diag(np.where(power > 0, 1e-6 * power, 1.0))
    return np.linalg.solve(normal, design.T @ (weight * rest))


def independent_blocks(points: NDArray) -> NDArray[np.intp]:
    """(N,) block in which each of (N, 3) points lies: 20 mm wide, narrower where these are fewer than 50."""
    width = _BLOCK_MM
    while True:
        blocks = np.unique(np.floor(points / width).astype(int), axis=0, return_inverse=True)[1].ravel()
        # With fewer points than twice the blocks, there is nothing to divide.
        if blocks.max() + 1 >= min(_N_BLOCKS, len(points) // 2):
            return blocks
        width *= 0.8


def motion_covariance(
    image: SmoothImage, points: NDArray, target: Target, motion: NDArray
) -> NDArray[np.float64]:
    """Covariance of the error of a fitted motion.

    What is left after the fit, in blocks that are independent of each other (20 mm), gives the error of the
    equations (a sandwich estimator: White, Econometrica 1980). How much the image changes with motion is told
    by its own slopes times those of the target: the noise of the two is independent, while the squares of
    either would count noise as information.

    Parameters
    ----------
    points : (N, 3) array
    motion : (6,) array
        As `fit_motion` found it.

    Returns
    -------
    covariance : (6, 6) array
        Of the rotation vector (radians) and the shift (mm); infinite where the target is not shown.
    """
    if not _shows(image, points, target, motion):
        return np.diag(np.full(6, np.inf))
    design, weight, rest = _linearised(image, points, target, motion)
    own = _design(points, image.target(points, motion), motion, 1.0)
    blocks = independent_blocks(points)
    scores = np.zeros((blocks.max() + 1, 7))
    np.add.at(scores, blocks, design * (weight * rest)[:, None])
    scale = 1 / np.sqrt(np.maximum(weight @ design**2, 1e-30))
    response = design.T @ (weight[:, None] * own) * np.outer(scale, scale)
    levels, axes = np.linalg.eigh((response + response.T) / 2)
    # Where noise hides all response to motion, the error is large, not infinite.
    back = (axes / np.maximum(levels, _LEAST_RESPONSE)) @ axes.T * np.outer(scale, scale)
    # What was fitted is missing in what is left, which shows where the blocks are few.
    lost = len(scores) / max(len(scores) - 7, 1)
    return lost * (back @ (scores.T @ scores) @ back)[:6, :6]


def displacement_mm(motion: NDArray, points: NDArray) -> float:
    """Displacement of a typical point of the brain by a small motion."""
    radius_mm = min(
        _BRAIN_RADIUS_MM, float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))
    )
    return float(np.hypot(np.linalg.norm(motion[:3]) * radius_mm, np.linalg.norm(motion[3:])))
