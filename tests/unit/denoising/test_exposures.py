"""Laws of exposures on one grid: what an exposure has not measured comes from the others, in its own unit."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.normalization import with_equal_gain
from n2a_bids.denoising.exposures import align_exposures
from n2a_bids.io.micrographs import Micrograph


def drifted(shifts, doses, size=128):
    """Counts of a field of view, each exposure moved and of its own dose, and what the first expects."""
    noise = np.random.default_rng(0).standard_normal((size + 64, size + 64))
    field = 100 + 25 * sum(one / one.std() for one in (ndimage.gaussian_filter(noise, sd) for sd in (2, 8)))
    expected = [np.roll(np.maximum(field, 5), shift, (0, 1))[32:-32, 32:-32] for shift in shifts]
    rng = np.random.default_rng(1)
    images = [
        Micrograph(rng.poisson(dose * one)[..., None, None].astype(np.uint16), 16, None, Path(f"{index}.tif"))
        for index, (dose, one) in enumerate(zip(doses, expected))
    ]
    return images, expected[0]


@pytest.mark.parametrize("doses", [(1, 1), (1, 0.5), (1, 0.5, 2)])
def test_gaps_are_filled_in_the_unit_of_the_exposure(doses):
    """Beside a drift, the mean has the brightness of the first exposure, whatever the doses."""
    images, expected = drifted([(0, 0), (-12, 0), (0, 9)][: len(doses)], doses)
    repetitions = align_exposures(images).repetitions
    gaps = repetitions.n_measured[..., 0] < len(doses)
    assert 0.05 < gaps.mean() < 0.3
    mean = with_equal_gain(repetitions).mean(axis=0)[..., 0, 0]
    assert (mean - expected)[gaps].mean() == pytest.approx(0, abs=0.02 * expected.mean())
    assert (mean - expected)[gaps].std() < 1.1 * np.sqrt(expected.mean())
