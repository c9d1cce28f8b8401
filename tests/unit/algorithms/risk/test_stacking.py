"""Laws of recorruption and of the risk."""

import math

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.averaging import RepetitionWeights
from n2a_bids.algorithms.risk.held_out import hold_out
from n2a_bids.algorithms.risk.stacking import list_risks, stack_candidates, zero_sum_direction


def _generator():
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("variance", [np.ones(2), np.ones(4), np.array([0.5, 1.0, 1.5])])
def test_recorrupted_pairs_have_one_signal_and_uncorrelated_noise(variance):
    """Weights sum to one, the noise covariance is zero, and the contrast is as noisy as the average."""
    weighting = RepetitionWeights.of_variances(variance)
    weights, direction = weighting.weights, zero_sum_direction(weighting, _generator())
    strength = 0.4
    source, target = weights + strength * direction, weights - direction / strength
    assert source.sum() == pytest.approx(1)
    assert target.sum() == pytest.approx(1)
    assert (source * target * variance).sum() == pytest.approx(0, abs=1e-12)
    assert (direction**2 * variance).sum() == pytest.approx((weights**2 * variance).sum())


def test_held_out_cubes_lie_in_the_mask_and_cover_about_the_asked_part():
    """Cores in boxes in the volume, about 12 % of the mask."""
    mask = np.zeros((60, 60, 60), bool)
    mask[5:55, 5:55, 5:55] = True
    held = hold_out(mask, _generator(), edge=12)
    assert 0.08 < held.mask[mask].mean() < 0.16
    for core, box in zip(held.cores, held.boxes):
        assert all(b.start <= c.start and c.stop <= b.stop <= 60 for c, b in zip(core, box))


def test_tiny_masks_still_hold_out_one_cube():
    """A mask smaller than a cube gives one cube at its centre."""
    mask = np.zeros((16, 16, 16), bool)
    mask[7:9, 7:9, 7:9] = True
    held = hold_out(mask, _generator())
    assert len(held.cores) == 1
    assert held.mask[mask].any()


def _problem(rng, n_blocks=6, n_voxels=4000):
    """Mean, a good and a useless candidate, against independent noisy targets."""
    predictions, targets = [], []
    for _ in range(n_blocks):
        clean = rng.standard_normal(n_voxels)
        mean = clean + 0.5 * rng.standard_normal(n_voxels)
        good = clean + 0.2 * rng.standard_normal(n_voxels)
        bad = 0.3 * clean
        predictions.append(np.stack((mean, good, bad)).astype(np.float32))
        targets.append((clean + rng.standard_normal(n_voxels)).astype(np.float32))
    return predictions, targets


def test_risk_estimates_the_difference_of_true_errors():
    """Noisy targets give the true difference of mean squared errors."""
    stack = stack_candidates(*_problem(np.random.default_rng(0)))
    assert stack.risks[0] == 0
    assert stack.risks[1] == pytest.approx(0.2**2 - 0.5**2, abs=0.03)
    assert stack.risks[2] == pytest.approx(0.7**2 - 0.5**2, abs=0.05)


def test_stack_is_convex_and_at_least_as_good_as_its_best_part():
    """Weights are a convex combination whose risk does not exceed the best candidate's."""
    stack = stack_candidates(*_problem(np.random.default_rng(0)))
    assert (stack.weights >= 0).all()
    assert stack.weights.sum() == pytest.approx(1)
    assert stack.combined_risk <= stack.risks.min() + 1e-9
    assert np.argmax(stack.weights) == 1


def test_standard_errors_are_those_of_repeated_experiments():
    """Five places of different difficulty, as in a head: the error told is the spread of what is found."""
    rng = np.random.default_rng(0)
    found, told = [], []
    for _ in range(300):
        spread = rng.uniform(0.2, 1.0, 5)
        clean = [rng.standard_normal(400) for _ in spread]
        predictions = [
            np.stack((c + 0.5 * rng.standard_normal(400), (1 - s) * c)) for c, s in zip(clean, spread)
        ]
        targets = [c + rng.standard_normal(400) for c in clean]
        stack = stack_candidates(predictions, targets)
        found.append(stack.risks[1])
        told.append(stack.standard_errors[1] ** 2)
    assert np.sqrt(np.mean(told)) == pytest.approx(np.std(found), rel=0.15)


def test_error_of_the_combination_is_that_of_its_own_blocks():
    """A combination of two candidates whose errors cancel is surer than either."""
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((6, 1000))
    offsets = [0.5, -0.5, 1.0, -1.0, 2.0, -2.0]
    predictions = [
        np.stack((c + rng.standard_normal(1000), c + offset, c - offset)) for c, offset in zip(clean, offsets)
    ]
    stack = stack_candidates(predictions, list(clean))
    np.testing.assert_allclose(stack.weights, [0, 0.5, 0.5], atol=0.05)
    assert stack.combined_standard_error < 0.2 * stack.standard_errors[1:].min()


def _nearly_alike(share):
    """Two candidates whose best combination takes `share` of the second one."""
    rng = np.random.default_rng(0)
    error, other = rng.standard_normal((2, 4000))
    other -= error * (error @ other) / (error @ error)
    worse = np.sqrt((1 - share) / share * (error @ error) / (other @ other)) * other
    clean = rng.standard_normal(4000)
    return [np.stack((clean + 9 * error, clean + error, clean + worse))], [clean]


@pytest.mark.parametrize(("share", "kept"), [(0.03, False), (0.3, True)])
def test_what_costs_work_of_its_own_must_be_worth_it(share, kept):
    """A small share is left out, at hardly any risk; a large one stays, and so does what costs nothing."""
    predictions, targets = _nearly_alike(share)
    free = stack_candidates(predictions, targets)
    costly = stack_candidates(predictions, targets, costly=[2])

    assert free.weights[2] == pytest.approx(share, abs=0.01)
    assert bool(costly.weights[2] > 0) == kept
    assert costly.weights.sum() == pytest.approx(1)
    assert costly.combined_risk - free.combined_risk < 0.06


def test_one_block_proves_nothing():
    """The spread between places is unknown, so that the mean must win; records stay valid JSON."""
    predictions, targets = _problem(np.random.default_rng(0), n_blocks=1)
    stack = stack_candidates(predictions, targets)
    assert stack.risks[1] < 0
    assert stack.combined_risk + 2 * stack.combined_standard_error > 0
    assert all(math.isfinite(row.risk) for row in list_risks(["mean", "good", "bad"], stack))
    assert list_risks(["mean", "good", "bad"], stack)[1].standard_error is None
