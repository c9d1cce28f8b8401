"""Laws of the limits of a distortion field."""

from dataclasses import replace

import numpy as np
import pytest

from n2a_bids.algorithms.distortion.quality import judge_distortion
from n2a_bids.interfaces.dwi.distortion import still_pair


@pytest.mark.parametrize(("size", "limit"), [(1.0, ""), (0.2, "plausible: up to 5")], ids=["human", "rat"])
def test_no_field_moves_a_brain_by_most_of_its_length(size, limit):
    """Twelve millimetres are usual in our brains, and as much as that of a rat is wide."""
    image = np.random.default_rng(0).uniform(50, 100, (12, 24, 12)).astype(np.float32)
    mask = np.zeros(image.shape, bool)
    mask[3:9, 8:14, 3:9] = True
    moved = replace(still_pair(image, image), displacement=np.full(image.shape, 6, np.float32))
    found = judge_distortion(image, (image, image), moved, mask, 1, 2.0, 1, size)
    assert found.displacement_mm["percentile_95"] == 12
    assert ("plausible" in found.reason) == bool(limit) and limit in found.reason
