"""A scene as microscopes show it, and exposures of it whose content was turned and shifted."""

import numpy as np
from scipy import ndimage

from n2a_bids.algorithms.micrographs.drift import rotation_matrix

EDGE = 256
"""Pixels of a specimen."""


def blobs(rng, size=256):
    """Blobs of two sizes, positive."""
    noise = rng.standard_normal((size, size))
    fields = [ndimage.gaussian_filter(noise, sd, mode="wrap") for sd in (2, 8)]
    return 10 * np.clip(1 + 0.3 * sum(field / field.std() for field in fields), 0.05, None)


def moved(image, shift, angle_deg=0.0):
    """The image with its content turned about its middle and shifted."""
    middle = (np.array(image.shape) - 1) / 2
    back = rotation_matrix(np.radians(angle_deg)).T
    return ndimage.affine_transform(image, back, middle - back @ (middle + shift), order=5, mode="mirror")


def specimen(shift=(0, 0), contrast=25.0):
    """What an exposure expects to count whose specimen moved by whole pixels, (256, 256)."""
    noise = np.random.default_rng(3).standard_normal((EDGE + 64, EDGE + 64))
    field = sum(one / one.std() for one in (ndimage.gaussian_filter(noise, sd) for sd in (2, 6)))
    return np.roll(np.maximum(100 + contrast * field, 0), shift, (0, 1))[32:-32, 32:-32]
