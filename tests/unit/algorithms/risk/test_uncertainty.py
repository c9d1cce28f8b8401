"""Laws of the error that is expected of every voxel."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.preparation.repetitions import prepare
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.risk.candidates import Candidate, estimate_average
from n2a_bids.algorithms.risk.comparison import compare
from n2a_bids.algorithms.risk.held_out import hold_out
from n2a_bids.algorithms.risk.stacking import STRENGTH
from n2a_bids.algorithms.risk.uncertainty import (
    USUAL_FACTORS,
    Clues,
    expected_error,
    fit_factors,
    held_out_squared_errors,
    risk_beside_expectation,
    with_uncertainty,
)

SHAPE, NOISE_SD = (64, 64, 64), 0.4
MASK = np.ones(SHAPE, bool)


def clean_image() -> np.ndarray:
    """Smooth on one side, fine structure on the other."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 6)
    fine = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.2)
    side = np.linspace(0, 1, SHAPE[0])[:, None, None]
    return (smooth / smooth.std() + side * fine / fine.std()).astype(np.float32)


def repetitions_of(clean: np.ndarray, n_repetitions: int) -> Repetitions:
    noise = np.random.default_rng(1).standard_normal((n_repetitions, *SHAPE)).astype(np.float32)
    return Repetitions((clean + np.float32(NOISE_SD) * noise)[..., None], MASK)


def blur(image: np.ndarray, noise_sd: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(image, 0.8)


def test_squared_errors_are_unbiased():
    """Of any function, also one that is biased, though no truth is known: to three standard errors."""
    rng = np.random.default_rng(2)
    truth, noise, known = rng.standard_normal((3, n := 60_000))
    average = 2 * truth + noise
    draws = np.stack([known, -known])
    values = 0.1 + 0.6 * (average + STRENGTH * draws)
    found = held_out_squared_errors(values, average - draws / STRENGTH, average)
    expected = np.mean((values - 2 * truth) ** 2)
    assert found.mean() == pytest.approx(expected, abs=3 * found.std() / np.sqrt(n))


def test_factors_follow_the_image_where_it_says_much():
    """Half as much error again is found from many voxels; few change little; none is negative."""
    rng = np.random.default_rng(3)
    rows = np.column_stack([rng.uniform(0.1, 0.4, 200_000), rng.exponential(0.15, 200_000)])
    few = fit_factors(rows[:50], 1.5 + 1.5 * rng.standard_normal(50))
    np.testing.assert_allclose(few, USUAL_FACTORS, rtol=0.15)
    errors = 1.5 * rows @ USUAL_FACTORS
    factors = fit_factors(rows, errors + 1.5 * rng.standard_normal(len(rows)))
    assert (rows @ factors).mean() == pytest.approx(errors.mean(), rel=0.08)
    assert (fit_factors(rows, errors - 5) >= 0).all()


@pytest.mark.parametrize("n_repetitions", [2, 4])
def test_expected_error_is_true_where_it_is_large_and_where_it_is_small(n_repetitions):
    """A blur errs most where there is fine structure: the half of larger prediction errs as predicted."""
    clean = clean_image()
    prepared = prepare(repetitions_of(clean, n_repetitions))
    context = Context(torch.Generator().manual_seed(0))
    held_out = hold_out(MASK, context.generator, fraction=0.6)
    candidate = Candidate("blur", function=blur)
    stack = compare([candidate], prepared, held_out, 0.0, context)
    (estimate,) = estimate_average([candidate], prepared, context)
    # What a blur takes away from the structure stands for the posterior; its unit is wrong on purpose.
    lost = ndimage.gaussian_filter((blur(clean, None) - clean) ** 2, 2) / prepared.scales[0].gain ** 2
    clues = Clues(0.5 * (lost + 0.1 * prepared.average_noise_sd**2))
    error_sd = expected_error(clues, estimate, stack, prepared, held_out, 0.0)
    true = (prepared.scales[0].invert(estimate) - clean) ** 2 / prepared.scales[0].gain ** 2
    large = error_sd > np.median(error_sd)
    for half in (large, ~large):
        assert np.mean(error_sd[half] ** 2) == pytest.approx(true[half].mean(), rel=0.25)
    assert true[large].mean() > 1.3 * true[~large].mean()


def test_mean_is_as_uncertain_as_its_noise_and_bias():
    """Where the average is kept; else the part of the brain where the mean errs less is told."""
    prepared = prepare(repetitions_of(clean_image(), 2))
    gain = prepared.scales[0].gain
    blank = DenoisedImage(np.zeros((*SHAPE, 1), np.float32))
    kept = with_uncertainty(blank, prepared, 0.0, None)
    assert kept.record.mean_better is None
    assert np.median(kept.uncertainty) == pytest.approx(NOISE_SD / np.sqrt(2), rel=0.03)
    biased = with_uncertainty(blank, prepared, np.float32(1.0), None)
    assert np.median(biased.uncertainty) == pytest.approx(np.hypot(NOISE_SD / np.sqrt(2), gain), rel=0.03)
    error_sd = prepared.average_noise_sd * np.float32(0.5)
    error_sd[:16] *= 3
    result = with_uncertainty(blank, prepared, 0.0, error_sd)
    assert result.record.mean_better == pytest.approx(0.25)
    np.testing.assert_allclose(result.uncertainty[..., 0], error_sd * gain, rtol=1e-5)


@pytest.mark.parametrize(("standard_error", "most"), [(0.01, 0.05), (0.3, 0.25)])
def test_chance_in_the_risk_tells_no_tenfold_gain(standard_error, most):
    """Of a small brain the map of the expected error counts; of a large one, what was measured."""
    rng = np.random.default_rng(0)
    error, mean_error = 0.25, 1.0
    risks = error - mean_error + standard_error * rng.standard_normal(500)
    maps = error * (1 + 0.2 * rng.standard_normal(500))
    told = [
        mean_error + risk_beside_expectation(risk, standard_error, mean_error, expected)
        for risk, expected in zip(risks, maps)
    ]
    assert np.std(told) / error < most
    assert np.mean(told) == pytest.approx(error, rel=0.1)
