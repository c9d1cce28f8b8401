"""Rigid motions of arrays, in voxels."""

import numpy as np
from scipy.spatial.transform import Rotation


def about_centre(shape, angles_deg, shift):
    """Turn about the middle of an array by angles around its axes, then shift."""
    centre = (np.array(shape) - 1) / 2
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + shift
    return matrix
