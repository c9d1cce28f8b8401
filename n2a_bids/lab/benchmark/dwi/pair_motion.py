"""Head motion between the two series of a simulated pair of opposite phase encoding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.transforms import Affine, inverse

MOTIONS = {"still": (0.0, 0.0), "3mm": (3.0, 0.0), "5mm-5deg": (5.0, 5.0)}
"""Translation in mm and rotation in degrees by the name of the condition."""


def motion_between(
    name: str, shape: tuple[int, ...], voxel_size_mm: tuple[float, float, float], phase_axis: int
) -> NDArray[np.float64]:
    """Voxel of the head as it first lay to voxel of the head in the second series.

    The translation is oblique and across the phase encoding, along which no pair can tell it from a
    displacement; the rotation is about an oblique axis through the centre of the grid.

    Parameters
    ----------
    name : str
        Of `MOTIONS`.
    shape : (3,) ints
    voxel_size_mm : (3,) floats

    Returns
    -------
    voxel_map : (4, 4) array
    """
    shift_mm, angle_deg = MOTIONS[name]
    across = np.insert(np.array([0.6, 0.8]), phase_axis, 0.0)
    turn = Rotation.from_rotvec(np.radians(angle_deg) * np.array([0.8, 0.4, 0.45])).as_matrix()
    scale = np.diag([*voxel_size_mm, 1.0])
    centre = (np.array(shape[:3]) - 1) / 2 * voxel_size_mm
    return Affine.about(turn, centre, centre + shift_mm * across).between_voxels(scale, scale)


def moved(image: NDArray, voxel_map: NDArray[np.float64]) -> NDArray[np.float32]:
    """Image of the head after the motion: read at ``voxel_map``, it shows the head as it first lay.

    Parameters
    ----------
    image : (X, Y, Z) or (X, Y, Z, C) array
    voxel_map : (4, 4) array
    """
    if np.allclose(voxel_map, np.eye(4)):
        return image.astype(np.float32)
    back = inverse(voxel_map)
    volumes = image[..., None] if image.ndim == 3 else image
    result = [
        ndimage.affine_transform(volumes[..., c], back[:3, :3], back[:3, 3], order=3, mode="nearest")
        for c in range(volumes.shape[-1])
    ]
    return np.stack(result, axis=-1).reshape(image.shape).astype(np.float32)


def residual_motion_mm(
    found: NDArray[np.float64],
    truth: NDArray[np.float64],
    mask: NDArray[np.bool_],
    voxel_size_mm: tuple[float, float, float],
    phase_axis: int,
) -> float:
    """Largest distance in the brain between two motions, but for a translation along the phase encoding."""
    points = np.argwhere(mask)
    points = np.c_[points, np.ones(len(points))]
    error = ((found - truth) @ points.T)[:3].T * voxel_size_mm
    error[:, phase_axis] -= error[:, phase_axis].mean()
    return float(np.linalg.norm(error, axis=1).max())
