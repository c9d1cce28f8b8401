"""Pixels that noise saturated are told from those whose signal did."""

import numpy as np
import pytest

from n2a_bids.algorithms.strategies.micr.saturated import saturated_by_noise

GAIN, LARGEST, SHAPE = 10.0, 255.0, (64, 60, 1)


def exposures(level, n_exposures=2):
    """Photon counts of even illumination in 8 bits."""
    rng = np.random.default_rng(3)
    return np.minimum(GAIN * rng.poisson(level / GAIN, (n_exposures, *SHAPE)), LARGEST).astype(np.float32)


def found(data, level):
    saturated = (data == LARGEST).any(axis=0)
    estimate = np.full(SHAPE, level, np.float32)
    return saturated, saturated_by_noise(saturated, data, estimate, np.sqrt(GAIN * estimate))


@pytest.mark.parametrize("n_exposures", [2, 4])
def test_single_pixels_at_the_end_of_noise_are_taken_from_the_estimate(n_exposures):
    """Whose expected value lies below the largest."""
    saturated, by_noise = found(exposures(180.0, n_exposures), 180.0)
    assert saturated.mean() > 0.02
    assert by_noise.sum() > 0.95 * saturated.sum()


def test_areas_that_light_saturated_are_not():
    """Nor where most pixels are, in one exposure or another."""
    saturated, by_noise = found(exposures(262.0), 250.0)
    assert saturated.mean() > 0.6 and by_noise.mean() < 0.01


def test_grains_ink_and_what_differs_from_the_estimate_are_not():
    """A bright grain three pixels wide, a line of text, and one pixel far from what was made of it."""
    data = exposures(60.0)
    assert (data < LARGEST).all()
    data[:, 10:13, 10:13] = LARGEST
    data[:, 30, 10:20] = LARGEST
    data[:, 50, 50] = LARGEST
    saturated, by_noise = found(data, 60.0)
    assert saturated.any() and not by_noise.any()
