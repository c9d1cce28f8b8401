"""Laws of the Fourier ring correlation: known answers."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.ring_correlation import fourier_ring_correlation


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


def test_other_images_are_refused():
    """Of two sizes, or too small."""
    with pytest.raises(ValueError, match="one size"):
        fourier_ring_correlation(np.zeros((32, 32)), np.zeros((32, 33)))
    with pytest.raises(ValueError, match="16 pixels"):
        fourier_ring_correlation(np.zeros((8, 32)), np.zeros((8, 32)))
