"""Laws of the Rician noise floor."""

import numpy as np
import pytest

from n2a_bids.algorithms.noise.rician import (
    complex_noise_sd,
    plausible_signal,
    remove_noise_floor,
    rician_mean,
    rician_variance,
)


def test_rician_moments_match_sampling():
    """Mean and variance agree with a large sample at every signal level."""
    generator = np.random.default_rng(0)
    for level in (0.0, 1.0, 3.0, 10.0):
        sample = np.hypot(level + generator.standard_normal(400_000), generator.standard_normal(400_000))
        assert rician_mean(level, 1.0) == pytest.approx(sample.mean(), abs=0.005)
        assert rician_variance(np.array(level), 1.0) == pytest.approx(sample.var(), abs=0.01)


def test_removal_inverts_expectation_at_any_scale():
    """remove(expectation(x)) == x, whatever the unit."""
    signal = np.array([0.0, 0.5, 2.0, 10.0, 99.0, 500.0])
    for sd in (0.1, 1.0, 37.0):
        back = remove_noise_floor(rician_mean(signal * sd, sd), sd)
        assert np.allclose(back, signal * sd, atol=0.02 * sd)


def test_no_noise_changes_nothing():
    """With a noise SD of zero the image is its own truth."""
    image = np.array([0.0, 3.0, 7.0])
    assert np.array_equal(remove_noise_floor(image, 0.0), image.astype(np.float32))


def test_complex_sd_is_recovered_from_magnitudes():
    """The pooled SD of magnitudes, low signal included, gives the SD of the complex noise."""
    signal = np.array([[0.5, 2.0, 8.0], [3.0, 3.0, 12.0]])
    sd = 1.7
    pooled = np.sqrt(rician_variance(signal * sd, sd).mean())
    estimate = complex_noise_sd(np.full(2, pooled), rician_mean(signal * sd, sd))
    assert np.allclose(estimate, sd, rtol=0.02)


def test_plausible_signal_leaves_b0s_alone():
    """Weighted signals below free water rise, and b0s that scatter about their mean stay."""
    signal = np.array([[103.0, 97.0, 0.0, 60.0]], np.float32)
    raised = plausible_signal(
        signal, np.array([100.0]), np.array([0.0, 5.0, 1000.0, 1000.0]), np.array([5.0])
    )
    np.testing.assert_array_equal(raised[0, [0, 1, 3]], signal[0, [0, 1, 3]])
    assert raised[0, 2] == pytest.approx(100 * np.exp(-3.2), rel=1e-4)


def test_signal_of_flowing_water_stays_as_measured():
    """Blood, seven times as fast as free water, lowers the signal of low b-values, far above the noise."""
    bvals = np.array([0.0, 20.0, 50.0, 100.0])
    signal = 100 * (0.7 * np.exp(-1e-3 * bvals) + 0.3 * np.exp(-20e-3 * bvals))[None]
    assert np.any(signal < 100 * np.exp(-3.2e-3 * bvals))
    raised = plausible_signal(signal, np.array([100.0]), bvals, np.array([3.0]))
    np.testing.assert_array_equal(raised, signal.astype(np.float32))
