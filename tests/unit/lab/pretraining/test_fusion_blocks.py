"""Laws of what the fusing network learns from."""

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.nn.networks import ResidualUNet
from n2a_bids.algorithms.nn.weights import build_network
from n2a_bids.io.weights import load_weights
from n2a_bids.lab.pretraining.blocks import BlockPretraining, TrainingHead
from n2a_bids.lab.pretraining.fusion_blocks import draw_fusion_batch, draw_fusion_block

CONFIG = BlockPretraining(block_edge=16, noise_sd=(0.2, 0.4)).with_less_randomisation(0.0)


@pytest.fixture(scope="module")
def heads():
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 44)] * 3, indexing="ij"))
    brain = (grid**2).sum(axis=0) < 0.9
    image = (brain * (5 + 0.5 * np.sin(6 * grid).sum(axis=0))).astype(np.float16)
    return [TrainingHead("ball", image, brain)]


@pytest.fixture(scope="module")
def block(heads):
    network = build_network("resunet-t1w", load_weights("resunet-t1w"))
    return draw_fusion_block(heads, CONFIG, np.random.default_rng(3), network)


def test_blocks_hold_what_comes_before_the_fusion(block):
    """Noise as strong as the map says; the network and non-local Bayes take much of it away."""
    assert block.shape == (5, 32, 32, 32) and block.dtype == np.float16
    patches, network, noisy, noise_sd, clean = block.astype(np.float32)
    noise = np.std(noisy - clean)
    assert noise == pytest.approx(float(noise_sd.mean()), rel=0.15)
    assert np.std(network - clean) < 0.7 * noise
    assert np.std(patches - clean) < 0.7 * noise


@pytest.mark.slow
def test_the_same_generator_gives_the_same_block(heads):
    """Blocks can be made again: only their numbers and the seed count."""
    network = ResidualUNet((2, 4), (1, 1)).eval()
    first, second = (
        draw_fusion_block(heads, CONFIG, np.random.default_rng([1, 2]), network) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_batches_are_crops_whose_rim_does_not_count(block):
    """Inputs in the order of the network; no weight where zero padding reaches."""
    batch = draw_fusion_batch([block], CONFIG, np.random.default_rng(0))
    assert [volume.shape for volume in batch.inputs] == [(2, 1, 16, 16, 16)] * 4
    assert not batch.weight[..., :4].any() and batch.weight[0, 0, 8, 8, 8] > 0
    errors = [float(torch.std(volume - batch.target)) for volume in batch.inputs[:3]]
    assert errors[0] < errors[2] and errors[1] < errors[2]
