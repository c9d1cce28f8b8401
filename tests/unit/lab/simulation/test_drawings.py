"""Laws of drawn images: one seed one image, and something to see in each."""

import numpy as np

from n2a_bids.lab.simulation.drawings import draw_image


def test_drawings_have_range_detail_and_one_seed():
    """Between 0 and 1, finite, with edges."""
    images = [draw_image(np.random.default_rng(seed), 96) for seed in range(12)]
    for image in images:
        assert image.shape == (96, 96)
        assert 0 <= image.min() < image.max() <= 1
        assert np.abs(np.diff(image, axis=0)).max() > 0.02
    np.testing.assert_array_equal(images[3], draw_image(np.random.default_rng(3), 96))
