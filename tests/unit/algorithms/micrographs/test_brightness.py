"""A streak of charging is found in the exposure that has it; uneven illumination and noise are none."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.brightness import find_brighter_places

SHAPE = (128, 128, 1)


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """What a dose of 12 counts is expected to show."""
    texture = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(SHAPE[:2]), 4)
    return 12 * (1 + 0.25 * texture / texture.std()).clip(0.2)[..., None]


@pytest.mark.parametrize("n_exposures", [2, 3])
@pytest.mark.parametrize("black_level", [0, 1000])
def test_a_bright_streak_of_one_exposure_is_found(expected, n_exposures, black_level):
    """Whatever the black level; its part of the image is told."""
    rng = np.random.default_rng(0)
    streak = 60 * np.exp(-(((np.arange(128) - 70) / 6.0) ** 2))[:, None, None]
    means = [expected + (streak if index == 1 else 0) for index in range(n_exposures)]
    data = black_level + np.stack([rng.poisson(one) for one in means]).astype(np.float32)
    found = find_brighter_places(data, np.ones(SHAPE, bool))
    assert [one is not None for one in found] == [index == 1 for index in range(n_exposures)]
    assert 0.05 < found[1].part < 0.35


@pytest.mark.parametrize("counts", [1.0, 0.01])
def test_uneven_illumination_and_noise_are_none(expected, counts):
    """Nor is a dose of few counts."""
    rng = np.random.default_rng(0)
    illumination = np.linspace(0.6, 1.4, 128)[:, None, None]
    data = np.stack([rng.poisson(counts * expected * light) for light in (1, illumination)]).astype(
        np.float32
    )
    assert find_brighter_places(data, np.ones(SHAPE, bool)) == [None, None]


def test_nothing_counted_tells_nothing(expected):
    """No pixel that all have measured."""
    data = np.stack([expected, expected]).astype(np.float32)
    assert find_brighter_places(data, np.zeros(SHAPE, bool)) == [None, None]
