"""Laws of the weights of exposures: they follow the noise, and nothing else in which exposures differ."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.weighting import weigh_exposures

SIZE = 192
RNG = np.random.default_rng(0)


def texture(smoothing):
    image = ndimage.gaussian_filter(RNG.standard_normal((SIZE, SIZE)), smoothing)
    return image / image.std()


def weights_of(*images):
    counted = np.ones((1, SIZE, SIZE), bool)
    return weigh_exposures(np.stack(images)[:, None].astype(np.float32), counted).weights


@pytest.mark.parametrize("n_exposures", [2, 3])
@pytest.mark.parametrize("change", ["focus", "contrast", "none"])
def test_a_sharper_exposure_of_equal_noise_weighs_no_less(change, n_exposures):
    """Focus drifts and contrast fades: fine structure that differs is not taken for noise."""
    signal = 8 * texture(1.5)
    last = {"focus": ndimage.gaussian_filter(signal, 0.5), "contrast": 0.95 * signal, "none": signal}[change]
    signals = [signal] * (n_exposures - 1) + [last]
    weights = weights_of(*(one + RNG.standard_normal(signal.shape) for one in signals))
    np.testing.assert_allclose(weights, 1 / n_exposures, rtol=0.15)


def test_noise_that_is_alike_in_neighbours_does_not_tell_weights_by_chance():
    """Of it little is left without the neighbours, and what strong texture adds is large beside that."""
    for _ in range(6):
        signal = 20 * texture(1.2)
        np.testing.assert_array_equal(weights_of(signal + texture(2), signal + texture(2)), 0.5)


@pytest.mark.parametrize("noise_sds", [(1, 0.5), (1, 1, 0.5), (1, 0.2)])
def test_weights_are_inverse_to_noise_under_strong_texture(noise_sds):
    signal = 10 * texture(1.5)
    weights = weights_of(*(signal + sd * RNG.standard_normal(signal.shape) for sd in noise_sds))
    expected = 1 / np.square(noise_sds)
    np.testing.assert_allclose(weights, expected / expected.sum(), atol=0.05)
