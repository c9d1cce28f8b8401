"""`Affine`: 4x4 transforms of the world (RAS+, mm), composed and inverted.

One convention throughout: a transform maps points of the *target*, on whose grid an image is shown, to
points of the *source*, whose intensities are read there. This is the direction in which images are
resampled.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """A motion, perhaps with distortion, as a 4x4 matrix in mm: world of the target to world of the source.

    Examples
    --------
    >>> shift, turn = np.eye(4), np.eye(4)
    >>> shift[0, 3] = 2.0
    >>> turn[:2, :2] = [[0, -1], [1, 0]]
    >>> both = Affine(turn) @ Affine(shift)  # the shift first, then the turn
    >>> both.apply(np.array([1.0, 0.0, 0.0])).round(6).tolist()
    [0.0, 3.0, 0.0]
    >>> (~both @ both).matrix.round(6).tolist() == np.eye(4).tolist()
    True
    """

    matrix: Matrix = field(default_factory=lambda: np.eye(4))
    """(4, 4); not to be modified."""
    rigid: Matrix | None = None
    """(4, 4) motion alone, where there is distortion beside it; None where there is none."""

    def __matmul__(self, other: Affine) -> Affine:
        """Apply `other` first, then this one."""
        is_rigid = self.rigid is None and other.rigid is None
        return Affine(
            self.matrix @ other.matrix, None if is_rigid else self.motion.matrix @ other.motion.matrix
        )

    def __invert__(self) -> Affine:
        """Source world to target world."""
        inverse_of = np.linalg.inv
        return Affine(inverse_of(self.matrix), None if self.rigid is None else inverse_of(self.rigid))

    @property
    def motion(self) -> Affine:
        """The transform without distortion."""
        return self if self.rigid is None else Affine(self.rigid)

    @property
    def stretch(self) -> float:
        """Volume in the source over that in the target, as distortion changes it; exactly 1 without."""
        if self.rigid is None:
            return 1.0
        return float(np.linalg.det(self.matrix[:3, :3]) / np.linalg.det(self.rigid[:3, :3]))

    def apply(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Source coordinates of (..., 3) target coordinates, in mm."""
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def between_voxels(self, target_affine: Matrix, source_affine: Matrix) -> Matrix:
        """This transform between two grids.

        Parameters
        ----------
        target_affine, source_affine : (4, 4) arrays
            Voxel to world mm of the grid of the result, and of the image that is read.

        Returns
        -------
        voxel_map : (4, 4) array
            Indices of the target to indices of the source.
        """
        return np.linalg.inv(source_affine) @ self.matrix @ target_affine

    @staticmethod
    def about(rotation: Matrix, centre: NDArray[np.float64], moved_centre: NDArray[np.float64]) -> Affine:
        """Rotation about a point, which comes to lie at another one."""
        matrix = np.eye(4)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = moved_centre - rotation @ centre
        return Affine(matrix)

    @staticmethod
    def from_voxels(voxel_map: Matrix, target_affine: Matrix, source_affine: Matrix) -> Affine:
        """The transform that is `voxel_map` between these grids: see `between_voxels`."""
        return Affine(source_affine @ voxel_map @ np.linalg.inv(target_affine))

    @property
    def rotation(self) -> Matrix:
        """(3, 3) rotation nearest to the linear part of the motion (polar decomposition)."""
        left, _, right = np.linalg.svd(self.motion.matrix[:3, :3])
        return left @ right

    @property
    def rotation_deg(self) -> float:
        """Angle of the rotation, about whatever axis."""
        return float(np.degrees(np.linalg.norm(Rotation.from_matrix(self.motion.matrix[:3, :3]).as_rotvec())))

    def displacement_mm(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far (..., 3) points are moved."""
        return np.linalg.norm(self.apply(points) - points, axis=-1)


@dataclass(frozen=True, slots=True)
class Shear:
    """A displacement along one axis that changes linearly with the position."""

    axis: int
    centre_mm: NDArray[np.float64]
    """(3,) where it is `shift_mm`."""
    shift_mm: float
    slopes: NDArray[np.float64]
    """(3,) change of the displacement per mm along each axis."""

    def along(self, points: NDArray) -> NDArray[np.float64]:
        """(N,) displacement of (N, 3) points along the axis."""
        return self.shift_mm + (points - self.centre_mm) @ self.slopes

    def apply(self, points: NDArray) -> NDArray[np.float64]:
        """(N, 3) points where they are displaced to."""
        moved = np.array(points, dtype=float)
        moved[:, self.axis] += self.along(points)
        return moved

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(4, 4) matrix in mm that does so."""
        matrix = np.eye(4)
        matrix[self.axis, :3] += self.slopes
        matrix[self.axis, 3] = self.shift_mm - self.slopes @ self.centre_mm
        return matrix


def world_points(voxels: NDArray, affine: Matrix) -> NDArray[np.float64]:
    """(..., 3) world coordinates in mm of (..., 3) voxel indices."""
    return Affine(affine).apply(np.asarray(voxels, dtype=float))


def spread_points(mask: NDArray[np.bool_], affine: Matrix, n_points: int) -> NDArray[np.float64]:
    """(N, 3) world coordinates of about so many voxels of a mask, evenly spread."""
    voxels = np.argwhere(mask)
    return world_points(voxels[:: max(1, len(voxels) // n_points)], affine)


def inverse(matrix: Matrix) -> Matrix:
    """The inverse of a (4, 4) matrix, such as world to voxel from an affine."""
    return (~Affine(matrix)).matrix


def voxel_sizes_mm(affine: Matrix) -> tuple[float, float, float]:
    """Edge lengths of a voxel.

    Examples
    --------
    >>> voxel_sizes_mm(np.diag([-2.0, 2.0, 3.0, 1.0]))
    (2.0, 2.0, 3.0)
    """
    return tuple(float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))


def sizes_along(first: Matrix, other: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edge lengths of the voxels of two grids along the same directions of the head, those of the first.

    Storage orders differ: each axis is compared with the one of the other grid that runs along it.

    Examples
    --------
    >>> axial, sagittal = np.diag([1.0, 1.0, 4.0, 1.0]), np.diag([4.0, 1.0, 1.0, 1.0])
    >>> [sizes.tolist() for sizes in sizes_along(axial, sagittal)]
    [[1.0, 1.0, 4.0], [4.0, 1.0, 1.0]]
    """
    along = np.abs(Affine(np.asarray(first, float)).rotation.T @ Affine(np.asarray(other, float)).rotation)
    _, columns = linear_sum_assignment(-along)
    return np.array(voxel_sizes_mm(first)), np.array(voxel_sizes_mm(other))[columns]
