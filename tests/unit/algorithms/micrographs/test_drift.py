"""Laws of drift: shifts and turns are found and undone, and the noise keeps its colour."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.alignment import align, shift_back
from n2a_bids.algorithms.micrographs.drift import Drift, estimate_drift, rotation_matrix


def scene(rng, size=256):
    """Blobs of two sizes, positive."""
    noise = rng.standard_normal((size, size))
    fields = [ndimage.gaussian_filter(noise, sd, mode="wrap") for sd in (2, 8)]
    return 10 * np.clip(1 + 0.3 * sum(field / field.std() for field in fields), 0.05, None)


def moved(image, shift, angle_deg=0.0):
    """The image with its content turned about its middle and shifted."""
    middle = (np.array(image.shape) - 1) / 2
    back = rotation_matrix(np.radians(angle_deg)).T
    return ndimage.affine_transform(image, back, middle - back @ (middle + shift), order=5, mode="mirror")


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -0.3), (7.6, -3.2), (-31.0, 12.5)])
def test_shifts_are_found_below_a_pixel(shift):
    """Of noisy exposures, up to an eighth of the image and more."""
    rng = np.random.default_rng(1)
    image = scene(rng)
    exposures = rng.poisson([np.maximum(moved(image, s), 0) for s in ((0, 0), shift)])
    drift = estimate_drift(exposures)
    np.testing.assert_allclose(drift.shift_pixels[1], shift, atol=0.08)
    assert drift.rotation_deg[1] == 0
    assert drift.correlation[1] > 0.9


@pytest.mark.parametrize("angle", [0.5, -4.0])
def test_turns_are_found(angle):
    """Together with a shift; of three exposures, each is compared with the others."""
    rng = np.random.default_rng(2)
    image = scene(rng)
    motions = ((np.zeros(2), 0.0), (np.array([3.3, -2.1]), angle), (np.array([-1.0, 0.5]), 0.0))
    exposures = rng.poisson([np.maximum(moved(image, *motion), 0) for motion in motions])
    drift = estimate_drift(exposures)
    assert drift.rotation_deg == pytest.approx([0, angle, 0], abs=0.05)
    np.testing.assert_allclose(drift.shift_pixels[1], motions[1][0], atol=0.15)


def test_noise_alone_has_nothing_in_common():
    """The correlation says so."""
    exposures = np.random.default_rng(3).poisson(10, (2, 128, 128))
    assert estimate_drift(exposures).correlation[1] < 0.3


def test_a_shift_leaves_noise_white_and_content_in_place():
    """Level and neighbour correlation stay; content comes back; whole pixels are copied."""
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((200, 300)).astype(np.float32)
    shifted, covered = shift_back(noise, np.array([5.5, -3.5]))
    inner = shifted[10:-10, 10:-10]
    assert inner.std() == pytest.approx(1, abs=0.02)
    assert np.corrcoef(inner[:-1].ravel(), inner[1:].ravel())[0, 1] == pytest.approx(0, abs=0.02)
    assert covered.mean() == pytest.approx((200 - 8) * (300 - 6) / 60_000, rel=0.02)
    whole, inside = shift_back(noise, np.array([2.0, -1.0]))
    np.testing.assert_array_equal(whole[:-2, 1:], noise[2:, :-1])
    assert inside[:-2, 1:].all()


def test_aligned_exposures_show_one_thing():
    """Moved by a shift and a turn, and moved back."""
    image = scene(np.random.default_rng(5)).astype(np.float32)
    exposures = np.stack([image, moved(image, (4.3, -6.8)), moved(image, (1.2, 0.4), 1.5)])
    drift = Drift(np.array([[0, 0], [4.3, -6.8], [1.2, 0.4]]), np.array([0, 0, 1.5]), np.ones(3))
    aligned, covered = align(exposures, drift)
    inner = ndimage.binary_erosion(covered, iterations=6)
    assert inner.mean() > 0.8
    assert np.abs(aligned - image)[:, inner].max() < 0.25
    np.testing.assert_array_equal(aligned[0], exposures[0])
