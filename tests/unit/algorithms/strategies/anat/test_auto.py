"""What `auto` tells of its gain."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.averaging import RepetitionWeights
from n2a_bids.algorithms.preparation.repetitions import Prepared
from n2a_bids.algorithms.risk.held_out import hold_out
from n2a_bids.algorithms.strategies.anat.auto import _likely_risk, error_of_mean


@pytest.mark.parametrize(
    ("measured", "standard_error", "told"),
    [(-0.9, 0.3, -0.57), (-0.3, 0.3, -0.53), (-0.9, 0.001, -0.9), (-0.3, 0.001, -0.3)],
)
def test_what_chance_leaves_open_the_map_of_the_expected_error_tells(measured, standard_error, told):
    """The map expects 0.55 less than the error of the mean; a sure measurement needs no map."""
    everywhere = np.ones((4, 4, 4), bool)
    stack = SimpleNamespace(combined_risk=measured, combined_standard_error=standard_error)
    place = SimpleNamespace(mask=everywhere)
    error_sd = np.full(everywhere.shape, np.sqrt(0.45), np.float32)
    assert _likely_risk(stack, 1.0, error_sd, place, place) == pytest.approx(told, abs=0.01)


def test_error_of_the_mean_is_measured_where_the_risk_is():
    """Whatever the map of the noise says, and with weights: half of the differences tell it."""
    rng = np.random.default_rng(0)
    weighting = RepetitionWeights.of_variances(np.array([1.0, 4.0]))
    images = (rng.standard_normal((2, 40, 40, 40)) * np.array([1, 2])[:, None, None, None]).astype(np.float32)
    mask = np.ones(images.shape[1:], bool)
    prepared = Prepared(images, (), mask, mask, weighting, 5 * np.ones(mask.shape, np.float32), None)
    found = error_of_mean(prepared, hold_out(mask, torch.Generator().manual_seed(0)), 0.5)
    assert found.noise == pytest.approx(1 / (1 + 1 / 4), rel=0.05)
    assert found.bias == pytest.approx(0.25)
