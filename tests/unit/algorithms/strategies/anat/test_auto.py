"""What `auto` tells of its gain."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from n2a_bids.algorithms.strategies.anat.auto import _likely_risk


@pytest.mark.parametrize(("measured", "told"), [(-0.9, -0.57), (-0.3, -0.3)])
def test_no_more_gain_is_told_than_was_measured(measured, told):
    """A map that expects less error than the held-out blocks found adds nothing; one of more error counts."""
    everywhere = np.ones((4, 4, 4), bool)
    stack = SimpleNamespace(combined_risk=measured, combined_standard_error=0.3)
    place = SimpleNamespace(mask=everywhere)
    error_sd = np.full(everywhere.shape, np.sqrt(0.45), np.float32)
    assert _likely_risk(stack, 1.0, error_sd, place, place) == pytest.approx(told, abs=0.01)
