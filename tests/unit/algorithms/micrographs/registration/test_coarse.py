"""Coarse motion: the pixel that descent starts from, and an angle only where turning helps."""

import numpy as np
import pytest
from moved_micrographs import blobs, moved

from n2a_bids.algorithms.micrographs.registration.coarse import bin_pixels, coarse_motion
from n2a_bids.algorithms.micrographs.registration.partial_image import PartialImage

IMAGE = blobs(np.random.default_rng(1), 192)


@pytest.mark.parametrize("shift", [(0, 0), (5, -3), (-40, 25)])
def test_whole_pixels_are_found_in_noise(shift):
    """And no turn."""
    first, second = (np.random.default_rng(2).poisson(moved(IMAGE, one).clip(0)) for one in ((0, 0), shift))
    found = coarse_motion(
        PartialImage(first.astype(np.float32)), PartialImage(second.astype(np.float32)), turns=True
    )
    np.testing.assert_allclose(found[:2], shift, atol=1)
    assert found[2] == 0


def test_a_turn_is_found_where_it_helps_and_may_be_looked_for():
    """To the degree, in images of 256 pixels and more."""
    image = blobs(np.random.default_rng(4), 256)
    turned = moved(image, (4, 2), 6.0)
    found = coarse_motion(PartialImage(image), PartialImage(turned), turns=True)
    assert np.degrees(found[2]) == pytest.approx(6, abs=1)
    assert coarse_motion(PartialImage(image), PartialImage(turned), turns=False)[2] == 0


def test_a_bar_that_stays_does_not_count():
    """It has more contrast than the specimen, which moved by 12 pixels."""
    images = [moved(IMAGE, shift) for shift in ((0, 0), (12, 0))]
    bar = np.random.default_rng(3).random((24, 192)) < 0.5
    counted = np.ones(IMAGE.shape, bool)
    counted[-24:] = False
    for image in images:
        image[-24:] = 400 * bar
    blind, seeing = (
        coarse_motion(*(PartialImage(image, mask) for image in images), turns=False)
        for mask in (None, counted)
    )
    np.testing.assert_allclose(blind[:2], 0, atol=1)
    np.testing.assert_allclose(seeing[:2], (12, 0), atol=1)


def test_bins_are_means_of_squares():
    """Of what fills whole squares."""
    np.testing.assert_array_equal(bin_pixels(np.arange(20.0).reshape(4, 5), 2), [[3, 5], [13, 15]])
