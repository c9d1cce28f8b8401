"""Rigid registration of two images of one contrast, its coarse start, and the midspace of transforms.

Everywhere, a transform maps points of the reference (world mm, RAS+) to points of the moving image, the
direction in which images are resampled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats
from scipy.linalg import expm, logm
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.registration.resampling import block_means
from n2a_bids.algorithms.registration.rigid_fit import (
    BRAIN_MM3,
    SMOOTHING_MM,
    SmoothImage,
    displacement_mm,
    fit_motion,
    independent_blocks,
    motion_covariance,
    motion_matrix,
    sample_points,
    size_factor,
)
from n2a_bids.algorithms.transforms import Affine, Matrix, voxel_sizes_mm, world_points

_SEARCH_VOXEL_MM = 4.0
"""Edge of the voxels in which brains are searched for; less in those of animals."""
_SEARCH_ANGLES_DEG = (-40.0, -20.0, 20.0, 40.0)
_HISTOGRAM_BINS = 24


def midspace_transforms(transforms: Sequence[Matrix]) -> list[Matrix]:
    """Transforms from the space in the middle of all images.

    The middle is the mean of rigid motions (Karcher mean on the group, by fixed-point iteration on
    matrix logarithms); for two images it is the square root of the motion between them.

    Parameters
    ----------
    transforms : sequence of (4, 4) arrays
        From one common space to each image; the identity for the reference itself.

    Returns
    -------
    midspace : list of (4, 4) arrays
        From the middle space to each image.

    Examples
    --------
    >>> shift = np.eye(4); shift[0, 3] = 2.0
    >>> [half[0, 3].round(6) for half in midspace_transforms([np.eye(4), shift])]
    [np.float64(-1.0), np.float64(1.0)]
    """
    to_reference = np.eye(4)
    for _ in range(20):
        step = np.mean([np.real(logm(transform @ to_reference)) for transform in transforms], axis=0)
        to_reference = to_reference @ expm(-step)
        if np.abs(step).max() < 1e-12:
            break
    return [_orthonormal(transform @ to_reference) for transform in transforms]


def _orthonormal(transform: Matrix) -> Matrix:
    result = transform.copy()
    result[:3, :3] = Affine(transform).rotation
    result[3] = (0, 0, 0, 1)
    return result


def first_guess(
    reference: NDArray[np.float32],
    reference_affine: Matrix,
    moving: NDArray[np.float32],
    moving_affine: Matrix,
) -> Matrix:
    """Rigid transform near the right one, however far the head is from where the header says.

    Candidates are the headers as they are, and the two centres of mass laid over each other, rotated by
    up to 40 degrees about each axis. The one with the largest mutual information on a 4 mm grid wins, the
    headers in case of doubt.

    Parameters
    ----------
    reference, moving : (X, Y, Z) float arrays
        Brains: zero outside their masks, grids and contrasts of their own.
    reference_affine, moving_affine : (4, 4) float arrays
        Voxel to world mm.

    Returns
    -------
    transform : (4, 4) float array
        Reference world to moving world.
    """
    fixed, fixed_affine = _coarse(reference, reference_affine)
    other, other_affine = _coarse(moving, moving_affine)
    centre, other_centre = _centre_of_mass(fixed, fixed_affine), _centre_of_mass(other, other_affine)
    candidates = [np.eye(4), Affine.about(np.eye(3), centre, other_centre).matrix]
    for axis in "xyz":
        for angle in _SEARCH_ANGLES_DEG:
            turn = Rotation.from_euler(axis, angle, degrees=True).as_matrix()
            candidates.append(Affine.about(turn, centre, other_centre).matrix)
    scores = []
    for candidate in candidates:
        to_voxels = Affine(candidate).between_voxels(fixed_affine, other_affine)
        seen = ndimage.affine_transform(other, to_voxels[:3, :3], to_voxels[:3, 3], fixed.shape, order=1)
        scores.append(_mutual_information(fixed, seen))
    best = int(np.argmax(scores))
    return candidates[0] if scores[0] >= 0.98 * scores[best] else candidates[best]


def _coarse(image: NDArray[np.float32], affine: Matrix) -> tuple[NDArray[np.float32], Matrix]:
    """Block means of about 4 mm, less of small brains, cropped to what is not zero."""
    size = np.array(voxel_sizes_mm(affine))
    voxel_mm = _SEARCH_VOXEL_MM * size_factor(image != 0, size, BRAIN_MM3)
    box = bounding_box(image != 0)
    start = np.array([part.start for part in box], dtype=float)
    image = image[box]
    factor = np.maximum(1, np.round(voxel_mm / size)).astype(int)
    to_world = affine @ np.block([[np.diag(factor), (start + (factor - 1) / 2)[:, None]], [np.zeros(3), 1.0]])
    return block_means(image, factor), to_world


def _centre_of_mass(image: NDArray[np.float32], affine: Matrix) -> NDArray[np.float64]:
    return world_points(ndimage.center_of_mass(image != 0), affine)


def _mutual_information(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    joint, _, _ = np.histogram2d(first.ravel(), second.ravel(), bins=_HISTOGRAM_BINS)
    joint /= joint.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / independent[filled])).sum())


def register_rigid(
    fixed: NDArray,
    moving: NDArray,
    mask: NDArray[np.bool_],
    voxel_size_mm: tuple[float, float, float],
    held_axis: int | None = None,
    *,
    beyond_error: bool = False,
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
    beyond_error : bool
        Return the identity where all motion found is less than a voxel and within its error.

    Returns
    -------
    voxel_map : (4, 4) array
        Voxel of `fixed` to voxel of `moving`.
    """
    points = sample_points(mask, voxel_size_mm)
    motion = np.zeros(6)
    for smoothing_mm in np.array(SMOOTHING_MM) * size_factor(mask, voxel_size_mm):
        target = SmoothImage(fixed, voxel_size_mm, smoothing_mm).target(points, np.zeros(6))
        image = SmoothImage(moving, voxel_size_mm, smoothing_mm)
        motion = fit_motion(image, points, target, motion, held_axis)
    # Far from its place, an image differs by more than noise: only small motions are in doubt.
    in_doubt = beyond_error and displacement_mm(motion, points) < float(np.mean(voxel_size_mm))
    covariance = motion_covariance(image, points, target, motion) if in_doubt else np.zeros((6, 6))
    if in_doubt and not _is_significant(motion, covariance, int(independent_blocks(points).max()) + 1):
        motion = np.zeros(6)
    scale = np.diag([*voxel_size_mm, 1.0])
    return Affine(motion_matrix(motion, points)).between_voxels(scale, scale)


def _is_significant(motion: NDArray, covariance: NDArray, n_blocks: int) -> bool:
    """Whether a still head would be found so far away in less than one of a hundred registrations.

    The covariance is known from so many blocks, less what was fitted (Hotelling's T squared).
    """
    if not covariance.any():
        return True
    if np.isinf(covariance).any():
        return False
    size, freedom = motion.size, max(n_blocks - 7, 1)
    # What `motion_covariance` leaves of a covariance of six from few blocks, and its tails.
    limit = stats.chi2.ppf(0.99, size)
    if freedom > size:
        limit = size * freedom / (freedom - size + 1) * stats.f.ppf(0.99, size, freedom - size + 1)
    return bool(motion @ np.linalg.pinv(covariance, hermitian=True) @ motion > limit)
