"""Laws of volumes of unequal noise."""

import numpy as np
import pytest
import torch
from diffusion_series import random_directions
from scipy import ndimage

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.shells import pool_small_shells
from n2a_bids.algorithms.noise.volume_noise import relative_noise_sd
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.lab.simulation.dwi import add_rician_noise

SHELLS = np.r_[0.0, np.full(12, 1000.0)]
NOISY = 6


def _truth(shape=(20, 20, 10)):
    """Smooth signal of one b0 and twelve directions; the whole grid is brain."""
    vectors = random_directions(12)
    table = Gradients(SHELLS, np.vstack((np.zeros(3), vectors)))
    x, y, _ = np.meshgrid(*(np.linspace(0, np.pi, s) for s in shape), indexing="ij")
    fibre = np.stack((np.cos(x), np.sin(x) * np.cos(y), np.sin(x) * np.sin(y)), axis=-1)
    weighted = np.exp(-(0.4 + 1.2 * (fibre @ vectors.T) ** 2))
    truth = 100 * np.concatenate((np.ones((*shape, 1)), weighted), axis=-1)
    return truth.astype(np.float32), table, np.ones(shape, bool)


def _noisy(truth, factor, n_repetitions=2, noise_sd=8.0):
    levels = np.full(truth.shape[-1], noise_sd, np.float32)
    levels[NOISY] *= factor
    generator = torch.Generator().manual_seed(0)
    return np.stack([add_rician_noise(truth, levels, generator) for _ in range(n_repetitions)])


def _denoise(images, mask, table):
    strategy = get_strategy("auto", "dwi")
    repetitions = Repetitions(images, mask, gradients=table)
    return strategy.denoise(repetitions, strategy.config("fast"), Context(torch.Generator().manual_seed(1)))


def _errors(image, truth):
    return np.sqrt(np.mean((image - truth) ** 2, axis=(0, 1, 2)))


@pytest.mark.parametrize("factor", [1.6, 3.0])
def test_a_noisy_volume_is_denoised_like_the_others(factor):
    """More noise than the edge of the random spectrum in one volume goes nonetheless, floor included."""
    truth, table, mask = _truth()
    repetitions = _noisy(truth, factor)
    result = _denoise(repetitions, mask, table)
    left = _errors(result.data, truth) / _errors(repetitions.mean(axis=0), truth)
    assert left[NOISY] < 0.35
    bias = (result.data - truth).mean(axis=(0, 1, 2)) / truth.mean(axis=(0, 1, 2))
    assert abs(bias[NOISY]) < 0.05
    levels = np.median(result.noise_sd, axis=(0, 1, 2))
    assert levels[NOISY] / np.median(levels) == pytest.approx(factor, rel=0.15)


def test_volumes_of_equal_noise_have_factors_of_one():
    """Neither the estimate's own error nor a lone b0 changes anything."""
    truth, _, mask = _truth()
    assert (relative_noise_sd(_noisy(truth, 1.0), mask, SHELLS) == 1).all()


def test_a_single_series_has_factors_of_one():
    truth, _, mask = _truth()
    assert (relative_noise_sd(_noisy(truth, 3.0, n_repetitions=1), mask, SHELLS) == 1).all()


@pytest.mark.parametrize("n_repetitions", [2, 3])
def test_factor_of_a_noisy_volume(n_repetitions):
    """At high signal the factor is that of the noise; the other volumes have 1."""
    truth, _, mask = _truth()
    factors = relative_noise_sd(_noisy(truth, 2.0, n_repetitions, noise_sd=4.0), mask, SHELLS)
    assert factors[NOISY] == pytest.approx(2, rel=0.1)
    assert (np.delete(factors, NOISY) == 1).all()


def test_a_volume_that_was_not_interpolated_is_not_noisy():
    """Interpolation takes noise from the volumes that moved, whose acquisition was no quieter."""
    truth, _, mask = _truth()
    repetitions = _noisy(truth, 1.0)
    for volume in np.delete(np.arange(13), NOISY):
        for series in repetitions:
            series[..., volume] = ndimage.shift(series[..., volume], 0.5, order=5, mode="nearest")
    assert (relative_noise_sd(repetitions, mask, SHELLS) == 1).all()


@pytest.mark.parametrize("fault", ["motion", "dropout"])
def test_a_volume_that_repetitions_disagree_in_is_not_noisy(fault):
    """What is missing or displaced in one volume of one repetition is no noise, nor has it a floor."""
    truth, _, mask = _truth((24, 24, 12))
    x, y, _ = np.indices(mask.shape)
    truth = truth * (1 + 0.4 * np.sin(x) * np.sin(y))[..., None].astype(np.float32)
    other = truth.copy()
    if fault == "motion":
        other[..., NOISY] = ndimage.shift(other[..., NOISY], (0.7, 0, 0), order=3, mode="nearest")
    else:
        other[:, :, 2:5, NOISY] *= 0.3
    repetitions = np.concatenate([_noisy(truth, 1.0, 1), _noisy(other, 1.0, 2)[1:]])
    assert (relative_noise_sd(repetitions, mask, SHELLS) == 1).all()


def test_a_noisy_volume_is_found_where_every_b_is_its_own_shell():
    """Volumes of neighbouring b-values are judged together, since none has a shell to be compared with."""
    truth, _, mask = _truth()
    levels = np.full(truth.shape[-1], 8.0, np.float32)
    levels[NOISY] = 20
    generator = torch.Generator().manual_seed(0)
    repetitions = np.stack([add_rician_noise(truth, levels, generator) for _ in range(2)])
    shells = np.r_[0.0, np.arange(100.0, 1300.0, 100.0)]
    factors = relative_noise_sd(repetitions, mask, pool_small_shells(shells))
    assert np.flatnonzero(factors > 1).tolist() == [NOISY]
    assert not (relative_noise_sd(repetitions, mask, shells) > 1).any()
