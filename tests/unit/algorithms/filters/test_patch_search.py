"""Similar patches are those that a plain search finds."""

import itertools

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.filters.patch_search import PatchSearch, find_similar


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("memory_gb", [1.0, 1e-5])
def test_the_nearest_patches_in_reach_are_found(n_channels, memory_gb):
    """A patch that touches the region gets the K of least difference, in thick slabs and in thin."""
    search = PatchSearch(edge=3, stride=2, radius=2, n_similar=10)
    shape = (11, 13, 9)
    guide = np.random.default_rng(0).standard_normal((n_channels, *shape)).astype(np.float32)
    region = np.zeros(shape, bool)
    region[4:, 2:, :7] = True
    found = {
        int(corner): set(others.tolist())
        for corners, similar in find_similar(
            torch.from_numpy(guide), torch.from_numpy(region), search, memory_gb
        )
        for corner, others in zip(corners, similar)
    }

    starts = [range(0, size - search.edge + 1, search.stride) for size in shape]
    expected = {}
    for corner in itertools.product(*starts):
        if region[_patch(corner, search.edge)].any():
            near = {
                _flat(other, shape): _difference(guide, corner, other, search)
                for other in _in_reach(corner, shape, search)
            }
            expected[_flat(corner, shape)] = set(sorted(near, key=near.get)[: search.n_similar])
    assert found == expected


def _patch(corner, edge):
    return tuple(slice(start, start + edge) for start in corner)


def _flat(corner, shape):
    return int(np.ravel_multi_index(corner, shape))


def _in_reach(corner, shape, search):
    spans = [
        range(max(0, start - search.radius), min(size - search.edge, start + search.radius) + 1)
        for start, size in zip(corner, shape)
    ]
    return itertools.product(*spans)


def _difference(guide, first, second, search):
    first, second = (guide[(slice(None), *_patch(corner, search.edge))] for corner in (first, second))
    return float(((first - second) ** 2).sum())
