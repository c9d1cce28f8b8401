"""Lesions and coarse voxels change what they say, and nothing else."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.lab.simulation.random_anatomy import acquire_coarser, add_lesions


@pytest.mark.parametrize("seed", range(5))
def test_lesions_are_small_and_within_their_contrast(seed):
    """One to six, none wider than nine voxels; the air stays non-negative, and the input as it was."""
    block = np.full((40, 40, 40), 10, np.float32)
    changed = add_lesions(block, 2.0, np.random.default_rng(seed))
    difference = changed - block
    number = ndimage.label(difference)[1]
    assert 1 <= number <= 6
    assert np.abs(difference).max() <= 6 * 3.0
    assert np.abs(difference).max() >= 0.6
    assert (block == 10).all()
    assert (difference != 0).sum() <= 6 * 4 / 3 * np.pi * 4.6**3
    assert (add_lesions(np.zeros((8, 8, 8), np.float32), 1.0, np.random.default_rng(seed)) == 0).all()


def test_coarser_scans_keep_the_mean_and_smooth_structure():
    """A slow wave is what it was at the larger voxels; the mean is exact."""
    x = (np.arange(64) + 0.5) / 64
    block = (5 + np.cos(2 * np.pi * x))[:, None, None] * np.ones((1, 32, 24))
    coarse = acquire_coarser(block.astype(np.float32), (32, 32, 24))
    assert coarse.mean() == pytest.approx(block.mean(), rel=1e-5)
    centres = (np.arange(32) + 0.5) / 32
    np.testing.assert_allclose(coarse[:, 3, 4], 5 + np.cos(2 * np.pi * centres), atol=1e-4)
