"""Laws of the patches of local principal components."""

import tracemalloc

import numpy as np
import pytest

from n2a_bids.algorithms.filters.local_pca import PatchPlan, _patches


@pytest.mark.parametrize(("edge", "stride"), [(5, 2), (4, 3), (5, 1)])
def test_patches_are_those_that_touch_the_mask(edge, stride):
    """One by one: every place of the stride and the last one of each axis, where the mask is met."""
    mask = np.random.default_rng(0).random((11, 9, 3)) < 0.01
    assert mask.any()
    places = [sorted({*range(0, max(s - edge, 0) + 1, stride), max(s - edge, 0)}) for s in mask.shape]
    indices = np.arange(mask.size).reshape(mask.shape)
    expected = []
    for corner in np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, 3):
        box = tuple(slice(low, low + edge) for low in corner)
        if mask[box].any():
            expected.append(indices[box].ravel())
    found = np.concatenate([index.numpy() for index in _patches(mask, PatchPlan(edge, stride), 8)])
    np.testing.assert_array_equal(found, expected)


def test_memory_of_patches_is_bounded():
    """Dense patches of a large grid take tens of bytes for each of its voxels, not a thousand."""
    mask = np.ones((80, 80, 80), bool)
    tracemalloc.start()
    for _ in _patches(mask, PatchPlan(stride=1), 40):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 * mask.size
