"""What was acquired of k-space, where that is known."""

import numpy as np
import pytest
from acquisitions import coloured, kept_kspace

from n2a_bids.algorithms.noise.covariance import covariance_from_power
from n2a_bids.algorithms.noise.kspace import find_acquired
from n2a_bids.algorithms.noise.model import NoiseModel, agrees_with, expected_covariance


@pytest.mark.parametrize("noise_sd", [4.0, 10.0])
@pytest.mark.parametrize(
    ("kind", "matrix", "partial", "plane"),
    [
        ("white", (64, 72, 68), (1, 1, 1), None),
        ("zero-filled by 1.5", (64, 48, 45), (1, 1, 1), None),
        ("zero-filled by 2", (64, 36, 34), (1, 1, 1), None),
        ("ellipse", (54, 72, 68), (1, 1, 1), (1, 2)),
        ("partial Fourier 6/8", (64, 72, 68), (1, 0.75, 1), None),
        ("Fermi with margin", (64, 54, 51), (1, 1, 1), None),
    ],
)
def test_acquired_part_of_k_space(acquire, brain, kind, matrix, partial, plane, noise_sd):
    """Within four lines of this small image, at high and low noise; a soft filter has no sharp border."""
    found = find_acquired(acquire(kind, noise_sd, count=1), brain[1], noise_sd)
    assert found.matrix == pytest.approx(matrix, abs=6 if "Fermi" in kind else 4)
    assert found.partial_fourier == partial
    assert found.elliptical_axes == plane


def test_noise_that_is_white_where_signal_ends_is_no_zero_filling(brain):
    """A smooth truth with white noise of a simulation: k-space is full of noise."""
    clean, mask = brain
    kept = kept_kspace(clean.shape, "zero-filled by 2")
    smooth = np.fft.ifftn(np.fft.fftn(clean) * kept).real
    noise = coloured(np.ones(clean.shape), np.random.default_rng(0)).real
    found = find_acquired((smooth + 2 * noise)[None].astype(np.float32), mask, 2.0)
    assert found.fraction == 1


def test_what_is_acquired_explains_the_noise_of_zero_filling_and_not_of_a_filter(acquire, brain):
    """A filter makes neighbours more alike than the matrix says, and only that is called one."""
    zero_filled = find_acquired(acquire("zero-filled by 1.5", 5.0), brain[1], 5.0)
    same = covariance_from_power(kept_kspace((60,) * 3, "zero-filled by 1.5"))
    smoother = covariance_from_power(kept_kspace((60,) * 3, "Gaussian of 2 voxels") ** 2)
    white = covariance_from_power(np.ones((60,) * 3))
    np.testing.assert_allclose(
        expected_covariance(zero_filled).along_axes[:, 1], same.along_axes[:, 1], atol=0.08
    )
    assert agrees_with(same, zero_filled) and not agrees_with(white, zero_filled)
    assert not NoiseModel(same, "air", zero_filled).is_filtered
    assert NoiseModel(smoother, "air", zero_filled).is_filtered
