"""Laws of counting noise: the line of variances is found, stabilised, and inverted without bias."""

import numpy as np
import pytest
from scipy import ndimage, stats

from n2a_bids.algorithms.micrographs.counting_noise import CountingNoise, Stabiliser, fit_counting_noise


def scene(rng, size=256, mean=20.0):
    """Smooth field between about 0.1 and 2 times the mean."""
    field = ndimage.gaussian_filter(rng.standard_normal((size, size)), 6)
    return mean * np.clip(1 + 0.5 * field / field.std(), 0.1, None)


@pytest.mark.parametrize(
    ("gain", "zero", "read_sd", "mean"),
    [(1.0, 0.0, 0.0, 2.0), (1.0, 0.0, 0.0, 40.0), (3.5, 100.0, 4.0, 30.0), (-2.0, 255.0, 3.0, 30.0)],
)
def test_gain_and_offset_are_found(gain, zero, read_sd, mean):
    """Cameras with gain, black level and readout noise, inverted images, and few counts."""
    rng = np.random.default_rng(3)
    expected = scene(rng, mean=mean)
    shape = (2, *expected.shape)
    exposures = gain * rng.poisson(expected, shape) + zero + read_sd * rng.standard_normal(shape)
    exposures[0, ::40, ::40] += 50 * abs(gain) * mean  # dust
    noise = fit_counting_noise(exposures)
    truth = CountingNoise(gain, read_sd**2 - gain * zero)
    intensities = gain * np.percentile(expected, (10, 50, 90)) + zero
    np.testing.assert_allclose(noise.variance(intensities), truth.variance(intensities), rtol=0.06)


def test_even_noise_has_no_gain():
    """What does not change with the intensity is no counting noise."""
    rng = np.random.default_rng(4)
    expected = scene(rng)
    noise = fit_counting_noise(expected + 3 * rng.standard_normal((3, *expected.shape)))
    assert noise.gain == 0
    assert noise.offset == pytest.approx(9, rel=0.03)


def test_saturated_pixels_tell_nothing():
    """Full wells have no noise: left in, they bend the line."""
    rng = np.random.default_rng(5)
    expected = scene(rng, mean=40)
    exposures = np.minimum(rng.poisson(expected, (2, *expected.shape)), 55)
    noise = fit_counting_noise(exposures, (exposures < 55).all(axis=0) & (expected < 35))
    assert noise.gain == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("n_exposures", [1, 4])
@pytest.mark.parametrize(
    "noise", [CountingNoise(1.0, 0.0), CountingNoise(3.5, -334.0), CountingNoise(-2.0, 519.0)]
)
def test_stabilised_noise_has_sd_one_and_comes_back_unbiased(noise, n_exposures):
    """At 3 to 60 counts the SD is 1 within 5 % and the bias below 2 % of the noise."""
    rng = np.random.default_rng(6)
    read_sd, zero = {1.0: (0.0, 0.0), 3.5: (4.0, 100.0), -2.0: (3.0, 255.0)}[noise.gain]
    stabiliser = Stabiliser(noise, n_exposures)
    for counts in (3.0, 12.0, 60.0):
        shape = (n_exposures, 200_000)
        exposures = noise.gain * rng.poisson(counts, shape) + zero + read_sd * rng.standard_normal(shape)
        stable = stabiliser.apply(exposures.mean(axis=0).astype(np.float32))
        assert stable.std() == pytest.approx(1, abs=0.05)
        expected = noise.gain * counts + zero
        noise_sd = np.sqrt(noise.variance(np.float64(expected)) / n_exposures)
        back = stabiliser.invert(np.float32([stable.mean(dtype=np.float64)]))[0]
        assert abs(back - expected) < 0.02 * noise_sd


@pytest.mark.parametrize("counts", [1.0, 2.0, 5.0, 20.0, 100.0])
def test_the_inverse_gives_the_expectation_of_a_poisson_law(counts):
    """By the sum over all numbers of counts, to 0.03 counts; its square alone is 0.25 too low."""
    numbers = np.arange(400, dtype=np.float32)
    stabiliser = Stabiliser(CountingNoise(1.0, 0.0))
    expectation = float(np.sum(stats.poisson.pmf(numbers, counts) * stabiliser.apply(numbers)))
    assert stabiliser.invert(np.float32([expectation]))[0] == pytest.approx(counts, abs=0.03)
    assert expectation**2 / 4 - 0.375 < counts - 0.15


def test_copies_and_lone_exposures_are_refused():
    """Nothing tells their noise."""
    with pytest.raises(ValueError, match="two exposures at least"):
        fit_counting_noise(np.ones((1, 32, 32)))
    with pytest.raises(ValueError, match="no pixel counts"):
        fit_counting_noise(np.ones((2, 32, 32)), np.zeros((32, 32), bool))
