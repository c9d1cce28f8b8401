"""Tests of the Gaussian blur by matrices against scipy's filter."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.gaussian import gaussian_blur


@pytest.mark.parametrize("border", ["reflect", "constant", "nearest"])
@pytest.mark.parametrize("shape", [(70, 33, 64), (5, 1, 40), (90, 50)])
@pytest.mark.parametrize("sd_voxels", [0.1, 0.7, 1.5, 8.0])
def test_blur_is_that_of_scipy_to_rounding(shape, sd_voxels, border):
    """Lines of one piece and of several, shorter than the kernel and longer, and every border."""
    image = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    expected = ndimage.gaussian_filter(image, sd_voxels, mode=border, truncate=3)
    found = gaussian_blur(image, sd_voxels, 3.0, border)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-4)


def test_blur_takes_one_width_for_each_axis_and_any_order_in_memory():
    """Voxels need not be cubes, and images of nibabel lie in memory the other way around."""
    image = np.asfortranarray(np.random.default_rng(0).normal(size=(20, 40, 30)))
    before = image.copy()
    found = gaussian_blur(image, (0.0, 1.0, 2.0), 3.5)
    np.testing.assert_allclose(found, ndimage.gaussian_filter(image, (0, 1, 2), truncate=3.5), atol=1e-12)
    np.testing.assert_array_equal(image, before)
