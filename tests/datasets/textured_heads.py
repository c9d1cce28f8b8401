"""Small heads of smooth texture for tests of motion and distortion: an ellipsoid in air, and its mask."""

import numpy as np
from scipy import ndimage


def distortion_head(shape=(36, 48, 26), extent=1.25):
    """A head of about 100 with dark and bright places; `extent` is half of the view over half of the head."""
    mask, texture = _ellipsoid(shape, extent, 0.8), _texture(shape, 0, 1.5)
    return (100 * ndimage.gaussian_filter(mask.astype(float), 0.7) * (1 + 2 * texture)).clip(0), mask


def motion_head(shape=(28, 30, 20), seed=0):
    """A head of about 100, nowhere dark, with air around it on all sides; other seeds are other heads."""
    mask, texture = _ellipsoid(shape, 1.0, 0.6), _texture(shape, seed, 2)
    return 100 * ndimage.gaussian_filter(mask.astype(float), 1) * (1 + 2 * texture).clip(0.2), mask


def _ellipsoid(shape, extent, squared_radius):
    grid = np.stack(np.meshgrid(*(np.linspace(-extent, extent, n) for n in shape), indexing="ij"))
    return (grid**2).sum(axis=0) < squared_radius


def _texture(shape, seed, sd_voxels):
    return ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sd_voxels)
