"""Planes are denoised tile by tile as in one piece."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.averaging import RepetitionWeights, equal_weights
from n2a_bids.algorithms.micrographs import planes
from n2a_bids.algorithms.micrographs.counting_noise import CountingNoise
from n2a_bids.algorithms.micrographs.planes import TileEstimate, denoise_planes
from n2a_bids.algorithms.micrographs.stabilised import StableScale

SCALE = StableScale(CountingNoise(1.0, 0.0), 9.0, 2.0)


def exposures(shape=(300, 200, 1), n_exposures=2):
    return np.random.default_rng(0).poisson(20, (n_exposures, *shape)).astype(np.float32)


def test_tiles_of_large_planes_do_not_show(monkeypatch):
    """Small and large tiles give one image."""
    data = exposures()
    method = TileEstimate(lambda tile, noise_factor=1.0: ndimage.gaussian_filter(tile, 2, truncate=4), 8)
    whole = denoise_planes(data, SCALE, method, equal_weights(len(data)))
    for name in ("_LARGEST_EDGE", "_SMALLEST_EDGE"):
        monkeypatch.setattr(planes, name, 64)
    np.testing.assert_allclose(
        denoise_planes(data, SCALE, method, equal_weights(len(data))), whole, rtol=1e-5
    )
    np.testing.assert_allclose(
        denoise_planes(data, SCALE, method, equal_weights(len(data)), each=True), whole, rtol=0.02
    )


def test_an_estimate_that_changes_nothing_gives_the_average_back():
    """But for a quarter of a count over their number, which the inverse adds to an expectation."""
    data = exposures((64, 48, 2), 3)
    weighting = RepetitionWeights.of_variances(np.array([1.0, 2.0, 3.0]))
    same = TileEstimate(lambda tile, noise_factor=1.0: tile, 0)
    found = denoise_planes(data, SCALE, same, weighting)
    np.testing.assert_allclose(found, weighting.average(data) + 0.25 / weighting.n_effective, atol=0.01)
    each = denoise_planes(data, SCALE, same, weighting, each=True)
    assert each.mean() == pytest.approx(weighting.average(data).mean(), abs=0.2)


def test_an_estimate_is_told_where_fewer_exposures_were_measured():
    """Noise of one exposure in place of two has the square root of two times the SD."""
    data, told = exposures((64, 64, 1)), []
    n_measured = np.full((64, 64, 1), 2, np.float32)
    n_measured[:8] = 1

    def estimate(tile, noise_factor=1.0):
        told.append(noise_factor)
        return tile

    denoise_planes(data, SCALE, TileEstimate(estimate, 0), equal_weights(2), n_measured=n_measured)
    np.testing.assert_allclose(told[0], np.where(np.arange(64)[:, None] < 8, np.sqrt(2), 1) * np.ones(64))
