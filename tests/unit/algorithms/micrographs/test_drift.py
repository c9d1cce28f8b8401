"""Laws of drift: shifts and turns are found, and whether exposures have anything in common."""

from dataclasses import replace

import numpy as np
import pytest
from moved_micrographs import blobs, moved

from n2a_bids.algorithms.micrographs.drift import correlation_of, estimate_drift


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -0.3), (7.6, -3.2), (-31.0, 12.5)])
def test_shifts_are_found_below_a_pixel(shift):
    """Of noisy exposures, up to an eighth of the image and more."""
    rng = np.random.default_rng(1)
    image = blobs(rng)
    exposures = rng.poisson([np.maximum(moved(image, s), 0) for s in ((0, 0), shift)])
    drift = estimate_drift(exposures)
    np.testing.assert_allclose(drift.shift_pixels[1], shift, atol=0.08)
    assert drift.rotation_deg[1] == 0
    assert drift.correlation[1] > 0.9


@pytest.mark.parametrize("angle", [0.5, -4.0])
def test_turns_are_found(angle):
    """Together with a shift; of three exposures, each is compared with the others."""
    rng = np.random.default_rng(2)
    image = blobs(rng)
    motions = ((np.zeros(2), 0.0), (np.array([3.3, -2.1]), angle), (np.array([-1.0, 0.5]), 0.0))
    exposures = rng.poisson([np.maximum(moved(image, *motion), 0) for motion in motions])
    drift = estimate_drift(exposures)
    assert drift.rotation_deg == pytest.approx([0, angle, 0], abs=0.05)
    np.testing.assert_allclose(drift.shift_pixels[1], motions[1][0], atol=0.15)


def test_turns_of_small_images_are_found():
    """Of 200 pixels: from 8 degrees on they were taken for unrelated, as no angles were tried."""
    rng = np.random.default_rng(4)
    image = blobs(rng, 200)
    exposures = rng.poisson([np.maximum(moved(image, (2.0, -3.0), turn), 0) for turn in (0.0, 10.0)])
    drift = estimate_drift(exposures)
    assert drift.rotation_deg[1] == pytest.approx(10, abs=0.1)


def test_noise_alone_has_nothing_in_common():
    """The correlation says so."""
    exposures = np.random.default_rng(3).poisson(10, (2, 128, 128))
    assert estimate_drift(exposures).correlation[1] < 0.3


def test_the_correlation_is_that_of_exposures_moved_back():
    """It falls where the drift is another one; the same is told of pixels that count."""
    exposures = np.stack([moved(blobs(np.random.default_rng(6)), shift) for shift in ((0, 0), (9.0, -4.0))])
    counted = np.ones(exposures.shape[1:], bool)
    counted[:, -40:] = False
    drift = estimate_drift(exposures, turns=False, counted=counted)
    np.testing.assert_allclose(drift.shift_pixels, [[0, 0], [9, -4]], atol=0.05)
    assert drift.largest_pixels == pytest.approx(np.hypot(9, 4), abs=0.05)
    still = replace(drift, shift_pixels=np.zeros((2, 2)))
    assert correlation_of(exposures, drift, counted) > 0.99 > 0.7 > correlation_of(exposures, still, counted)
