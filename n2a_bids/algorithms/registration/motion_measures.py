"""Framewise displacement, rotation and translation of volumes; gradient directions rotated back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.transforms import Affine

_HEAD_RADIUS_MM = 50.0
"""Of the brains of animals as much less as these are smaller."""


@dataclass(frozen=True, slots=True)
class MotionMeasures:
    """Motion of each volume relative to the first b0 of its series."""

    rotation_deg: NDArray[np.float64]
    """(C,) angles."""
    translation_mm: NDArray[np.float64]
    """(C,) displacement of the centre of the brain."""
    framewise_displacement_mm: NDArray[np.float64]
    """(C - 1,) between neighbours in time: sum of the absolute differences of three translations and of three
    angles, these as arcs on a sphere of 50 mm (Power et al., NeuroImage 2012), of a smaller one in brains
    under 200 ml."""

    @property
    def mean_framewise_displacement_mm(self) -> float:
        """Over all neighbours; 0 for one volume."""
        return float(self.framewise_displacement_mm.mean()) if self.framewise_displacement_mm.size else 0.0

    @property
    def max_framewise_displacement_mm(self) -> float:
        """Over all neighbours; 0 for one volume."""
        return float(self.framewise_displacement_mm.max(initial=0.0))


def measure_motion(
    transforms: Sequence[Affine],
    centre_mm: NDArray[np.float64],
    times: Sequence[int] | None = None,
    size: float = 1.0,
) -> MotionMeasures:
    """Sizes of the motion within a series.

    Parameters
    ----------
    transforms : sequence of C Affine
        World of the corrected series to world of each volume; distortion beside the motion does not count.
    centre_mm : (3,) array
        Centre of the brain in the world: rotations are about it.
    times : sequence of C ints, optional
        Indices of the volumes in the order of acquisition; as they are by default.
    size : float
        Edge length of the brain of an animal over that of one of 200 ml, by `size_factor`.
    """
    shifts = np.array([transform.motion.apply(centre_mm) - centre_mm for transform in transforms])
    angles = np.array([Rotation.from_matrix(one.rotation).as_euler("xyz") for one in transforms])
    order = np.arange(len(transforms)) if times is None else np.argsort(times)
    steps = np.abs(np.diff(np.hstack([shifts, size * _HEAD_RADIUS_MM * angles])[order], axis=0))
    return MotionMeasures(
        rotation_deg=np.array([transform.rotation_deg for transform in transforms]),
        translation_mm=np.linalg.norm(shifts, axis=1),
        framewise_displacement_mm=steps.sum(axis=1),
    )


def undo_rotations(gradients: Gradients, transforms: Sequence[Affine]) -> Gradients:
    """Directions in the corrected head, in the world.

    Parameters
    ----------
    gradients : Gradients
        As applied by the scanner, in the world.
    transforms : sequence of C Affine
        World of the corrected head to world of the head as it lay in each volume: directions go the other
        way.

    Returns
    -------
    rotated : Gradients
        Zero vectors stay zero.
    """
    rotated = [vector @ one.rotation for vector, one in zip(gradients.bvecs, transforms, strict=True)]
    return replace(gradients, bvecs=np.array(rotated))


def mean_gradients(tables: Sequence[Gradients]) -> Gradients:
    """Mean b-value and direction of corresponding volumes, with the signs of the first table."""
    first = tables[0].bvecs
    total = np.zeros_like(first)
    for table in tables:
        agreement = np.sum(table.bvecs * first, axis=1, keepdims=True)
        total += np.where(agreement < 0, -table.bvecs, table.bvecs)
    norms = np.linalg.norm(total, axis=1, keepdims=True)
    bvecs = np.divide(total, norms, out=np.zeros_like(total), where=norms > 0)
    return replace(tables[0], bvals=np.mean([table.bvals for table in tables], axis=0), bvecs=bvecs)


def eddy_displacement_mm(transforms: Sequence[Affine], points_mm: NDArray[np.float64]) -> float:
    """How far distortion beside the motion moves any of (N, 3) points of the world in any volume.

    Examples
    --------
    >>> sheared = np.eye(4)
    >>> sheared[1, 2] = 0.05
    >>> eddy_displacement_mm([Affine(), Affine(sheared, np.eye(4))], np.array([[0.0, 0.0, 40.0]]))
    2.0
    """
    distorted = [one for one in transforms if one.rigid is not None]
    moved = [np.linalg.norm(one.apply(points_mm) - one.motion.apply(points_mm), axis=1) for one in distorted]
    return float(max((one.max() for one in moved), default=0.0))


def even_intensity(data: NDArray[np.float32], transforms: Sequence[Affine]) -> None:
    """Take out of a series the intensity that volumes gained or lost where they were squeezed or stretched.

    Parameters
    ----------
    data : (X, Y, Z, C) float32 array
        Changed in place: signal is conserved, so that what is squeezed is brighter.
    transforms : sequence of C Affine
        World of the corrected head to world of each volume.
    """
    for volume, one in enumerate(transforms):
        if one.rigid is not None:
            data[..., volume] *= np.float32(one.stretch)
