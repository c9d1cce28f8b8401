"""Laws of the Fourier ring correlation: known answers."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.ring_correlation import (
    estimated_ring_correlation,
    fourier_ring_correlation,
)


def test_one_image_agrees_up_to_nyquist_and_noise_nowhere():
    """The two ends of the scale."""
    first, second = np.random.default_rng(0).standard_normal((2, 128, 160))
    assert fourier_ring_correlation(first, first, 4.0).resolution_seventh == pytest.approx(8.0)
    apart = fourier_ring_correlation(first, second, 4.0)
    assert apart.resolution_seventh is None or apart.resolution_seventh > 40


def test_the_crossing_lies_where_signal_and_noise_meet():
    """White noise on a Gaussian spectrum: at a correlation of 1/7 the noise has six times the power."""
    rng = np.random.default_rng(1)
    sd = 2.0
    signal = ndimage.gaussian_filter(rng.standard_normal((512, 512)), sd, mode="wrap")
    first, second = (signal + 0.1 * rng.standard_normal(signal.shape) for _ in range(2))
    # exp(-4 pi^2 sd^2 f^2) = 0.01 / 6
    frequency = np.sqrt(np.log(6 / 0.01) / 4) / (np.pi * sd)
    found = fourier_ring_correlation(first, second, 0.5)
    assert found.resolution_seventh == pytest.approx(0.5 / frequency, rel=0.08)
    assert found.resolution_one_bit > found.resolution_seventh


@pytest.fixture(scope="module")
def halves() -> list[np.ndarray]:
    """A signal of a Gaussian spectrum, and two images of it with independent noise."""
    rng = np.random.default_rng(1)
    signal = ndimage.gaussian_filter(rng.standard_normal((384, 384)), 2.0, mode="wrap")
    return [signal, *(signal + 0.1 * rng.standard_normal(signal.shape) for _ in range(2))]


def test_smoothing_both_halves_shows_no_finer_detail(halves):
    """The same for all values of a ring, it adds nothing, whatever it does to the noise."""
    _, *noisy = halves
    smooth = [ndimage.gaussian_filter(half, 1.0, mode="wrap") for half in noisy]
    before, after = fourier_ring_correlation(*noisy), estimated_ring_correlation(tuple(noisy), tuple(smooth))
    assert after.resolution_seventh == pytest.approx(before.resolution_seventh, rel=0.05)
    assert after.resolution_one_bit == pytest.approx(before.resolution_one_bit, rel=0.05)


def test_errors_that_estimates_have_in_common_are_no_detail(halves):
    """As of a network that draws into both what neither shows: their own correlation would reach Nyquist."""
    _, *noisy = halves
    common = 0.1 * np.random.default_rng(9).standard_normal(noisy[0].shape)
    estimates = tuple(half + common for half in noisy)
    before, after = fourier_ring_correlation(*noisy), estimated_ring_correlation(tuple(noisy), estimates)
    assert fourier_ring_correlation(*estimates).resolution_seventh < 2.2
    assert after.resolution_seventh > before.resolution_seventh


def test_an_estimate_is_as_good_as_the_truth_tells(halves):
    """A better one, here with less noise by half, in every ring that the halves still show together."""
    signal, *noisy = halves
    estimates = tuple(signal + 0.5 * (half - signal) for half in noisy)
    found = estimated_ring_correlation(tuple(noisy), estimates)
    expected = fourier_ring_correlation(*estimates)
    known = found.correlation > 0
    assert known[:60].all()
    np.testing.assert_allclose(found.correlation[3:50], expected.correlation[3:50], atol=0.08)


def test_other_images_are_refused():
    """Of two sizes, or too small."""
    with pytest.raises(ValueError, match="one size"):
        fourier_ring_correlation(np.zeros((32, 32)), np.zeros((32, 33)))
    with pytest.raises(ValueError, match="16 pixels"):
        fourier_ring_correlation(np.zeros((8, 32)), np.zeros((8, 32)))
