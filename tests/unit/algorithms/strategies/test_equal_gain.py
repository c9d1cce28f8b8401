"""Laws of the intensity match of diffusion series and micrographs."""

import tracemalloc

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.normalization import equal_gains, with_equal_gain
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.lab.simulation.dwi import add_rician_noise

TABLE = Gradients(np.r_[0.0, 5.0, np.full(10, 3000.0)], np.vstack((np.zeros((2, 3)), np.eye(3)[[0] * 10])))


def _repetitions(noise_sds, gain=1.0):
    """Strongly weighted volumes near the noise floor, and two b0s of 400 with some anatomy."""
    x, y, _ = np.meshgrid(*[np.linspace(0, 6, 16)] * 3, indexing="ij")
    b0 = 400 + 80 * np.sin(x) * np.cos(y)
    truth = (b0[..., None] * np.r_[1, 1, np.full(10, 0.06)]).astype(np.float32)
    generator = torch.Generator().manual_seed(0)
    noisy = np.stack([add_rician_noise(truth, sd, generator) for sd in noise_sds])
    noisy[1] *= gain
    return truth, Repetitions(noisy, np.ones(b0.shape, bool), gradients=TABLE)


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_gain_is_not_pulled_by_the_noise_floor(gain):
    """A repetition of three times the noise has no other gain for that."""
    truth, repetitions = _repetitions((15, 45), gain)
    matched = with_equal_gain(repetitions)
    assert matched[1][..., :2].mean() == pytest.approx(truth[..., :2].mean(), rel=0.01)


@pytest.mark.parametrize("noise_sds", [(30, 30), (25, 35)])
def test_mean_of_diffusion_series_is_plain(noise_sds):
    """The strategy gives what the default compares with: no offset, and so no negative magnitude."""
    _, repetitions = _repetitions(noise_sds)
    strategy = get_strategy("mean", "dwi")
    mean = strategy.denoise(repetitions, strategy.config("fast"), Context(torch.Generator())).data
    np.testing.assert_array_equal(mean, with_equal_gain(repetitions).mean(axis=0))
    np.testing.assert_allclose(mean, repetitions.data.mean(axis=0), rtol=0.01)
    assert mean.min() >= 0


def test_values_around_zero_tell_no_gain():
    """Images that were standardised are left as they are: ratios of means near zero tell nothing."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((2, 64, 64, 1, 1)).astype(np.float32)
    data += (np.float32([0.002, -0.001]) - data.mean(axis=(1, 2, 3, 4)))[:, None, None, None, None]
    repetitions = Repetitions(data, np.ones((64, 64, 1), bool), micrograph=True)
    assert with_equal_gain(repetitions) is data


@pytest.mark.parametrize("dose", [1.0, 4.0])
@pytest.mark.parametrize("place", [0, 1])
def test_cosmic_rays_are_no_gain(dose, place):
    """A few pixels of 20000 beside counts of 100, in one exposure alone."""
    rng = np.random.default_rng(0)
    data = rng.poisson(np.array([100, 100 * dose])[:, None, None, None, None], (2, 256, 256, 1, 1))
    data[place][rng.random((256, 256, 1, 1)) < 0.002] = 20_000
    gains = equal_gains(data.astype(np.float32), np.ones((256, 256, 1), bool))
    assert gains == pytest.approx([1, 1 / dose], rel=0.005)


@pytest.mark.parametrize("counts", [0.003, 0.05, 3.0])
def test_few_counts_all_count(counts):
    """Where next to all pixels are empty, those that are not are the image."""
    rng = np.random.default_rng(0)
    data = rng.poisson(np.array([counts, 2 * counts])[:, None, None, None, None], (2, 512, 512, 1, 1))
    gains = equal_gains(data.astype(np.float32), np.ones((512, 512, 1), bool))
    assert gains[1] == pytest.approx(data[0].mean() / data[1].mean(), rel=1e-3)


def test_gains_of_large_micrographs_take_little_memory():
    """Beside the exposures, no more than two of them: an exposure of 16k holds a gigabyte."""
    data = np.random.default_rng(0).poisson(20, (2, 512, 512, 1, 1)).astype(np.float32)
    data[1] *= 2
    tracemalloc.start()
    gains = equal_gains(data, np.ones((512, 512, 1), bool))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert gains == pytest.approx([1, 0.5], rel=0.01)
    assert peak < 2.5 * data[0].nbytes
