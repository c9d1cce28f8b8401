"""Laws of simulated training data and of resuming."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.dataset_training.steps import new_state, train_steps
from n2a_bids.algorithms.nn.networks import ResidualUNet
from n2a_bids.lab.pretraining.blocks import (
    BlockPretraining,
    TrainingHead,
    add_noise,
    draw_batch,
    draw_clean,
)
from n2a_bids.lab.simulation.random_fields import coloured_noise, dead_leaves, head_shells, random_contrast

CONFIG = BlockPretraining(block_edge=16, batch_size=2, warmup_steps=2)


def _heads():
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 28)] * 3, indexing="ij"))
    brain = (grid**2).sum(axis=0) < 0.5
    image = (brain * (2 + 0.5 * np.sin(6 * grid).sum(axis=0))).astype(np.float16)
    distance = np.where(brain, 0, 5).astype(np.float16)
    return [TrainingHead("ball", image, brain, distance=distance)]


def _state():
    torch.manual_seed(0)
    return new_state(lambda: ResidualUNet((4, 8), (1, 1)), torch.device("cpu"), CONFIG)


def _run(state, n_steps):
    return train_steps(
        state,
        partial(draw_batch, _heads(), CONFIG),
        CONFIG,
        seed=1,
        n_steps=n_steps,
        progress=lambda step: 0.0,
    )


def test_coloured_noise_has_unit_sd_and_neighbours_correlate():
    """Coupling colours the noise and keeps its SD."""
    noise = coloured_noise(np.random.default_rng(0), (40, 40, 40), np.array([0.2, 0.2, 0.2]))
    assert noise.std() == pytest.approx(1, abs=0.03)
    assert np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1] > 0.25


def test_noise_has_the_sd_that_the_network_is_told():
    """Gaussian or averaged Rician, at high signal the SD is the map's."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        clean = np.full((24, 24, 24), 50, np.float32)
        noise_sd = np.full(clean.shape, 0.5, np.float32)
        assert (add_noise(clean, noise_sd, rng) - clean).std() == pytest.approx(0.5, rel=0.05)


def test_contrast_keeps_air_at_zero_and_shells_leave_the_brain_alone():
    """Zero stays zero; shells stand outside of the brain only."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert random_contrast(rng)(np.zeros(3, np.float32), 1.0).tolist() == [0, 0, 0]
        distance = np.zeros((12, 12, 12), np.float32)
        distance[8:] = 6
        assert not head_shells(rng, distance)[:8].any()
        assert dead_leaves(rng, 12).min() >= 0


def test_batches_depend_on_the_generator_alone():
    """Same seed, same batch."""
    first, second = (draw_batch(_heads(), CONFIG, np.random.default_rng(5)) for _ in range(2))
    (noisy, noise_sd), (again, _) = first.inputs, second.inputs
    assert torch.equal(noisy, again)
    assert noisy.shape == (2, 1, 16, 16, 16)
    assert (noise_sd > 0).all()


def test_heads_smaller_than_a_block_are_named():
    """A slab is refused rather than stretched into a cube."""
    image = np.ones((28, 28, 6), np.float16)
    with pytest.raises(ValueError, match=r"slab: expected at least 16 voxels .* found \(28, 28, 6\)"):
        draw_clean([TrainingHead("slab", image, image > 0)], CONFIG, np.random.default_rng(0))


def test_blocks_of_small_heads_keep_their_proportions():
    """Blocks that are to be shrunk read no more than the head has, alike along every axis."""
    waves = 20 + 5 * np.sin(np.indices((40, 40, 17))).sum(axis=0).astype(np.float16)
    config = replace(CONFIG.with_less_randomisation(0.0), leaves_share=0.0)
    head = TrainingHead("waves", waves, np.ones(waves.shape, bool))
    for seed in range(20):
        block, _, _ = draw_clean([head], config, np.random.default_rng(seed))
        steepness = [np.diff(block, axis=axis).std() for axis in range(3)]
        assert min(steepness) > 0.7 * max(steepness)


def test_resumed_pretraining_goes_on_as_if_never_stopped():
    """Two halves with a checkpoint between give the weights of two undisturbed halves."""
    straight, interrupted = _state(), _state()
    _run(straight, 2)
    _run(straight, 2)
    _run(interrupted, 2)
    resumed = _state()
    resumed.load_state_dict(interrupted.state_dict())
    _run(resumed, 2)
    assert resumed.step == straight.step == 4
    for left, right in zip(resumed.averaged.parameters(), straight.averaged.parameters()):
        assert torch.equal(left, right)
