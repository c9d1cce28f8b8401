"""Head motion between the volumes of diffusion series.

Volumes differ in contrast, so each is registered to what all others of similar
b-value together predict for its own b-value and direction. Motions are rigid, in
the frame of the voxel axes (mm), and map the corrected grid to the volume as
acquired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.prediction import predictors
from n2a_bids.algorithms.registration.dwi_contrasts import AlignContrasts, align_groups, contrast_groups
from n2a_bids.algorithms.registration.transforms import Affine, inverse

_SMOOTHING_MM = (2.5, 1.5)
"""Of the rounds: the first catches large motions, the second is less biased."""
_SAMPLE_MM = 5.0
_N_ITERATIONS = 30
"""Most steps of one registration; it ends where a step is small."""
_STEP_VOXELS = (0.2, 0.05)
"""Motion of a series has come to rest at either smoothing where a round moves no volume farther."""
_MOST_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class EstimatedMotion:
    """Motion of every volume of a series, and whether its estimation came to rest."""

    voxel_maps: NDArray[np.float64]
    """(C, 4, 4) corrected voxel to voxel of the volume; the identity for the first b0 (or first volume)."""
    n_rounds: int
    """Times that every volume was registered to what the others predict."""
    last_step_voxels: float
    """How far the last round moved a brain voxel of any volume at most, relative to the others."""
    converged: bool


def estimate_motion(
    data: NDArray[np.float32],
    gradients: Gradients,
    mask: NDArray[np.bool_],
    voxel_size_mm: tuple[float, float, float],
    align_shell: AlignContrasts,
) -> EstimatedMotion:
    """Motion of every volume relative to the first one without diffusion weighting.

    Parameters
    ----------
    data : (X, Y, Z, C) float array
        Series as acquired.
    gradients : Gradients
        Its table.
    mask : (X, Y, Z) bool array
        Brain.
    voxel_size_mm : (3,) floats
    align_shell : callable
        Given the mean of the lowest b-values and that of others too far from them to be predicted, each
        without its own motion, the (4, 4) map from voxels of the first to voxels of the second. Their
        contrasts differ: CSF is bright in one and dark in the other.

    Returns
    -------
    motion : EstimatedMotion
    """
    points = _sample_points(mask, voxel_size_mm)
    groups = contrast_groups(gradients)
    motions = np.zeros((data.shape[-1], 6))
    n_rounds = 0
    for smoothing_mm, tolerance in zip(_SMOOTHING_MM, _STEP_VOXELS, strict=True):
        images = [_Smooth(volume, voxel_size_mm, smoothing_mm) for volume in np.moveaxis(data, -1, 0)]
        for _ in range(_MOST_ROUNDS):
            before, n_rounds = motions.copy(), n_rounds + 1
            _align_to_predictions(images, points, groups, gradients, motions)
            step = _largest_step(before, motions, points, groups) / min(voxel_size_mm)
            if step < tolerance:
                break
    scale = np.diag([*voxel_size_mm, 1.0])
    maps = np.stack([Affine(_matrix(motion, points)).between_voxels(scale, scale) for motion in motions])
    align_groups(data, maps, groups, gradients.bvals, mask, align_shell)
    reference = int(np.argmax(gradients.is_b0)) if gradients.is_b0.any() else int(groups[0][0])
    # Exactly the identity for the reference, whatever rounding leaves.
    moved = maps @ inverse(maps[reference])
    moved[reference] = np.eye(4)
    return EstimatedMotion(moved, n_rounds, round(float(step), 4), bool(step < _STEP_VOXELS[-1]))


def register_rigid(
    fixed: NDArray,
    moving: NDArray,
    mask: NDArray[np.bool_],
    voxel_size_mm: tuple[float, float, float],
    held_axis: int | None = None,
) -> NDArray[np.float64]:
    """Rigid motion between two images of one contrast on grids of one voxel size.

    Parameters
    ----------
    fixed, moving : (X, Y, Z) arrays
    mask : (X, Y, Z) bool array
        Brain in `fixed`.
    voxel_size_mm : (3,) floats
    held_axis : int, optional
        Axis along which the centre of the brain stays: there a translation cannot be told from distortion.

    Returns
    -------
    voxel_map : (4, 4) array
        Voxel of `fixed` to voxel of `moving`.
    """
    points = _sample_points(mask, voxel_size_mm)
    motion = np.zeros(6)
    for smoothing_mm in _SMOOTHING_MM:
        target = _Smooth(fixed, voxel_size_mm, smoothing_mm).at(points, np.zeros(6))
        motion = _register(_Smooth(moving, voxel_size_mm, smoothing_mm), points, target, motion, held_axis)
    scale = np.diag([*voxel_size_mm, 1.0])
    return Affine(_matrix(motion, points)).between_voxels(scale, scale)


class _Smooth:
    """A smoothed image and its gradient, read at points in mm."""

    def __init__(self, image: NDArray, voxel_size_mm: tuple[float, float, float], smoothing_mm: float):
        self._size = np.asarray(voxel_size_mm)
        self._image = ndimage.gaussian_filter(image.astype(np.float32), smoothing_mm / self._size)
        spacing = [float(size) for size in self._size]
        self._slopes = [slope.astype(np.float32) for slope in np.gradient(self._image, *spacing)]

    def at(self, points: NDArray, motion: NDArray) -> NDArray[np.float64]:
        """(N,) values at the moved points."""
        return self._read(self._image, _moved(points, motion))

    def with_slopes(self, points: NDArray, motion: NDArray) -> tuple[NDArray, NDArray]:
        """(N,) values and (N, 3) slopes per mm at the moved points."""
        moved = _moved(points, motion)
        slopes = np.stack([self._read(slope, moved) for slope in self._slopes], axis=1)
        return self._read(self._image, moved), slopes

    def sees(self, points: NDArray, motion: NDArray) -> NDArray[np.bool_]:
        """(N,) whether the moved points lie in the image, away from its outermost voxels."""
        voxels = _moved(points, motion) / self._size
        return np.all((voxels >= 1) & (voxels <= np.array(self._image.shape) - 2), axis=1)

    def _read(self, volume: NDArray, moved: NDArray) -> NDArray[np.float64]:
        voxels = (moved / self._size).T
        return ndimage.map_coordinates(volume, voxels, order=1, mode="nearest").astype(float)


def _sample_points(mask: NDArray[np.bool_], voxel_size_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """(N, 3) positions in mm: the brain and a rim around it, about every 5 mm in plane."""
    rim = ndimage.binary_dilation(mask, iterations=2)
    steps = [max(1, round(_SAMPLE_MM / size)) for size in voxel_size_mm]
    kept = np.zeros_like(mask)
    kept[:: steps[0], :: steps[1], :: max(1, steps[2] // 2)] = True
    return np.argwhere(rim & kept) * np.asarray(voxel_size_mm)


def _moved(points: NDArray, motion: NDArray) -> NDArray[np.float64]:
    centre = points.mean(axis=0)
    return Rotation.from_rotvec(motion[:3]).apply(points - centre) + centre + motion[3:]


def _matrix(motion: NDArray, points: NDArray) -> NDArray[np.float64]:
    centre = points.mean(axis=0)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(motion[:3]).as_matrix()
    matrix[:3, 3] = centre + motion[3:] - matrix[:3, :3] @ centre
    return matrix


def _register(
    image: _Smooth, points: NDArray, target: NDArray, start: NDArray, held_axis: int | None = None
) -> NDArray[np.float64]:
    """Gauss-Newton: motion at which `image`, times a gain, is closest to `target`."""
    centre, motion = points.mean(axis=0), start.copy()
    free = np.ones(7, bool)
    if held_axis is not None:
        free[3 + held_axis] = False
    for _ in range(_N_ITERATIONS):
        values, slopes = image.with_slopes(points, motion)
        arms = _moved(points, motion) - centre - motion[3:]
        design = np.column_stack((np.cross(arms, slopes), slopes, values))
        power = float(values @ values)
        gain = float(values @ target) / power if power > 0 else 1.0
        rest = target / max(gain, 1e-6) - values
        # A few voxels of flow or artefact must not steer the fit.
        spread = 1.4826 * np.median(np.abs(rest)) + 1e-12
        weight = image.sees(points, motion) / np.maximum(np.abs(rest) / (2.5 * spread), 1)
        step = np.zeros(7)
        step[free] = _solve(design[:, free], weight, rest)
        step = step[:6]
        turn = Rotation.from_rotvec(step[:3]) * Rotation.from_rotvec(motion[:3])
        motion = np.concatenate((turn.as_rotvec(), motion[3:] + step[3:]))
        if np.abs(step[:3]).max() < 1e-4 and np.abs(step[3:]).max() < 5e-3:
            break
    return motion


def _solve(design: NDArray, weight: NDArray, rest: NDArray) -> NDArray[np.float64]:
    """Weighted least squares, with a trace of a ridge."""
    normal = design.T @ (weight[:, None] * design)
    normal += 1e-6 * np.diag(np.diag(normal)) + 1e-12 * np.eye(len(normal))
    return np.linalg.solve(normal, design.T @ (weight * rest))


def _align_to_predictions(
    images: list[_Smooth],
    points: NDArray,
    groups: list[NDArray[np.intp]],
    gradients: Gradients,
    motions: NDArray,
) -> None:
    """Register every volume to what the others of its group predict; `motions` is changed."""
    values = np.stack([image.at(points, motion) for image, motion in zip(images, motions)])
    for members in groups:
        if members.size == 1:
            continue
        for index, weight in zip(members, predictors(gradients.subset(members))):
            motions[index] = _register(images[index], points, weight @ values[members], motions[index])
            # At once, for the next to see: two volumes that moved towards each other would change places.
            values[index] = images[index].at(points, motions[index])


def _largest_step(before: NDArray, after: NDArray, points: NDArray, groups: list[NDArray[np.intp]]) -> float:
    """How far any volume was moved relative to its group, in mm at the point of the brain moved farthest."""
    some = points[:: max(1, len(points) // 200)]
    moved = np.stack([_moved(some, new) - _moved(some, old) for old, new in zip(before, after)])
    for members in groups:
        # What all volumes of a group do alike is no motion between them.
        moved[members] -= moved[members].mean(axis=0)
    return float(np.linalg.norm(moved, axis=-1).max())
