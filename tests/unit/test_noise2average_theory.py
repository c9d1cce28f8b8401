"""The blend that theory predicts for Noise2Average."""

import dataclasses

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.network import MUNet
from n2a_bids.algorithms.realizations import Context, Realizations
from n2a_bids.algorithms.strategies import get_strategy, noise2average
from n2a_bids.algorithms.training import Schedule


@pytest.mark.parametrize(("n_iterations", "kept"), [(1, 0.5), (2, 0.25)])
def test_iterations_keep_a_half_and_a_quarter_of_the_noise(monkeypatch, n_iterations, kept):
    """Where nothing can be predicted but the input's own noise, two repetitions keep 2**-i of it.

    The target of iteration i holds ``2**-i`` of the input's noise; the rest of it is independent of
    the input, so a network trained to convergence returns that part and nothing else.
    """

    def small_network(config, seed, context):
        torch.manual_seed(seed)
        return MUNet(n_channels=3).eval()

    monkeypatch.setattr(noise2average, "_new_network", small_network)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 28, 28, 28)).astype(np.float32)
    realizations = Realizations(noise[..., None], np.ones(noise.shape[1:], bool))
    config = dataclasses.replace(
        get_strategy("noise2average").config("faithful"),
        schedule=Schedule(n_epochs=60, steps_per_epoch=0, learning_rate=5e-3),
        n_iterations=n_iterations,
    )
    context = Context(generator=torch.Generator().manual_seed(0))
    result = get_strategy("noise2average").denoise(realizations, config, context)
    for noisy, denoised in zip(noise, result.repetitions[..., 0]):
        slope = (noisy * denoised).mean() / (noisy**2).mean()
        assert slope == pytest.approx(kept, abs=0.06)
