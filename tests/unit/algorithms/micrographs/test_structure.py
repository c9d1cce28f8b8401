"""Structure of exposures is compared whatever their noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.structure import compare_structure, find_shared_noise

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


@pytest.mark.parametrize("sd", [0.7, 2.0])
@pytest.mark.parametrize("noise_sd", [0.1, 1.0])
def test_what_optics_show_is_no_shared_noise(sd, noise_sd):
    """However fine, and however little noise lies on it."""
    images = exposures(scene(sd), scene(sd), noise_sd=(noise_sd, noise_sd))
    assert find_shared_noise(images.astype(np.float32), COUNTED) == 0


def test_noise_that_exposures_share_is_found():
    """A sum that holds another, a running sum of three, and one dark frame: as much as it is."""
    first, second, third = exposures(scene(), scene(), scene()).astype(np.float32)
    dark = 0.7 * np.random.default_rng(7).standard_normal(COUNTED.shape).astype(np.float32)
    for images, correlation in (
        ([first, first + second], np.sqrt(0.5)),
        ([first, first + second, first + second + third], None),
        ([first + dark, second + dark], 0.49 / 1.49),
    ):
        found = find_shared_noise(np.stack(images), COUNTED)
        assert found > 0.3 and (correlation is None or found == pytest.approx(correlation, abs=0.03))


def test_few_pixels_tell_no_shared_noise():
    """Nor does what holds one value."""
    image = exposures(scene()).astype(np.float32)[0]
    assert find_shared_noise(np.stack([image, image]), COUNTED & (np.arange(192) < 8)[:, None, None]) == 0
    assert find_shared_noise(np.ones((2, 192, 192, 1), np.float32), COUNTED) == 0
