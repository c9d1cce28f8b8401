"""Laws of noise in correlations: a noisy head is no other head, and noise is no head."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.quality.alignment_checks import QCThresholds
from n2a_bids.algorithms.registration.alignment import judge_alignment
from n2a_bids.algorithms.registration.dwi_alignment import judge_series
from n2a_bids.algorithms.registration.noise_attenuation import (
    PairNoise,
    filtered_noise_variance,
    without_attenuation,
)
from n2a_bids.algorithms.registration.placed_images import PlacedImage
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.config import AlignConfig

_SHAPE, _AFFINE = (60, 68, 56), np.diag([2.0, 2.0, 2.0, 1.0])
_GATES = QCThresholds(**AlignConfig().thresholds)


def _brain(seed):
    """Brain of mean 1 with folds of its own, (X, Y, Z), and its mask; every person has the same shape."""
    points = (np.indices(_SHAPE).T - (np.array(_SHAPE) - 1) / 2) / (np.array(_SHAPE) / 2.2)
    mask = ((points**2).sum(axis=-1) < 1).T
    folds = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(_SHAPE), 1.5)
    # Shared by all: deep grey and white matter.
    depth = ndimage.gaussian_filter(mask.astype(float), 4)
    return (mask * (0.5 + 0.5 * depth + 0.12 * folds / folds.std())).astype(np.float32), mask


def _measured(image, snr, seed):
    """A magnitude image whose noise SD is the mean of the brain over the SNR."""
    noise = np.random.default_rng(seed).normal(0, 1 / snr, (2, *image.shape))
    return np.hypot(image + noise[0], noise[1]).astype(np.float32)


def _judged(first, second, mask):
    found = judge_alignment(second, _AFFINE, np.eye(4), PlacedImage(first, _AFFINE, mask), _GATES)
    series = PlacedImage(first, _AFFINE, mask)
    noise = PairNoise.measure(first, mask, second, np.eye(4))
    seen = np.ones(_SHAPE, bool)
    return found, judge_series(series, second, second, seen, Affine(), _GATES, noise)


@pytest.mark.parametrize("snr", [20, 3, 2])
def test_noise_alone_refuses_no_repetition(snr):
    """The correlation is that of the heads without noise, whatever the noise; T1w and b0 images alike."""
    brain, mask = _brain(1)
    for found in _judged(_measured(brain, snr, 2), _measured(brain, snr, 3), mask):
        assert found.reason == ""
        assert found.structure_correlation > 0.9 and found.correlation_after > 0.95


@pytest.mark.parametrize("snr", [3, 1.5])
def test_another_person_is_refused_at_any_noise(snr):
    """What noise hides is not given back to folds that differ."""
    (brain, mask), (other, _) = _brain(1), _brain(12)
    for found in _judged(_measured(brain, snr, 2), _measured(other, snr, 3), mask):
        assert found.structure_correlation < 0.3
        assert "folds of the brain do not match" in found.reason


def test_noise_is_no_repetition():
    """A phantom of noise has nothing in common with a head, nor with another one."""
    brain, mask = _brain(1)
    empty = np.zeros_like(brain)
    for first in (_measured(brain, 3, 2), _measured(empty, 1, 3)):
        for found in _judged(first, _measured(empty, 1, 4), mask):
            assert abs(found.structure_correlation) < 0.3
            assert found.reason


@pytest.mark.parametrize("size_of_moving", [1.0, 1.6])
def test_variance_of_filtered_noise_is_that_of_the_chain(size_of_moving):
    """Noise of a turned grid, interpolated and filtered, has the variance that is predicted."""
    voxel_map = np.eye(4)
    voxel_map[:3, :3] = Rotation.from_euler("xyz", (4, 7, -3), degrees=True).as_matrix() / size_of_moving
    voxel_map[:3, 3] = (3.3, 1.1, -0.4)
    noise = np.random.default_rng(7).standard_normal((110,) * 3).astype(np.float32)
    shown = ndimage.affine_transform(noise, voxel_map[:3, :3], voxel_map[:3, 3] + 4, (96,) * 3, order=1)
    band = ndimage.gaussian_filter(shown, 1.2) - ndimage.gaussian_filter(shown, 3)
    expected = band[20:60, 20:60, 20:60].var()
    found = filtered_noise_variance(voxel_map, np.full(3, 40.0), 1.2, 3.0)
    assert found == pytest.approx(expected, rel=0.15)
    # Without interpolation it is the sum of squares of the kernel.
    kept = filtered_noise_variance(np.eye(4), np.full(3, 39.5), 1.2)
    assert kept == pytest.approx((4 * np.pi * 1.2**2) ** -1.5, rel=0.15)


def test_wide_kernels_of_tiny_voxels_take_no_large_box():
    """1.2 and 3 mm with voxels of 0.05 mm: by the squares of the kernels, without a box of 400 voxels."""
    fine, coarse = 24.0, 60.0
    between = ((fine**2 + coarse**2) / 2) ** -1.5
    expected = (4 * np.pi) ** -1.5 * (fine**-3 + coarse**-3 - 2 * between)
    tracemalloc.start()
    try:
        found = filtered_noise_variance(np.eye(4), np.full(3, 150.0), fine, coarse)
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == pytest.approx(expected, rel=0.15)
    assert most_bytes < 100e6
    smooth = filtered_noise_variance(np.eye(4), np.full(3, 150.0), 40.0)
    assert smooth == pytest.approx((4 * np.pi * 40.0**2) ** -1.5, rel=0.15)


def test_correction_is_bounded():
    """Where noise is all there is, a correlation is no more than ten times what was measured."""
    assert without_attenuation(0.02, (1.0, 1.0), (1.0, 1.2)) == pytest.approx(0.2)
    assert without_attenuation(0.9, (1.0, 1.0), (0.5, 0.5)) == 1


def test_nothing_measured_in_the_brain_is_told_as_such():
    """A reference without a measured voxel of the brain refuses others with a reason, not with a crash."""
    brain, mask = _brain(1)
    first, second = _measured(brain, 20, 2), _measured(brain, 20, 3)
    found = judge_alignment(second, _AFFINE, np.eye(4), PlacedImage(first, _AFFINE, mask, ~mask), _GATES)
    assert found.overlap == 0 and "holds 0% of the brain" in found.reason
