"""The promise of CHANGES.md: a patch release gives the same voxels."""

import json

import numpy as np
import pytest
from reference_values import CASES, KEPT, NOISE_SD, values_of

_MOST_DIFFERENCE = 0.03
"""Root mean square, in SDs of the noise: rounding (bfloat16 or single precision, by the processor) differs by
less; any other choice, weight or blend by more."""


@pytest.mark.parametrize("name", CASES)
def test_voxels_are_those_of_the_release(name):
    """If this fails on purpose: CHANGES.md says so first, and ``reference_values.py`` makes them anew."""
    kept = np.array(json.loads(KEPT.read_text())[name])
    unit = NOISE_SD["dwi" if name.startswith("dwi") else "t1w"]
    difference = np.sqrt(np.mean((values_of(name) - kept) ** 2)) / unit
    assert difference < _MOST_DIFFERENCE
