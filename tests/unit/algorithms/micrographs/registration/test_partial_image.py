"""Images with pixels that do not count: smoothing draws from none of them, and places beyond are told."""

import numpy as np
from scipy import ndimage

from n2a_bids.algorithms.micrographs.registration.partial_image import (
    PartialImage,
    both_count,
    far_from_borders,
    far_inside,
    margin_of,
    read_smooth,
    smooth_tile,
)

SD = 2.0
IMAGE = np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)
GRID = np.indices(IMAGE.shape).astype(float)


def test_what_is_far_inside_does_not_depend_on_the_others():
    """Whatever the pixels hold that do not count: of ten SDs a hundredth of one comes through, in corners."""
    counted = np.ones(IMAGE.shape, bool)
    counted[30:34, 20:24] = False
    inner = far_inside(PartialImage(IMAGE, counted), SD).counted
    tile = (slice(None), slice(None))
    spoiled = np.where(counted, IMAGE, np.float32(10))
    smooth = [smooth_tile(PartialImage(image), tile, SD).pixels[inner] for image in (IMAGE, spoiled)]
    np.testing.assert_allclose(*smooth, atol=0.01)
    assert 0.5 < inner.mean() < 1
    assert far_inside(PartialImage(IMAGE, np.ones(IMAGE.shape, bool)), SD).counted is None


def test_values_are_read_where_the_image_moved_to():
    """The smoothed image at places between pixels, of a part of it; nothing where the places miss it."""
    shift = np.array([3.0, -2.0])
    places = GRID[:, 20:40, 10:30] + shift[:, None, None]
    expected = ndimage.gaussian_filter(IMAGE, SD, mode="nearest")[23:43, 8:28]
    np.testing.assert_allclose(read_smooth(IMAGE, places, margin_of(SD), SD), expected, atol=1e-3)
    assert read_smooth(IMAGE, places + 100, margin_of(SD), SD) is None


def test_borders_are_kept_away_from_in_both_images():
    """Here shifted by five pixels along X."""
    margin = margin_of(SD)
    inside = far_from_borders(GRID + np.array([5, 0])[:, None, None], IMAGE.shape, IMAGE.shape, margin)
    expected = np.zeros(IMAGE.shape, bool)
    expected[margin : 64 - margin - 5, margin : 48 - margin] = True
    np.testing.assert_array_equal(inside, expected)


def test_pixels_count_where_both_images_count_them():
    fixed, moving = np.ones((2, *IMAGE.shape), bool)
    fixed[:4], moving[:, :6] = False, False
    found = both_count(
        PartialImage(IMAGE, fixed), PartialImage(IMAGE, moving), GRID + np.array([0, 2])[:, None, None]
    )
    # Places beyond the image count for nothing.
    np.testing.assert_array_equal(found[:, :46], (np.arange(64)[:, None] >= 4) & (np.arange(46) >= 4))
    assert both_count(PartialImage(IMAGE), PartialImage(IMAGE), GRID).all()
