"""Structure of exposures is compared whatever their noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.structure import compare_structure

COUNTED = np.ones((192, 192, 1), bool)


def scene(sd: float = 2.0) -> np.ndarray:
    """Structure of some pixels, of variance one."""
    field = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((192, 192)), sd)
    return (field / field.std())[..., None]


def exposures(*signals: np.ndarray, noise_sd=(1.0, 1.0, 1.0)) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([one + sd * rng.standard_normal(one.shape) for one, sd in zip(signals, noise_sd)])


@pytest.mark.parametrize("noise_sd", [(1.0, 1.0), (0.3, 2.0)])
def test_equal_structure_has_the_ratio_one(noise_sd):
    """However unequal the noise."""
    for one in compare_structure(exposures(scene(), scene(), noise_sd=noise_sd), COUNTED):
        assert abs(one.ratio - 1) < 4 * one.standard_error and not one.is_less


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_ratio_is_that_of_variances(factor):
    """An exposure of half the contrast has a quarter of the variance."""
    first, second = compare_structure(exposures(scene(), factor * scene()), COUNTED)
    assert second.ratio == pytest.approx(factor**2, rel=0.15)
    assert first.is_less == (factor > 1) and second.is_less == (factor < 1)


def test_the_one_out_of_focus_of_three_is_found():
    """The others show less than each other, too, but not by much."""
    blurred = ndimage.gaussian_filter(scene(), (3, 3, 0))
    found = compare_structure(exposures(scene(), blurred, scene()), COUNTED)
    assert [one.is_less for one in found] == [False, True, False]


@pytest.mark.parametrize("shape", [(192, 192, 1), (12, 200, 1)])
def test_nothing_is_told_without_structure(shape):
    """Noise alone, or an image that is too narrow."""
    noise = np.random.default_rng(0).standard_normal((2, *shape))
    assert compare_structure(noise, np.ones(shape, bool)) == [None, None]
