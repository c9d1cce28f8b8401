"""Checks of brain masks: tissue is told from noise, however much noise lies on it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.quality.mask_checks import shows_structure

VOXEL_MM = (4.0, 4.0, 4.0)


@pytest.mark.parametrize("noise_sd", [0, 100, 300, 600])
def test_a_head_shows_structure_in_any_usable_noise(noisy_runs, head, noise_sd):
    """The brain of the small head has a mean of about 650."""
    (image,) = noisy_runs(n=1, noise_sd=noise_sd)
    is_structured, correlation = shows_structure(image, head[1], VOXEL_MM)
    assert is_structured
    assert correlation > 0.02


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("smoothness_voxels", [0, 1])
def test_noise_shows_none(head, seed, smoothness_voxels):
    """Rician noise, also where it has been smoothed (2.4 mm FWHM in voxels of 1 mm)."""
    generator = np.random.default_rng(seed)
    image = np.hypot(*generator.normal(0, 50, (2, 72, 72, 72)))
    image = ndimage.gaussian_filter(image, smoothness_voxels)
    mask = np.zeros(image.shape, dtype=bool)
    mask[6:66, 6:66, 6:66] = True
    is_structured, correlation = shows_structure(image, mask, (1.0, 1.0, 1.0))
    assert not is_structured
    assert abs(correlation) < 0.02


def test_a_mask_beside_the_head_shows_none(noisy_runs, head):
    """Air is noise, and what is constant has no structure either."""
    corner = np.zeros(head[1].shape, dtype=bool)
    corner[:6, :6, :12] = True
    (image,) = noisy_runs(n=1)
    assert not shows_structure(image, corner, VOXEL_MM)[0]
    assert shows_structure(np.ones(image.shape), head[1], VOXEL_MM) == (False, 0.0)
    assert shows_structure(image, np.zeros(image.shape, dtype=bool), VOXEL_MM) == (False, 0.0)
