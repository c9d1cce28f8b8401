"""Errors and averages that the records tell, against those of phantoms whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusion_series import random_table, turning_fibres
from scipy import ndimage

from n2a_bids.algorithms.averaging import equal_weights
from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.filters.local_pca import PatchPlan
from n2a_bids.algorithms.preparation.repetitions import prepare
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.risk.candidates import Candidate
from n2a_bids.algorithms.risk.comparison import compare
from n2a_bids.algorithms.risk.dwi_candidates import choose
from n2a_bids.algorithms.risk.dwi_groups import VolumeGroup, describe_groups
from n2a_bids.algorithms.risk.held_out import hold_out
from n2a_bids.algorithms.risk.repetition_weights import weigh_repetitions, weigh_series
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.algorithms.strategies.anat import auto, auto_candidates
from n2a_bids.algorithms.strategies.mean import average_matched
from n2a_bids.denoising.measures import measure, noise_sd_map
from n2a_bids.lab.simulation.dwi import add_rician_noise
from n2a_bids.lab.simulation.runs import SimulationConfig, simulate_runs
from n2a_bids.record.denoising import CandidateRisk, Choice, StrategyRecord

EDGE = 56
GRID = np.stack(np.meshgrid(*[np.linspace(-1, 1, EDGE)] * 3, indexing="ij"))
MASK = (GRID**2).sum(axis=0) < 0.7
ANATOMY = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((EDGE,) * 3), 2)
CLEAN = (1000 + 250 * np.tanh(4 * ANATOMY / ANATOMY.std())).astype(np.float32)
CASES = [(2, 1.0), (2, 2.0), (2, 4.0), (4, 1.0), (4, 2.0), (4, 4.0)]
"""Repetitions, and noise SD of the last over that of the first."""


def repetitions_of(n_repetitions: int, noise_ratio: float) -> Repetitions:
    """Aligned repetitions whose noise SDs have this ratio, at one root mean square."""
    plan = SimulationConfig(
        noise_level=0.4, noise_ratio=noise_ratio, n_repetitions=n_repetitions, noise_model="gaussian"
    )
    runs = simulate_runs(CLEAN, MASK, plan, np.random.default_rng(3))
    return Repetitions(runs.repetitions[..., None], MASK)


def rmse(image: np.ndarray) -> float:
    """Against the truth, in the brain."""
    return float(np.sqrt(np.mean((image[..., 0] - CLEAN)[MASK] ** 2)))


def denoise_by_blurring(repetitions: Repetitions) -> DenoisedImage:
    """What ``auto`` does with a candidate, whose part is played by a slight blur."""
    context = Context(torch.Generator().manual_seed(0))
    prepared, held_out = prepare(repetitions), hold_out(MASK, context.generator, fraction=0.8)
    blur = Candidate("blur", function=lambda image, noise_sd: ndimage.gaussian_filter(image, 0.7))
    prepared = weigh_repetitions(blur, prepared, held_out, context)
    stack = compare([Candidate("mean"), blur], prepared, held_out, 0.0, context)
    gain = auto.estimate_gain(prepared, auto.error_of_mean(prepared, held_out, 0.0), float(stack.risks[1]))
    return auto.finish(
        prepared, blur.function(prepared.average, None), StrategyRecord(chosen=Choice("blur", "a blur")), gain
    )


@pytest.mark.parametrize(("n_repetitions", "noise_ratio"), CASES)
def test_error_and_averages_are_true_however_unequal_the_noise(n_repetitions, noise_ratio):
    """Root mean squared error within 8 %, averages within 15 %: by definition over the plain mean."""
    repetitions = repetitions_of(n_repetitions, noise_ratio)
    mean = average_matched(repetitions)
    denoised = denoise_by_blurring(repetitions)
    found = measure(repetitions, mean, denoised, denoised.noise_sd)
    assert found["noise_sd_mean"] == pytest.approx(rmse(mean), rel=0.03)
    assert found["error_denoised"] == pytest.approx(rmse(denoised.data), rel=0.08)
    averages = n_repetitions * (rmse(mean) / rmse(denoised.data)) ** 2
    assert found["equivalent_averages"] == pytest.approx(averages, rel=0.15)
    gain_db = found["gain_of_weighting_db"] + found["gain_of_denoising_db"]
    assert found["equivalent_averages"] == pytest.approx(n_repetitions * 10 ** (gain_db / 10), rel=1e-3)


@pytest.mark.parametrize("n_repetitions", [2, 3, 4])
def test_slightly_unequal_noise_bends_no_risk(n_repetitions):
    """SDs within 11 %, which are averaged alike: a perfect image is found perfect, whatever was drawn."""
    repetitions = repetitions_of(n_repetitions, 1.11)
    truth = replace(repetitions, data=np.broadcast_to(CLEAN[..., None], repetitions.data.shape))
    for seed in range(3):
        context = Context(torch.Generator().manual_seed(seed))
        prepared, held_out = prepare(repetitions), hold_out(MASK, context.generator, fraction=0.8)
        blur = Candidate("blur", function=lambda image, noise_sd: ndimage.gaussian_filter(image, 0.7))
        prepared = weigh_repetitions(blur, prepared, held_out, context)
        assert not prepared.weighting.is_weighted
        clean = prepared.scales[0].apply(truth.data[0, ..., 0])
        boxes = iter([box for box in held_out.boxes for _ in range(2)])
        perfect = Candidate("truth", function=lambda image, noise_sd: clean[next(boxes)])  # noqa: B023
        stack = compare([Candidate("mean"), perfect], prepared, held_out, 0.0, context)
        mean_error = auto.error_of_mean(prepared, held_out, 0.0).total
        assert stack.risks[1] == pytest.approx(-mean_error, rel=0.1)


@pytest.mark.parametrize(("noise_ratio", "averages"), [(1.0, 2.0), (2.0, 3.125), (4.0, 9.03)])
def test_a_weighted_mean_is_worth_more_averages_and_is_called_by_its_name(noise_ratio, averages):
    """SDs of 1 and 4: the mean weighted by noise is as good as nine plain averages of the average noise."""
    repetitions = repetitions_of(2, noise_ratio)
    context = Context(torch.Generator().manual_seed(0))
    held_out = hold_out(MASK, context.generator, fraction=0.8)
    blur = Candidate("blur", function=lambda image, noise_sd: ndimage.gaussian_filter(image, 0.7))
    prepared = weigh_repetitions(blur, prepare(repetitions), held_out, context)
    gain = auto.estimate_gain(prepared, auto.error_of_mean(prepared, held_out, 0.0), None)
    assert gain.denoising == 1
    assert gain.equivalent_averages(2) == pytest.approx(averages, rel=0.08)
    kept = prepared.scales[0].invert(prepared.average)[..., None]
    assert 2 * (rmse(average_matched(repetitions)) / rmse(kept)) ** 2 == pytest.approx(averages, rel=0.05)
    mean = auto_candidates.mean_candidate(prepared)
    chosen = auto.describe_choice([mean], np.ones(1), True)
    expected = (
        ("mean", "the plain mean") if noise_ratio == 1 else ("weighted mean", "the mean weighted by noise")
    )
    assert (chosen.name, chosen.description.split(":")[0]) == expected


@pytest.mark.parametrize("same_contrast", [True, False], ids=["repetitions", "echoes"])
@pytest.mark.parametrize(("n_repetitions", "noise_ratio"), CASES)
def test_the_plain_mean_has_the_error_that_is_told(n_repetitions, noise_ratio, same_contrast):
    """It is worth as many averages as went in, whatever their noise; echoes are matched to the first."""
    repetitions = replace(repetitions_of(n_repetitions, noise_ratio), same_contrast=same_contrast)
    strategy = get_strategy("mean")
    denoised = strategy.denoise(repetitions, strategy.config("fast"), Context(torch.Generator()))
    found = measure(repetitions, denoised.data, denoised, noise_sd_map(repetitions))
    assert found["equivalent_averages"] == n_repetitions
    assert found["error_denoised"] == found["noise_sd_mean"] == pytest.approx(rmse(denoised.data), rel=0.06)


def test_small_units_keep_their_digits():
    """An image of intensities around a millionth is no image without noise."""
    repetitions = repetitions_of(2, 1.0)
    small = replace(repetitions, data=repetitions.data * np.float32(1e-9))
    found = [
        measure(one, average_matched(one), DenoisedImage(average_matched(one)), noise_sd_map(one))
        for one in (repetitions, small)
    ]
    assert found[1]["noise_sd_mean"] == pytest.approx(1e-9 * found[0]["noise_sd_mean"], rel=1e-3)


@pytest.mark.parametrize("sds", [(1.0, 1.0), (1.0, 2.0), (1.0, 4.0), (1.0, 1.6, 2.5, 4.0)])
def test_errors_of_diffusion_series_are_true_however_unequal_their_noise(sds):
    """Noisy series count less, and neither error nor gain is taken from noise that both sides share."""
    truth, table, mask = smooth_series()
    relative = np.array(sds) / np.sqrt(np.mean(np.square(sds)))
    generator = torch.Generator().manual_seed(0)
    series = np.stack([add_rician_noise(truth, 6.0 * float(sd), generator) for sd in relative])
    strategy = get_strategy("auto", "dwi")
    context = Context(torch.Generator().manual_seed(3))
    repetitions = Repetitions(series, mask, gradients=table)
    denoised = strategy.denoise(repetitions, strategy.config("fast"), context)
    found = measure(repetitions, average_matched(repetitions), denoised, denoised.noise_sd)
    errors = [
        float(np.sqrt(np.mean((image - truth)[mask] ** 2))) for image in (series.mean(0), denoised.data)
    ]
    assert found["noise_sd_mean"] == pytest.approx(errors[0], rel=0.06)
    assert found["error_denoised"] == pytest.approx(errors[1], rel=0.3)
    weighting_db = 10 * np.log10(np.mean(relative**2) * np.mean(relative**-2.0))
    assert found["gain_of_weighting_db"] == pytest.approx(weighting_db, abs=0.7)


def smooth_series():
    """Tensors of varying direction in a box, its gradient table and mask."""
    table = random_table(2, 20)
    series, mask = turning_fibres((20, 20, 10), table)
    return series.astype(np.float32), table, mask


def test_series_of_equal_noise_keep_equal_weights():
    """The same bits as the plain mean, in spite of measurement error."""
    truth, _, mask = smooth_series()
    generator = torch.Generator().manual_seed(1)
    series = np.stack([add_rician_noise(truth, 6.0, generator) for _ in range(3)])
    weights = weigh_series(series, mask, PatchPlan(stride=3))
    assert not weights.is_weighted
    assert np.array_equal(weights.average(series), series.mean(axis=0))


def test_interpolation_is_no_difference_in_noise():
    """A series that was moved by half a voxel and back has less fine noise; it is no better measurement."""
    truth, _, mask = smooth_series()
    generator = torch.Generator().manual_seed(1)
    series = np.stack([add_rician_noise(truth, 6.0, generator) for _ in range(2)])
    series[1] = ndimage.shift(series[1], (0.5, 0.5, 0, 0), order=5, mode="nearest")
    assert not weigh_series(series, mask, PatchPlan(stride=3)).is_weighted


def test_an_error_below_zero_is_not_believed():
    """Series that share noise, or signal that the mean has lost: the mean is kept, and the reason is told."""
    rows = (CandidateRisk("mean", 0.0, 0.01), CandidateRisk("f", -1.3, 0.01))
    assert choose(rows) == "mean"
    assert choose([rows[0], replace(rows[1], risk=-0.98)]) == "f"
    group = VolumeGroup(np.arange(3), np.ones(1), np.ones(3), rows, "mean", 1.0)
    chosen = describe_groups([group], equal_weights(2), np.ones(3), np.zeros(3)).chosen
    assert "below zero" in chosen.description
