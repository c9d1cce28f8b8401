"""Laws of chance: unrelated images stay below what is asked of a pair, images of one field lie above."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.chance_correlation import chance_correlation

STILL = np.zeros(2)


def texture(seed, sd=3.0, size=128):
    """Structure of one scale."""
    return ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), sd, mode="wrap")


def smooth_correlation(first, second):
    return np.corrcoef(*(ndimage.gaussian_filter(one, 2).ravel() for one in (first, second)))[0, 1]


def most_alike(first, second, reach):
    """The largest correlation of smoothed images within a shift of so many pixels, and that shift."""
    smooth = [ndimage.gaussian_filter(one, 2, mode="wrap") for one in (first, second)]
    spectra = [np.fft.fft2((one - one.mean()) / one.std()) for one in smooth]
    surface = np.fft.ifft2(spectra[1] * spectra[0].conj()).real / first.size
    near = np.roll(surface, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    return near.max(), np.argwhere(near == near.max())[0] - float(reach)


@pytest.mark.parametrize("reach", [4, 20])
def test_unrelated_images_are_less_alike_wherever_they_are_laid(reach):
    """Of forty pairs one at the most, each where it fits best."""
    below = []
    for seed in range(40):
        pair = texture(seed), texture(seed + 100)
        correlation, shift = most_alike(*pair, reach)
        below.append(correlation < chance_correlation(*pair, shift))
    assert sum(below) >= 39


def test_images_of_one_field_are_more_alike():
    """Through noise of more than twice the SD of what they show."""
    noise = np.random.default_rng(1).standard_normal((2, 128, 128))
    first, second = texture(0) + 0.2 * noise
    assert smooth_correlation(first, second) > chance_correlation(first, second, STILL)


def test_the_spread_is_that_of_the_images():
    """As they lie, 1.5 standard deviations of the correlation of unrelated images of that texture."""
    found = [smooth_correlation(texture(seed), texture(seed + 500)) for seed in range(100)]
    told = np.mean([chance_correlation(texture(seed), texture(seed + 500), STILL) for seed in range(20)])
    assert told == pytest.approx(1.5 * np.std(found), rel=0.3)


def test_a_longer_way_a_turn_and_coarse_structure_ask_for_more():
    """More places were looked at, or fewer patches are independent."""
    first, second = texture(0), texture(1)
    asked = [chance_correlation(first, second, np.array([shift, 0.0])) for shift in (0, 8, 32)]
    assert asked == sorted(asked) and asked[0] < asked[-1]
    assert chance_correlation(first, second, STILL, turned=True) > asked[0]
    assert chance_correlation(texture(0, 6), texture(1, 6), STILL) > asked[0]


def test_no_more_is_asked_than_images_of_one_blob_can_show():
    """0.6 as they lie, 0.75 where one was turned, up to 0.95 where they hardly overlap."""
    blob = np.exp(-(np.hypot(*(np.indices((64, 64)) - 32)) ** 2) / 1000)
    assert 0.5 < chance_correlation(blob, blob, STILL) <= 0.6
    assert chance_correlation(blob, blob, STILL, turned=True) == pytest.approx(0.75)
    assert 0.9 < chance_correlation(blob, blob, np.array([60.0, 60.0]), turned=True) <= 0.95
