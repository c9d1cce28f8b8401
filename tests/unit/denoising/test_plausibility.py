"""What denoising takes away is noise: more of it is refused of `auto`, and said of others."""

from dataclasses import replace

import numpy as np
import pytest

from n2a_bids.algorithms.noise.noncentral_chi import chi_bias
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.denoising.plausibility import check_distance, distance_from_mean
from n2a_bids.errors import DenoisingError
from n2a_bids.strategy_table import find_strategy

SHAPE = (16, 16, 16)


def _case(signal, n_repetitions=2, sd=5.0):
    """Magnitudes of two volumes of an even object; their mean, the truth and the noise map."""
    rng = np.random.default_rng(0)
    truth = np.full((*SHAPE, 2), signal, np.float32)
    real, imaginary = sd * rng.standard_normal((2, n_repetitions, *truth.shape))
    data = np.hypot(truth + real, imaginary).astype(np.float32)
    repetitions = Repetitions(data, np.ones(SHAPE, bool))
    return repetitions, data.mean(axis=0), truth, np.full(truth.shape, sd, np.float32)


@pytest.mark.parametrize("n_repetitions", [1, 2, 6])
@pytest.mark.parametrize("signal", [0, 5, 20, 500])
def test_truth_is_as_far_as_noise_explains(signal, n_repetitions):
    """Also where magnitudes have a floor, which is taken out."""
    repetitions, mean, truth, noise_sd = _case(signal, n_repetitions)
    distance = distance_from_mean(repetitions, mean, truth, noise_sd)
    assert (distance < 1.15).all() and (distance > 0.6).all()
    assert check_distance(find_strategy("auto", "dwi"), repetitions, mean, truth, noise_sd) == []


@pytest.mark.parametrize("n_coils", [4, 16])
def test_the_floor_of_several_coils_is_explained(n_coils):
    """It lies several noise SDs above the signal, which is no error of the denoiser."""
    repetitions, _, truth, noise_sd = _case(5)
    mean = truth + chi_bias(truth, noise_sd, n_coils)
    assert (distance_from_mean(repetitions, mean, truth, noise_sd) > 1.5).all()
    auto = find_strategy("auto", "dwi")
    assert check_distance(auto, repetitions, mean, truth, noise_sd, n_coils) == []


def test_mean_has_no_distance():
    repetitions, mean, _, noise_sd = _case(100)
    assert (distance_from_mean(repetitions, mean, mean, noise_sd) == 0).all()


def test_wrong_volume_of_auto_is_refused_by_number():
    """A volume twice as bright is no denoised one; nothing would be written."""
    repetitions, mean, truth, noise_sd = _case(100)
    truth[..., 1] *= 2
    with pytest.raises(DenoisingError, match=r"in volume 1 .*--strategy mean"):
        check_distance(find_strategy("auto", "dwi"), repetitions, mean, truth, noise_sd)


def test_other_strategies_are_warned_of():
    """Who asks for a network trained from nothing gets what it learned, and is told."""
    repetitions, mean, truth, noise_sd = _case(100)
    (sentence,) = check_distance(find_strategy("noise2noise", "anat"), repetitions, mean, 2 * truth, noise_sd)
    assert "took signal away" in sentence


def test_unknown_noise_and_echoes_are_not_judged():
    """Echoes have no common mean to lie near to."""
    repetitions, mean, truth, noise_sd = _case(100)
    auto = find_strategy("auto", "anat")
    assert check_distance(auto, repetitions, mean, 2 * truth, None) == []
    echoes = replace(repetitions, same_contrast=False)
    assert check_distance(auto, echoes, mean, 2 * truth, noise_sd) == []


def test_voxels_that_fewer_runs_measured_have_their_noise():
    """One run alone stands in half of the volume: noise is that of one there."""
    repetitions, mean, truth, noise_sd = _case(100)
    n_measured = np.full(SHAPE, 2)
    n_measured[:8] = 1
    mean[:8] = repetitions.data[0, :8]
    gaps = replace(repetitions, n_measured=n_measured)
    assert distance_from_mean(gaps, mean, truth, noise_sd) == pytest.approx(1, abs=0.05)


def test_image_without_noise_is_not_judged():
    """Nothing explains any distance there."""
    repetitions, mean, truth, noise_sd = _case(100)
    assert (distance_from_mean(repetitions, mean, truth, 0 * noise_sd) == 0).all()
