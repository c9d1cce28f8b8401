"""Bright tissue that was cut off when an image was stored."""

import numpy as np
import pytest

from n2a_bids.algorithms.quality.ceiling import find_ceiling


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_values_that_pile_up_at_the_largest_are_found(head, noisy_runs, dtype):
    """One percent of the brain cut off, whatever the type; its share is told."""
    (image,) = noisy_runs(1, noise_sd=20)
    top = np.percentile(image[head[1]], 99)
    stored = (np.minimum(image, top) * (200 / top)).astype(dtype).astype(np.float32)
    found = find_ceiling(stored, head[1])
    assert found.value == stored.max()
    assert found.share == pytest.approx(0.01, abs=0.006)


@pytest.mark.parametrize("levels", [30, 250, 4000])
def test_an_image_that_uses_its_whole_range_has_none(head, noisy_runs, levels):
    """Few levels put many voxels on each, but fewer on the last than on the one before."""
    (image,) = noisy_runs(1, noise_sd=20)
    assert find_ceiling(image.astype(np.float32), head[1]) is None
    whole = np.round(image * (levels / image.max()))
    assert find_ceiling(whole.astype(np.float32), head[1]) is None


def test_what_is_cut_off_outside_of_the_brain_does_not_matter(head, noisy_runs):
    """Fat of the scalp, as in many images of eight bits."""
    (image,) = noisy_runs(1, noise_sd=20)
    stored = np.where(head[1], image, np.minimum(2 * image, 1.01 * image[head[1]].max()))
    assert find_ceiling(stored.astype(np.float32), head[1]) is None
