"""A series that is denoised where it lies may learn from another one: better where that fits, never worse."""

import numpy as np
import pytest
import torch
from dwi_dataset import NOISE_SD, head

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.repetitions import Companion, Repetitions
from n2a_bids.algorithms.strategies.dwi import auto
from n2a_bids.lab.simulation.dwi import add_rician_noise

_SHARED = "non-local Bayes of two series"


@pytest.fixture(scope="module")
def scene():
    """Truth with its table and mask, and a noisy series of it."""
    truth, gradients = head()
    truth = truth[4:22, 4:24, 3:11]
    noisy = add_rician_noise(truth, 2 * NOISE_SD, torch.Generator().manual_seed(1))
    return truth, gradients, truth[..., 0] > 0, noisy


def _denoise(scene, companion=None):
    _, gradients, mask, noisy = scene
    repetitions = Repetitions(noisy[None], mask, gradients=gradients, companion=companion)
    config = auto.config("fast")
    context = Context(torch.Generator().manual_seed(3))
    return auto.denoise(repetitions, config, context)


@pytest.fixture(scope="module")
def alone(scene):
    """Denoised by itself."""
    return _denoise(scene)


def _error(scene, found):
    truth, _, mask, _ = scene
    return float(np.mean((found.data - truth)[mask] ** 2))


def test_another_series_of_the_head_lowers_the_error(scene, alone):
    """In another unit, too; the record tells the gain, and not more than the truth does."""
    truth, _, mask, _ = scene
    other = 3 * add_rician_noise(truth, 2 * NOISE_SD, torch.Generator().manual_seed(2))
    together = _denoise(scene, Companion(other, np.ones(mask.shape, bool)))
    assert together.record.chosen.name == _SHARED
    gained_db = 10 * np.log10(_error(scene, alone) / _error(scene, together))
    assert gained_db > 0.5
    gain_db = {row.name: row.gain_over_mean_db for row in together.record.candidates}
    assert 0.2 < gain_db[_SHARED] - gain_db[alone.record.chosen.name] < gained_db + 0.1


def test_a_series_that_tells_nothing_changes_nothing(scene, alone):
    """Another head: the risk keeps what the series says by itself, or all but the same."""
    truth, _, mask, _ = scene
    strange = add_rician_noise(truth[::-1, ::-1, ::-1], 2 * NOISE_SD, torch.Generator().manual_seed(2))
    together = _denoise(scene, Companion(strange, np.ones(mask.shape, bool)))
    assert _error(scene, together) <= 1.01 * _error(scene, alone)


def test_noise_that_both_series_hold_is_not_taken_for_signal(scene, alone):
    """The same measurement, its volumes in another order: the risk is impossible; nothing changes."""
    noisy, mask = scene[-1], scene[2]
    order = np.random.default_rng(0).permutation(noisy.shape[-1])
    together = _denoise(scene, Companion(noisy[..., order], np.ones(mask.shape, bool)))
    assert together.record.chosen == alone.record.chosen
    assert np.array_equal(together.data, alone.data)


@pytest.mark.proof
def test_where_the_other_series_ends_nothing_changes(scene, alone):
    """It shows the left half of the head alone, or too little of it."""
    truth, _, mask, _ = scene
    other = add_rician_noise(truth, 2 * NOISE_SD, torch.Generator().manual_seed(2))
    seen = np.zeros(mask.shape, bool)
    seen[: mask.shape[0] * 5 // 8] = True
    together = _denoise(scene, Companion(other * seen[..., None], seen))
    assert together.record.chosen.name == _SHARED
    assert np.array_equal(together.data[~seen], alone.data[~seen])
    seen[3:] = False
    assert np.array_equal(_denoise(scene, Companion(other, seen)).data, alone.data)


@pytest.mark.proof
def test_anatomy_that_only_the_other_series_shows_is_not_taken_over(scene, alone):
    """A lesion in the other series: there the series keeps its own signal."""
    truth, _, mask, _ = scene
    lesion = np.zeros(mask.shape, bool)
    lesion[7:11, 8:12, 2:6] = True
    changed = np.where(lesion[..., None], 2.2 * truth, truth)
    other = add_rician_noise(changed, 2 * NOISE_SD, torch.Generator().manual_seed(2))
    together = _denoise(scene, Companion(other, np.ones(mask.shape, bool)))
    inside = lesion & mask
    bias = float((together.data - truth)[inside].mean() / truth[inside].mean())
    own = float((alone.data - truth)[inside].mean() / truth[inside].mean())
    assert abs(bias - own) < 0.05
