"""Scores by a second measurement: its estimates are those that the truth gives."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.registration.resampling import resample
from n2a_bids.lab.benchmark.unseen import Pair, Scorer, spatial_detail
from n2a_bids.lab.simulation.lesions import ball_mask

SHAPE = (64, 64, 64)


def make_pair(*, noise_sds=(4.0, 6.0), colour=0.0, seed=0, blur=0.0, shading=0.0):
    """A textured ball with edges, measured twice; the second with more noise, blur or shading if asked."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2)
    truth = 60 + 20 * np.sign(texture) + 10 * texture / texture.std()
    noise = [sd * ndimage.gaussian_filter(rng.standard_normal(SHAPE), colour) for sd in noise_sds]
    noise = [one * sd / one.std() for one, sd in zip(noise, noise_sds)]
    field = 1 + shading * np.linspace(-1, 1, SHAPE[0])[:, None, None]
    second = (ndimage.gaussian_filter(truth, blur) if blur else truth) * field + noise[1]
    images = [one.astype(np.float32)[..., None] for one in (truth + noise[0], second)]
    return truth[..., None], Pair(*images, ball_mask(SHAPE))


def true_gain_db(image, truth, pair):
    errors = [np.mean((one - truth)[pair.mask] ** 2) for one in (pair.first, image)]
    return 10 * np.log10(errors[0] / errors[1])


def smoothed(pair, sd):
    return ndimage.gaussian_filter(pair.first, (sd, sd, sd, 0))


@pytest.mark.parametrize("made", [{}, {"noise_sds": (6.0, 3.0)}, {"colour": 0.5}, {"shading": 0.03}], ids=str)
def test_estimated_gain_is_the_true_one(made):
    """Whichever is noisier, white or not, and with another shading: within its standard error, no bias."""
    misses, errors = [], []
    for seed in range(6):
        truth, pair = make_pair(seed=seed, **made)
        scorer = Scorer(pair, spatial_detail(pair))
        for sd in (0.4, 0.7):
            image = smoothed(pair, sd)
            score = scorer.score(scorer.differences(image))
            misses.append(score.gain_db - true_gain_db(image, truth, pair))
            errors.append(score.gain_error_db)
    assert abs(np.mean(misses)) < 0.12
    assert np.sqrt(np.mean(np.square(misses))) < 2 * np.sqrt(np.mean(np.square(errors)))
    assert max(errors) < 0.3


def test_bringing_the_second_run_to_the_first_changes_no_verdict():
    """Moved by half a voxel, and back by the app's interpolation: smoothing seems worth the same to 0.15 dB.

    The edges are as sharp as those of a scan (a blur of half a voxel), not sharper than k-space can hold.
    """
    sharp, pair = make_pair()
    rng = np.random.default_rng(7)
    truth = ndimage.gaussian_filter(sharp[..., 0], 0.5)
    moved = np.fft.ifftn(ndimage.fourier_shift(np.fft.fftn(truth), (0.5, 0.5, 0.5))).real
    first, second = ((one + 4 * rng.standard_normal(SHAPE)).astype(np.float32) for one in (truth, moved))
    back = np.eye(4)
    back[:3, 3] = 0.5
    pair = Pair(first[..., None], resample(second, back, SHAPE)[0][..., None], pair.mask)
    scorer = Scorer(pair, spatial_detail(pair))
    for sd in (0.4, 0.7):
        image = smoothed(pair, sd)
        expected = true_gain_db(image, truth[..., None], pair)
        assert scorer.score(scorer.differences(image)).gain_db == pytest.approx(expected, abs=0.15)


def test_noise_of_the_first_is_told_from_that_of_the_second():
    """Half of the squared difference would give both the same."""
    _, pair = make_pair(noise_sds=(4.0, 8.0))
    variance, error = Scorer(pair, spatial_detail(pair)).noise_variance
    assert variance == pytest.approx(16, abs=3 * error)
    assert error < 0.5
    assert Scorer(pair, spatial_detail(pair)).difference / 2 == pytest.approx(40, rel=0.03)


def test_what_was_left_alone_has_no_gain():
    _, pair = make_pair()
    scorer = Scorer(pair, spatial_detail(pair))
    score = scorer.score(scorer.differences(pair.first))
    assert (score.removed, score.gain_db, score.gain_equal_db) == (0, 0, 0)


def test_signal_that_was_taken_away_is_seen():
    """A smoothing that loses more than it gains is worse than nothing, and clearly so."""
    truth, pair = make_pair(noise_sds=(2.0, 6.0))
    scorer = Scorer(pair, spatial_detail(pair))
    image = smoothed(pair, 1.5)
    score = scorer.score(scorer.differences(image))
    assert score.removed < -10 * score.removed_error
    assert score.gain_db == pytest.approx(true_gain_db(image, truth, pair), abs=0.5)


def test_two_methods_are_compared_more_surely_than_each_with_the_first():
    """What the second measurement's noise adds is the same for both."""
    truth, pair = make_pair()
    scorer = Scorer(pair, spatial_detail(pair))
    images = [smoothed(pair, sd) for sd in (0.45, 0.5)]
    lead, error = scorer.lead(*map(scorer.differences, images))
    expected = [np.mean((image - truth)[pair.mask] ** 2) for image in images]
    assert lead == pytest.approx(expected[1] - expected[0], abs=3 * error)
    assert error < scorer.score(scorer.differences(images[0])).removed_error
