"""Lost pixels of single exposures are found to the pixel, and filled with what lies next to them."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.lost_pixels import fill_lost_pixels, find_lost_pixels

SHAPE = (96, 80)


@pytest.fixture
def exposures():
    """Two exposures of smooth structure, 16 bit, (R, X, Y, Z, C)."""
    field = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 3)
    expected = 100 + 20 * field / field.std()
    return np.random.default_rng(1).poisson(expected, (2, *SHAPE)).astype(np.float32)[..., None, None]


LOSSES = {
    "dead line": ((20,), 0),
    "hot line": ((slice(None), 33), 65535),
    "dead block": ((slice(40, 52), slice(10, 24)), 0),
    "padding of any value": ((slice(0, 7),), 123),
    "rows filled with white": ((slice(90, 96),), 65535),
}


@pytest.mark.parametrize(("place", "value"), LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("which", [0, 1])
def test_what_one_exposure_lacks_is_found_to_the_pixel(exposures, place, value, which):
    """In that exposure alone."""
    exposures[which][place] = value
    expected = np.zeros((2, *SHAPE, 1), bool)
    expected[which][place] = True
    np.testing.assert_array_equal(find_lost_pixels(exposures), expected)


def test_a_cosmic_ray_is_lost_with_what_touches_it(exposures):
    """A few pixels, many times as far from the median as the brightest of the others."""
    exposures[1, 50:52, 60] = 5000
    expected = np.zeros((2, *SHAPE, 1), bool)
    expected[1, 49:53, 59:62] = True
    np.testing.assert_array_equal(find_lost_pixels(exposures), expected)


def test_sound_exposures_lose_nothing(exposures):
    """Nor does what is dark, saturated or bright in both; a single dark pixel is none."""
    assert not find_lost_pixels(exposures).any()
    exposures[:, 10:30, 10:30] = 0
    exposures[:, 60:80, 10:30] = 65535
    exposures[0, 70, 70] = 0
    assert not find_lost_pixels(exposures).any()


def test_a_bright_grain_and_a_dark_hole_that_drifted_are_no_loss(exposures):
    """The other exposure shows them some pixels away."""
    for index, shift in enumerate((0, 9)):
        exposures[index, 50 + shift, 60] = 5000
        exposures[index, 20 + shift : 30 + shift, 10:20] = 0
    assert not find_lost_pixels(exposures).any()


def test_lost_pixels_take_the_nearest_value():
    """In place, plane by plane, in all channels; a plane that was lost as a whole stays as it is."""
    values = np.arange(5, dtype=np.float32)[None, :, None, None, None]
    exposures = np.tile(values, (2, 1, 3, 2, 2))
    lost = np.zeros((2, 5, 3, 2), bool)
    lost[0, 3:, :, 1] = lost[1, ..., 0] = True
    expected = exposures.copy()
    expected[0, 3:, :, 1] = 2
    fill_lost_pixels(exposures, lost)
    np.testing.assert_array_equal(exposures, expected)
