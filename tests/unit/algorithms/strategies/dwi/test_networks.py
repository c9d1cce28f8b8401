"""Laws of the networks and learned strategies for diffusion series."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusion_series import random_table

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.nn.dwi_networks import RECEPTIVE_RADIUS, DiffusionMUNet, set_linear_map
from n2a_bids.algorithms.nn.san2n_loss import SubSampler, rician_nll
from n2a_bids.algorithms.nn.training import Schedule
from n2a_bids.algorithms.noise.rician import rician_mean
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.algorithms.strategies.dwi.networks import DWINetworkConfig
from n2a_bids.algorithms.strategies.dwi.san2n import SAN2NConfig, _adjacent_voxels
from n2a_bids.lab.simulation.dwi import add_rician_noise


def _series(shape=(14, 14, 8), n=6):
    table = random_table(1, n)
    x, y, _ = np.meshgrid(*(np.linspace(0, np.pi, s) for s in shape), indexing="ij")
    s0 = 100 * (1.2 + 0.4 * np.cos(x) * np.cos(y))
    truth = s0[..., None] * np.r_[1.0, 0.4 + 0.2 * table.bvecs[1:, 0] ** 2]
    mask = np.zeros(shape, bool)
    mask[1:-1, 1:-1, 1:-1] = True
    return truth.astype(np.float32), table, mask


def _run(name, config, n_repetitions):
    truth, table, mask = _series()
    generator = torch.Generator().manual_seed(0)
    noisy = np.stack([add_rician_noise(truth, 12.0, generator) for _ in range(n_repetitions)])
    strategy = get_strategy(name, "dwi")
    context = Context(torch.Generator().manual_seed(1))
    result = strategy.denoise(Repetitions(noisy, mask, gradients=table), config, context)
    error, before = (
        float(np.sqrt(np.mean((image[mask] - truth[mask]) ** 2)))
        for image in (result.data, noisy.mean(axis=0))
    )
    assert np.array_equal(result.data[~mask], noisy.mean(axis=0)[~mask])
    return result, error, before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["noise2average", "noise2noise"])
def test_networks_beat_the_mean_on_a_smooth_phantom(name):
    """A short training lowers the error of the mean, and gives each repetition denoised."""
    config = DWINetworkConfig(
        schedule=Schedule(3, 20, 5e-3), n_iterations=1, width=12, block_edge=8, batch_size=4
    )
    result, error, before = _run(name, config, 2)
    losses = [row.loss for row in result.record.history]
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert error < before
    assert result.repetitions.shape[0] == 2


@pytest.mark.parametrize("name", ["noise2average", "noise2noise", "san2n"])
def test_networks_start_better_than_the_identity(name):
    """The linear map of least squares lowers the error before any training."""
    untrained = {"schedule": Schedule(0, 1, 1e-3), "n_iterations": 1} if name != "san2n" else {"n_epochs": 0}
    config = replace(get_strategy(name, "dwi").config("fast", None), **untrained)
    _, error, before = _run(name, config, 1 if name == "san2n" else 2)
    assert error < 0.9 * before


def test_linear_start_of_a_mask_without_neighbours_is_the_identity():
    series = np.ones((5, 5, 5, 7), np.float32)
    mask = np.zeros((5, 5, 5), bool)
    mask[::4, ::4, ::4] = True
    linear = torch.nn.Conv3d(7, 7, 1, bias=False)
    torch.nn.init.dirac_(linear.weight)
    set_linear_map(linear, _adjacent_voxels(series, mask))
    assert torch.equal(linear.weight[..., 0, 0, 0], torch.eye(7))


def test_san2n_beats_the_noisy_series():
    """A short training on the series alone lowers its error."""
    config = SAN2NConfig(
        n_epochs=20, steps_per_epoch=8, learning_rate=5e-3, batch_size=4, block_edge=8, width=16
    )
    _, error, before = _run("san2n", config, 1)
    assert error < before


def test_linear_start_keeps_what_the_volumes_share():
    """Noise of 12 volumes that hold 2 patterns: all but what lies along the patterns goes."""
    generator = np.random.default_rng(4)
    truth = generator.standard_normal((4000, 2)) @ generator.standard_normal((2, 12))
    first, second = (truth + generator.standard_normal(truth.shape) for _ in range(2))
    linear = torch.nn.Conv3d(12, 12, 1, bias=False)
    set_linear_map(linear, [(first, second)])
    values = torch.from_numpy(first.T.astype(np.float32))[None, :, :, None, None]
    error = linear(values)[0, :, :, 0, 0].detach().numpy().T - truth
    assert error.var() < 0.25


def test_untrained_munet_is_the_identity_of_known_reach():
    """The network starts as no change, and nothing farther than its radius reaches a voxel."""
    torch.manual_seed(0)
    network = DiffusionMUNet(3, 8).eval()
    size = 2 * RECEPTIVE_RADIUS + 3
    series = torch.randn(1, 3, size, 3, 3)
    assert not network(series).any()
    torch.nn.init.normal_(network.tail.weight)
    changed = series.clone()
    changed[0, :, 0] += 1
    reach = (network(changed) - network(series)).abs().amax(dim=(0, 1, 3, 4))
    assert reach[RECEPTIVE_RADIUS] > 0 and not reach[RECEPTIVE_RADIUS + 1 :].any()


def test_sub_sampler_takes_adjacent_voxels_of_each_cell():
    """The two images come from voxels of one cell that are one step apart."""
    shape = (4, 6, 2)
    index = torch.arange(48.0).reshape(1, 1, *shape)
    sampler = SubSampler.draw(shape, torch.Generator().manual_seed(0))
    first, second = sampler(index, sampler.first), sampler(index, sampler.second)
    assert first.shape == (1, 1, 2, 3, 1)
    places = [np.stack(np.unravel_index(image.flatten().long().numpy(), shape)) for image in (first, second)]
    assert (np.abs(places[0] - places[1]).sum(axis=0) == 1).all()
    assert (places[0] // 2 == places[1] // 2).all()


def test_rician_likelihood_is_best_near_the_true_signal():
    """Over many samples the likelihood peaks at the true signal, not at the biased mean."""
    signal = 1.5
    magnitude = torch.from_numpy(
        add_rician_noise(np.full((40, 40, 20, 1), signal), 1.0, torch.Generator().manual_seed(0))
    )
    levels = torch.tensor([1.2, signal, float(rician_mean(signal, 1.0))])
    values = [
        float(rician_nll(magnitude, torch.full_like(magnitude, level), torch.tensor(1.0))) for level in levels
    ]
    assert np.argmin(values) == 1
