"""The blend that theory predicts for Noise2Average."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.nn.networks import MUNet
from n2a_bids.algorithms.nn.training import Schedule
from n2a_bids.algorithms.nn.weights import NETWORKS
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.held_out import hold_out
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.algorithms.strategies.anat import noise2average


@pytest.mark.slow
@pytest.mark.parametrize(("n_iterations", "kept"), [(1, 0.5), (2, 0.25)])
def test_iterations_keep_a_half_and_a_quarter_of_the_noise(monkeypatch, n_iterations, kept):
    """Where nothing can be predicted but the input's own noise, two repetitions keep 2**-i of it.

    The target of iteration i holds ``2**-i`` of the input's noise; the rest of it is independent of
    the input, so a network trained to convergence returns that part and nothing else.
    """

    monkeypatch.setitem(NETWORKS, "munet-t1w", partial(MUNet, n_channels=3))
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 18, 18, 18)).astype(np.float32)
    repetitions = Repetitions(noise[..., None], np.ones(noise.shape[1:], bool))
    config = dataclasses.replace(
        get_strategy("noise2average").config("faithful"),
        schedule=Schedule(n_epochs=60, steps_per_epoch=0, learning_rate=5e-3),
        n_iterations=n_iterations,
    )
    context = Context(generator=torch.Generator().manual_seed(0))
    result = get_strategy("noise2average").denoise(repetitions, config, context)
    for noisy, denoised in zip(noise, result.repetitions[..., 0]):
        slope = (noisy * denoised).mean() / (noisy**2).mean()
        assert slope == pytest.approx(kept, abs=0.06)


@pytest.mark.parametrize("n_repetitions", [2, 4])
def test_risk_is_that_of_the_mean_of_the_denoised(n_repetitions):
    """More noise may be left in each of four than in each of two, since their mean is what comes out."""
    rng = np.random.default_rng(0)
    shape = (48, 48, 48)
    clean = ndimage.gaussian_filter(rng.standard_normal(shape), 1)
    clean = (clean / clean.std()).astype(np.float32)
    noisy = clean + rng.standard_normal((n_repetitions, *shape)).astype(np.float32)
    mask = np.ones(shape, bool)
    repetitions = Repetitions(noisy[..., None], mask)
    held_out = hold_out(mask, torch.Generator().manual_seed(0), fraction=1.0)
    config = get_strategy("noise2average").config("default")
    prepared = noise2average._prepare(repetitions, config, held_out)
    found, true = [], []
    for sd in np.arange(0.2, 1.3, 0.1):
        denoised = np.stack([ndimage.gaussian_filter(image, sd) for image in prepared.images])
        found.append(noise2average._cross_risks(denoised, prepared, held_out).mean())
        blurred = np.stack([ndimage.gaussian_filter(image, sd) for image in noisy]).mean(axis=0)
        true.append(((blurred - clean) ** 2).mean())
    assert true[int(np.argmin(found))] < 1.03 * min(true)
    differences = np.diff(found) * prepared.scales[0].gain ** 2
    np.testing.assert_allclose(differences, np.diff(true), atol=0.05 * np.ptp(true))
