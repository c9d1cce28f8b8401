"""What the numbers of phase images mean."""

from __future__ import annotations

import numpy as np
import pytest

from n2a_bids.algorithms.preparation.phase_scale import find_phase_scale

_PHASES = np.linspace(-np.pi, np.pi, 4001)[1:-1]


@pytest.mark.parametrize(
    ("values", "units"),
    [
        (_PHASES, "rad"),
        (_PHASES, ""),
        (_PHASES % (2 * np.pi), "rad"),
        (_PHASES % (2 * np.pi), ""),
        (0.4 * _PHASES, "rad"),
        (np.floor((_PHASES / np.pi + 1) * 2048), "arbitrary"),
        (np.floor((_PHASES / np.pi + 1) * 2048), ""),
        (np.floor(_PHASES / np.pi * 4096), "arbitrary"),
        (np.floor(_PHASES / np.pi * 2048), ""),
        (np.round(1000 * _PHASES), "arbitrary"),
    ],
    ids=["rad", "rad untold", "0 to 2 pi", "0 to 2 pi untold", "part of a turn", "0 to 4095",
         "0 to 4095 untold", "-4096 to 4095", "-2048 to 2047", "milliradians"],
)  # fmt: skip
def test_every_scale_gives_the_phase_back(values, units):
    """To the step of its levels; a stripped brain need not fill the circle where Units tell radians."""
    scale = find_phase_scale(values.min(), values.max(), units)
    expected = 0.4 * _PHASES if np.ptp(values) < 3 else _PHASES
    turned = np.exp(1j * (scale.radians(values) - expected))
    assert np.abs(np.angle(turned)).max() < 2e-3


@pytest.mark.parametrize(
    ("low", "high", "units", "words"),
    [
        (-0.4999, 0.5, "rad", "look like cycles"),
        (-180, 180, "rad", "look like degrees"),
        (0, 359.9, "", "look like degrees"),
        (0, 4095, "rad", "look like 4096 levels"),
        (-np.pi, np.pi, "arbitrary", "look like radians"),
        (0, 1, "rad", "a scale of 0 to 1"),
        (0, 1, "", "a scale of 0 to 1"),
        (-1, 1, "", "a scale of -1 to 1"),
        (-20.0, 31.0, "rad", "Units 'rad'"),
        (0, 300, "", "no Units"),
        (0, 0, "rad", "the value 0 everywhere"),
        (-0.0024, 0.0024, "rad", "less than the noise of a phase"),
        (-np.pi, np.pi, "degrees", "Units 'degrees'"),
    ],
)
def test_what_fits_no_scale_is_named(low, high, units, words):
    """Degrees, normalised phases, unwrapped ones, and units that contradict the values."""
    with pytest.raises(ValueError, match=words):
        find_phase_scale(low, high, units)


def test_nan_has_no_phase():
    """Masked voxels may hold NaN."""
    assert find_phase_scale(-3.14, 3.14, "rad").radians(np.array([np.nan, np.inf])).tolist() == [0, 0]
