"""Places of one value: the same as by the largest and smallest value of each neighbourhood, and faster."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.constant_places import find_constant, near_any


@pytest.mark.parametrize("shape", [(20, 21, 22), (3, 3, 3), (1, 8, 8), (6, 6, 2)])
def test_a_place_is_constant_where_all_that_touches_it_is_alike(shape):
    generator = np.random.default_rng(0)
    for _ in range(20):
        pieces = generator.integers(0, 3, [-(-size // 4) for size in shape])
        image = np.kron(pieces, np.ones((4, 4, 4)))[tuple(slice(size) for size in shape)]
        alike = ndimage.maximum_filter(image, 3) == ndimage.minimum_filter(image, 3)
        np.testing.assert_array_equal(find_constant(image), alike)
        mask = generator.random(shape) > 0.95
        np.testing.assert_array_equal(near_any(mask), ndimage.maximum_filter(mask, 3))


def test_no_place_beside_nan_is_constant():
    image = np.zeros((7, 7, 7))
    image[3, 3, 3] = np.nan
    assert not find_constant(image)[2:5, 2:5, 2:5].any() and find_constant(image).sum() == 7**3 - 27
