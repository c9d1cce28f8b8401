"""The noise floor follows the receiver's noise, not what fluctuates with the signal."""

from __future__ import annotations

import numpy as np
import pytest

from n2a_bids.algorithms.noise.rician import noise_sd_of_moments, rician_mean, rician_variance
from n2a_bids.algorithms.noise.volume_noise import dark_noise_ratio

_SHAPE, _N_WEIGHTED = (24, 24, 20), 20
_SHELLS = np.r_[0.0, np.full(_N_WEIGHTED, 2000.0)]


def _head(random: np.random.Generator, dark: float) -> np.ndarray:
    """Signal of a brain, in SDs of the receiver noise, with ventricles of `dark` in weighted volumes."""
    signal = random.uniform(15, 30, (*_SHAPE, 1)) * np.r_[4, np.ones(_N_WEIGHTED)]
    signal[9:14, 9:14, 8:12, 1:] = dark
    return signal


def _magnitudes(random: np.random.Generator, signal: np.ndarray, fluctuation: float = 0.0) -> np.ndarray:
    shaken = signal * (1 + fluctuation * random.normal(size=signal.shape))
    return np.hypot(*(random.normal(size=(2, *signal.shape)) + np.stack((shaken, 0 * shaken)))).astype("f4")


def _ratio(series: np.ndarray, told: float, shells: np.ndarray = _SHELLS, kept: float = 1.0) -> float:
    noise_sd = np.full(series.shape[1:], told, np.float32)
    return dark_noise_ratio(series, np.ones(_SHAPE, bool), noise_sd, shells, kept)


@pytest.mark.parametrize("dark", [0.0, 0.5, 2.0, 20.0])
def test_even_noise_is_left_as_it_was_told(dark):
    random = np.random.default_rng(1)
    assert _ratio(_magnitudes(random, _head(random, dark))[None], 1.0) == 1.0


@pytest.mark.parametrize("n_repetitions", [1, 2])
@pytest.mark.parametrize("dark", [0.0, 1.0])
def test_fluctuation_that_grows_with_signal_sets_no_floor(n_repetitions, dark):
    random = np.random.default_rng(2)
    signal = _head(random, dark)
    series = np.stack([_magnitudes(random, signal, 0.05) for _ in range(n_repetitions)])
    # Where the signal is high, noise of 1 and fluctuation of 1.1 are seen together.
    assert _ratio(series, 1.5) == pytest.approx(1 / 1.5, abs=0.05)


def test_interpolation_does_not_pass_for_quiet_voxels():
    random = np.random.default_rng(3)
    signal = _head(random, 1.0)
    mean = rician_mean(signal, 1.0)
    smoothed = mean + 0.7 * (_magnitudes(random, signal) - mean)
    assert _ratio(smoothed[None], 1.0, kept=0.7) == 1.0


def test_filled_voxels_and_few_volumes_tell_nothing():
    random = np.random.default_rng(4)
    series = _magnitudes(random, _head(random, 0.0), 0.05)
    series[:4] = 0
    assert _ratio(series[None], 1.5) == pytest.approx(1 / 1.5, abs=0.05)
    assert _ratio(series[None, ..., :7], 1.5, _SHELLS[:7]) == 1.0


@pytest.mark.parametrize("snr", [0.0, 1.0, 3.0, 30.0])
def test_noise_from_moments(snr):
    signal = np.array(snr * 2.0)
    moments = float(rician_mean(signal, 2.0)), float(rician_variance(signal, 2.0))
    assert noise_sd_of_moments(*moments) == pytest.approx(2.0, rel=0.01)


def test_a_mean_bounds_the_noise():
    assert noise_sd_of_moments(1.2533, 4.0) == pytest.approx(1.0, rel=0.001)
