"""The noisy air of UNIT1 is told apart from tissue, and that of magnitudes is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from n2a_bids.algorithms.preparation.background import find_noisy_background, without_noisy_background
from n2a_bids.algorithms.preparation.repetitions import prepare, restore
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.denoising.measures import noise_sd_map
from n2a_bids.record.denoising import StrategyRecord


@pytest.fixture(scope="module")
def uniform_runs(head) -> np.ndarray:
    """Two UNIT1 of one head, in integers from 0 to 4095: a ratio of two noisy complex images."""
    rng = np.random.default_rng(1)
    signal = head[0] / 1000
    runs = []
    for _ in range(2):
        first, second = (
            image + rng.normal(0, 0.03, signal.shape) + 1j * rng.normal(0, 0.03, signal.shape)
            for image in ((signal - 0.5) * (signal > 0.05), 0.8 * (signal > 0.05))
        )
        ratio = (np.conj(first) * second).real / (np.abs(first) ** 2 + np.abs(second) ** 2)
        runs.append(np.round((ratio + 0.5) * 4095))
    return np.stack(runs).astype(np.float32)


def test_air_of_ratio_images_is_found(uniform_runs, head):
    """Most of the air, none of the brain."""
    background = find_noisy_background(uniform_runs, head[1])
    air = head[0] < 1
    assert background[air].mean() > 0.7
    assert not background[head[1]].any()


def test_magnitudes_have_no_noisy_background(noisy_runs, head):
    """Their air is quieter than the brain, also where the jaw or the neck moved between the runs."""
    runs = np.stack(noisy_runs(2, noise_sd=20)).astype(np.float32)
    assert find_noisy_background(runs, head[1]) is None
    runs[1, :, :, :12] = np.roll(runs[1, :, :, :12], 6, axis=0)
    assert find_noisy_background(runs, head[1]) is None


def test_noise_of_the_air_does_not_reach_the_brain(uniform_runs, head):
    """The noise map at the rim of the brain is that of the tissue; a ratio has no Rician floor."""
    repetitions = Repetitions(uniform_runs[..., None], head[1])
    prepared = prepare(repetitions)
    true_sd = (uniform_runs[0] - uniform_runs[1])[head[1]].std() / np.sqrt(2)
    noise_sd = noise_sd_map(repetitions)[..., 0][head[1]]
    assert np.percentile(noise_sd, 95) < 1.6 * true_sd
    assert prepared.magnitude is None
    assert not (prepared.head & prepared.background).any()


def test_the_background_stays_as_averaged(uniform_runs, head):
    """Whatever a network makes of it."""
    prepared = prepare(Repetitions(uniform_runs[..., None], head[1]))
    done = restore(prepared, np.zeros_like(prepared.average), StrategyRecord()).data[..., 0]
    expected = prepared.scales[0].invert(prepared.average)
    np.testing.assert_allclose(done[prepared.background], expected[prepared.background])
    assert np.ptp(done[head[1]]) == 0


def test_a_single_ratio_image_gets_dark_air(uniform_runs, head):
    """For brain masks: tissue keeps its values."""
    cleaned = without_noisy_background(uniform_runs[0])
    air = head[0] < 1
    assert (cleaned[air] == np.percentile(uniform_runs[0], 0.5)).mean() > 0.6
    assert (cleaned == uniform_runs[0])[head[1]].mean() > 0.98
