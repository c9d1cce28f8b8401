"""The deformation of a small head to itself and to a larger one."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.lab.benchmark.downstream.registration import (
    compare_jacobians,
    log_jacobian,
    registration_analysis,
)
from n2a_bids.lab.benchmark.truths import Truth


def head(scale: float = 1.0, size: int = 32) -> Truth:
    """A textured ball, in a world whose axes are turned against the array."""
    places = (np.indices((size,) * 3) - (size - 1) / 2) / scale
    distance = np.linalg.norm(places, axis=0)
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((size,) * 3), 2)
    texture = ndimage.affine_transform(texture, np.eye(3) / scale, (size - 1) / 2 * (1 - 1 / scale), order=1)
    data = np.where(distance < 11, 100 + 800 * texture, 0).astype(np.float32)
    affine = np.array([[0, 0, 2.0, 5], [-2, 0, 0, 1], [0, 2, 0, -4], [0, 0, 0, 1]])
    return Truth("head", data, distance < 11, affine)


def test_volume_is_told_by_the_logarithm():
    """A head that is larger in each direction by a tenth has 3 log 1.1 in its middle."""
    target, larger = head(), head(1.1)
    found = np.zeros(target.mask.shape)
    found[target.mask] = log_jacobian(larger.data, target.data, target)
    middle = found[12:20, 12:20, 12:20]
    assert np.median(middle) == pytest.approx(3 * np.log(1.1), abs=0.1)
    assert np.median(np.abs(log_jacobian(target.data, target.data, target))) < 0.02


def test_a_template_elsewhere_is_brought_to_the_head_first():
    """What is left is small: size and place are the affine part, which is the same for all images."""
    truth, template = head(), head(0.85)
    moved = template.affine.copy()
    moved[:3, 3] += (6, -4, 3)
    analysis = registration_analysis(truth, truth, Truth("template", template.data, template.mask, moved))
    found = analysis.analyse(truth.data)
    assert np.abs(np.median(found)) < 0.05
    noisy = truth.data + 30 * np.random.default_rng(1).standard_normal(truth.data.shape).astype(np.float32)
    difference = analysis.differences(analysis.analyse(noisy), found)["log_jacobian"]
    assert 0.001 < difference < 0.5
    assert compare_jacobians(found, found) == {"log_jacobian": 0.0}
