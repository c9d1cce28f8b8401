"""What `auto` tells of its gain."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from n2a_bids.algorithms.strategies.anat.auto import _likely_risk


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
