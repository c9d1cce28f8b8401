"""Laws of random blocks of repetitions."""

import tracemalloc
from itertools import permutations

import numpy as np
import torch

from n2a_bids.algorithms.nn.batches import BatchSettings, Pair, pair_batches
from n2a_bids.algorithms.nn.blocks import BlockSampler, draw_orientation, orient


def _pairs(n_repetitions, shape=(24, 24, 24)):
    generator = np.random.default_rng(0)
    images = generator.standard_normal((n_repetitions, *shape)).astype(np.float32)
    noise_sd, weight = generator.random((2, *shape)).astype(np.float32)
    return [Pair(first, noise_sd, second, weight) for first, second in permutations(images, 2)]


def _sampler(shape=(24, 24, 24)):
    return BlockSampler.over(np.ones(shape, bool), 8, torch.Generator().manual_seed(0), 1)


def test_batches_are_blocks_of_the_pairs():
    """One by one: a pair, a place and an orientation are drawn in this order, and cut from its volumes."""
    pairs, sampler, generator = _pairs(3), _sampler(), torch.Generator().manual_seed(1)
    draw = pair_batches(pairs, sampler, BatchSettings(4, generator))
    batch, again = draw(), torch.Generator().manual_seed(1)
    for index in range(4):
        pair = pairs[int(torch.randint(len(pairs), (), generator=again))]
        box, orientation = sampler.draw(again), draw_orientation(again)
        for name in ("noisy", "noise_sd", "target", "weight"):
            expected = orient(torch.from_numpy(getattr(pair, name)[box]), *orientation)
            assert torch.equal(getattr(batch, name)[index, 0], expected)


def test_volumes_of_several_pairs_are_kept_once():
    """Thirty pairs of six repetitions take the memory of these and of two maps, at the most."""
    pairs, sampler = _pairs(6), _sampler()
    tracemalloc.start()
    pair_batches(pairs, sampler, BatchSettings(2, torch.Generator()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 8 * pairs[0].noisy.nbytes
