"""The standard error that a registration states is the error that it makes."""

import numpy as np
import pytest
from scipy import ndimage
from textured_heads import motion_head

from n2a_bids.algorithms.registration.rigid import register_rigid
from n2a_bids.algorithms.registration.rigid_fit import (
    SmoothImage,
    fit_motion,
    independent_blocks,
    motion_covariance,
    sample_points,
)

_SIZE = (3.0, 3.0, 3.0)
_ARC_MM = np.array([30.0, 30, 30, 1, 1, 1])


def _head():
    image, mask = motion_head((28, 30, 24))
    return image / 100, mask


@pytest.mark.parametrize("noise_sd", [0.03, 0.1, 0.4])
def test_stated_error_is_the_true_one(noise_sd):
    """With noise of a thirtieth of the signal to almost half of it, on a target that is noisy too."""
    image, mask = _head()
    generator = np.random.default_rng(1)
    points = sample_points(mask, _SIZE)
    noisy = image + 0.3 * noise_sd * generator.standard_normal(image.shape)
    target = SmoothImage(noisy, _SIZE, 1.5).target(points, np.zeros(6))
    found, variances = [], []
    for _ in range(12):
        moving = SmoothImage(image + noise_sd * generator.standard_normal(image.shape), _SIZE, 1.5)
        motion = fit_motion(moving, points, target, np.zeros(6))
        found.append(motion * _ARC_MM)
        variances.append(np.diag(motion_covariance(moving, points, target, motion)) * _ARC_MM**2)
    true, stated = np.sqrt(np.mean(np.square(found))), np.sqrt(np.mean(np.median(variances, axis=0)))
    assert 0.67 < stated / true < 1.5


def test_noise_alone_moves_no_image():
    """Two noisy images of one head are left exactly where they are; a head that was shifted is found."""
    image, mask = _head()
    generator = np.random.default_rng(2)
    first, second, third = (image + 0.1 * generator.standard_normal(image.shape) for _ in range(3))
    moved = register_rigid(first, second, mask, _SIZE, beyond_error=True)
    assert np.array_equal(moved, np.eye(4))
    shifted = ndimage.shift(image, (0, 1.5, 0), order=3) + (third - image)
    centre = np.append(np.argwhere(mask).mean(axis=0), 1)
    found = (register_rigid(first, shifted, mask, _SIZE, beyond_error=True) @ centre - centre)[:3]
    assert np.abs(found - [0, 1.5, 0]).max() < 0.35


_SMALL_HEADS = [
    ((36.0, 36.0, 30.0), 1.5, 0.7),
    ((12.0, 22.0, 10.0), 0.4, 0.2),
    ((150.0, 170.0, 16.0), 2.5, 0.7),
]
"""Extent, voxel size and a shift (mm): a marmoset's brain, a rat's, and a slab of an adult's."""


def _small_head(extent_mm, voxel_mm):
    shape = tuple(round(extent / voxel_mm) + 8 for extent in extent_mm)
    places = (np.indices(shape).T - (np.array(shape) - 1) / 2).T * voxel_mm
    mask = sum((place / (extent / 2)) ** 2 for place, extent in zip(places, extent_mm, strict=True)) < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(shape), 2)
    return ndimage.gaussian_filter(mask * (1 + 0.3 * texture / texture.std()), 0.6), mask


@pytest.mark.parametrize(("extent_mm", "voxel_mm", "shift_mm"), _SMALL_HEADS)
def test_a_small_head_is_as_still_as_a_large_one(extent_mm, voxel_mm, shift_mm):
    """Its standard error is known from enough blocks: noise moves it no more often, true motion is found."""
    image, mask = _small_head(extent_mm, voxel_mm)
    size, generator = (voxel_mm,) * 3, np.random.default_rng(1)
    points = sample_points(mask, size)
    assert len(points) > 100 and independent_blocks(points).max() + 1 >= 50

    def measured(head):
        return head + 0.2 * generator.standard_normal(image.shape)

    still = [
        register_rigid(measured(image), measured(image), mask, size, beyond_error=True) for _ in range(8)
    ]
    assert sum(not np.array_equal(found, np.eye(4)) for found in still) <= 1
    moved = ndimage.shift(image, (0, shift_mm / voxel_mm, 0), order=3)
    centre = np.append(np.argwhere(mask).mean(axis=0), 1)
    found = register_rigid(measured(image), measured(moved), mask, size, beyond_error=True) @ centre - centre
    assert found[1] * voxel_mm == pytest.approx(shift_mm, rel=0.35)
