"""Errors and averages that the records tell, against those of phantoms whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from n2a_bids.algorithms.candidates import Candidate, compare
from n2a_bids.algorithms.phantoms import SimulationConfig, simulate_runs
from n2a_bids.algorithms.preparation import prepare
from n2a_bids.algorithms.realizations import Context, DenoisedImage, Realizations
from n2a_bids.algorithms.risk import hold_out
from n2a_bids.algorithms.strategies import auto, get_strategy
from n2a_bids.algorithms.strategies.mean import average_matched
from n2a_bids.algorithms.weighing import weigh_repetitions
from n2a_bids.commands.denoise_figures import measure, noise_sd_map

EDGE = 56
GRID = np.stack(np.meshgrid(*[np.linspace(-1, 1, EDGE)] * 3, indexing="ij"))
MASK = (GRID**2).sum(axis=0) < 0.7
ANATOMY = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((EDGE,) * 3), 2)
CLEAN = (1000 + 250 * np.tanh(4 * ANATOMY / ANATOMY.std())).astype(np.float32)
CASES = [(2, 1.0), (2, 2.0), (2, 4.0), (4, 1.0), (4, 2.0), (4, 4.0)]
"""Repetitions, and noise SD of the last over that of the first."""


def repetitions_of(n_repetitions: int, noise_ratio: float) -> Realizations:
    """Aligned repetitions whose noise SDs have this ratio, at one root mean square."""
    plan = SimulationConfig(
        noise_level=0.4, noise_ratio=noise_ratio, n_repetitions=n_repetitions, noise_model="gaussian"
    )
    runs = simulate_runs(CLEAN, MASK, plan, np.random.default_rng(3))
    return Realizations(runs.repetitions[..., None], MASK)


def rmse(image: np.ndarray) -> float:
    """Against the truth, in the brain."""
    return float(np.sqrt(np.mean((image[..., 0] - CLEAN)[MASK] ** 2)))


def denoise_by_blurring(realizations: Realizations) -> DenoisedImage:
    """What ``auto`` does with a candidate, whose part is played by a slight blur."""
    context = Context(torch.Generator().manual_seed(0))
    prepared, held_out = prepare(realizations), hold_out(MASK, context.generator, fraction=0.8)
    blur = Candidate("blur", function=lambda image, noise_sd: ndimage.gaussian_filter(image, 0.7))
    prepared = weigh_repetitions(blur, prepared, held_out, context)
    stack = compare([Candidate("mean"), blur], prepared, held_out, 0.0, context)
    gain = auto.estimate_gain(prepared, held_out, 0.0, float(stack.risks[1]))
    chosen = {"name": "blur", "description": "a blur", "mean_won": False}
    return auto.finish(prepared, blur.function(prepared.average, None), {"chosen": chosen}, gain)


@pytest.mark.parametrize(("n_repetitions", "noise_ratio"), CASES)
def test_error_and_averages_are_true_however_unequal_the_noise(n_repetitions, noise_ratio):
    """Root mean squared error within 8 %, averages within 15 %: by definition over the plain mean."""
    realizations = repetitions_of(n_repetitions, noise_ratio)
    mean = average_matched(realizations)
    denoised = denoise_by_blurring(realizations)
    found = measure(realizations, mean, denoised, denoised.noise_sd)
    assert found["noise_sd_mean"] == pytest.approx(rmse(mean), rel=0.03)
    assert found["error_denoised"] == pytest.approx(rmse(denoised.data), rel=0.08)
    averages = n_repetitions * (rmse(mean) / rmse(denoised.data)) ** 2
    assert found["equivalent_averages"] == pytest.approx(averages, rel=0.15)
    gain_db = found["gain_of_weighting_db"] + found["gain_of_denoising_db"]
    assert found["equivalent_averages"] == pytest.approx(n_repetitions * 10 ** (gain_db / 10), rel=1e-3)


@pytest.mark.parametrize(("noise_ratio", "averages"), [(1.0, 2.0), (2.0, 3.125), (4.0, 9.03)])
def test_a_weighted_mean_is_worth_more_averages_and_is_called_by_its_name(noise_ratio, averages):
    """SDs of 1 and 4: the mean weighted by noise is as good as nine plain averages of the average noise."""
    realizations = repetitions_of(2, noise_ratio)
    context = Context(torch.Generator().manual_seed(0))
    held_out = hold_out(MASK, context.generator, fraction=0.8)
    blur = Candidate("blur", function=lambda image, noise_sd: ndimage.gaussian_filter(image, 0.7))
    prepared = weigh_repetitions(blur, prepare(realizations), held_out, context)
    gain = auto.estimate_gain(prepared, held_out, 0.0, None)
    assert gain.denoising == 1
    assert gain.equivalent_averages(2) == pytest.approx(averages, rel=0.08)
    kept = prepared.scales[0].invert(prepared.average)[..., None]
    assert 2 * (rmse(average_matched(realizations)) / rmse(kept)) ** 2 == pytest.approx(averages, rel=0.05)
    mean = auto.mean_candidate(prepared)
    chosen = auto.describe_choice([mean], np.ones(1), True)
    expected = (
        ("mean", "the plain mean") if noise_ratio == 1 else ("weighted mean", "the mean weighted by noise")
    )
    assert (chosen["name"], chosen["description"].split(":")[0]) == expected


@pytest.mark.parametrize("same_signal", [True, False], ids=["repetitions", "echoes"])
@pytest.mark.parametrize(("n_repetitions", "noise_ratio"), CASES)
def test_the_plain_mean_has_the_error_that_is_told(n_repetitions, noise_ratio, same_signal):
    """It is worth as many averages as went in, whatever their noise; echoes are matched to the first."""
    realizations = replace(repetitions_of(n_repetitions, noise_ratio), same_signal=same_signal)
    strategy = get_strategy("mean")
    denoised = strategy.denoise(realizations, strategy.config("fast"), Context(torch.Generator()))
    found = measure(realizations, denoised.data, denoised, noise_sd_map(realizations))
    assert found["equivalent_averages"] == n_repetitions
    assert found["error_denoised"] == found["noise_sd_mean"] == pytest.approx(rmse(denoised.data), rel=0.06)


def test_small_units_keep_their_digits():
    """An image of intensities around a millionth is no image without noise."""
    realizations = repetitions_of(2, 1.0)
    small = replace(realizations, data=realizations.data * np.float32(1e-9))
    found = [
        measure(one, average_matched(one), DenoisedImage(average_matched(one)), noise_sd_map(one))
        for one in (realizations, small)
    ]
    assert found[1]["noise_sd_mean"] == pytest.approx(1e-9 * found[0]["noise_sd_mean"], rel=1e-3)
