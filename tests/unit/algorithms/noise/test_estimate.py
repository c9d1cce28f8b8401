"""Laws of noise estimation and intensity match."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.noise.air import find_air, find_magnitude
from n2a_bids.algorithms.noise.estimate import (
    brain_and_head_noise_sd,
    difference_noise_sd,
    local_sd,
    single_image_noise_sd,
)
from n2a_bids.algorithms.noise.rician import rician_bias, rician_mean
from n2a_bids.algorithms.normalization import MaskedSmoother, match_scales, z_scales
from n2a_bids.algorithms.preparation.repetitions import find_head, prepare
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.candidates import Candidate
from n2a_bids.algorithms.risk.held_out import hold_out
from n2a_bids.algorithms.risk.repetition_weights import weigh_repetitions


def _ball(size=40, radius=13):
    grid = np.stack(np.meshgrid(*[np.arange(size) - size / 2] * 3, indexing="ij"))
    return (grid**2).sum(axis=0) < radius**2


def _head(size=40):
    """Smooth anatomy in a ball, zero outside."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 3, size)] * 3, indexing="ij"))
    return (_ball(size) * (100 + 20 * np.sin(4 * grid).prod(axis=0))).astype(np.float32)


@pytest.mark.parametrize("n_repetitions", [2, 4])
def test_difference_noise_sd_finds_the_noise_whatever_the_anatomy(n_repetitions):
    """The SD of one repetition, within 3 %."""
    rng = np.random.default_rng(0)
    clean = _head()
    data = clean + 7 * rng.standard_normal((n_repetitions, *clean.shape)).astype(np.float32)
    estimate = difference_noise_sd(data, np.ones(clean.shape, bool))
    assert np.median(estimate) == pytest.approx(7, rel=0.03)


def test_unrest_of_the_scalp_is_no_noise_of_the_brain():
    """Around the brain repetitions differ three times as much: its outermost voxels do not know."""
    rng = np.random.default_rng(0)
    head, brain = _ball(64, 28), _ball(64, 22)
    sd = np.where(brain, 7, 21)
    data = _head(64) + (sd * rng.standard_normal((2, *sd.shape))).astype(np.float32)
    found = brain_and_head_noise_sd(data, brain, head)
    rim = brain & ~ndimage.binary_erosion(brain, iterations=3)
    assert np.median(found[rim]) == pytest.approx(7, rel=0.04)
    assert found[head & ~brain].min() > 7
    nothing = np.zeros_like(brain)
    np.testing.assert_allclose(
        brain_and_head_noise_sd(data, nothing, head), difference_noise_sd(data, head), rtol=1e-6
    )


def test_noise_map_follows_noise_that_varies_in_space():
    """Twice the noise on one side is seen there."""
    rng = np.random.default_rng(0)
    sd = np.linspace(2, 6, 48)[:, None, None] * np.ones((48, 48, 48))
    data = (sd * rng.standard_normal((2, 48, 48, 48))).astype(np.float32)
    estimate = difference_noise_sd(data, np.ones(sd.shape, bool))
    assert estimate[40].mean() / estimate[8].mean() == pytest.approx(sd[40].mean() / sd[8].mean(), rel=0.15)


def test_noise_map_sees_strong_noise_in_one_place_and_ignores_vessels():
    """Four times the noise in the middle, as of a coil's g-factor, and a few voxels far off everywhere."""
    rng = np.random.default_rng(0)
    grid = np.indices((64, 64, 64)) - 32
    sd = 1 + 3 * np.exp(-(grid**2).sum(axis=0) / (2 * 14**2))
    values = (sd * rng.standard_normal(sd.shape)).astype(np.float32)
    expected = np.sqrt(ndimage.gaussian_filter(sd**2, 8))
    values[rng.random(sd.shape) < 0.001] = 100
    found = local_sd(values, np.ones(sd.shape, bool))
    np.testing.assert_allclose(found[32, 32, 8:56:8], expected[32, 32, 8:56:8], rtol=0.08)


def test_single_image_noise_is_not_fooled_by_smooth_anatomy():
    """Donoho's rule on an image with anatomy gives the noise within 5 %."""
    clean = _head()
    noisy = clean + 5 * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    assert single_image_noise_sd(noisy, _ball(radius=11)) == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_single_slices_have_noise_too(axis):
    """A slice has no neighbours across it; those in its plane tell the noise."""
    image = np.random.default_rng(4).normal(100, 5, (60, 60)).astype(np.float32)
    mask = np.zeros((60, 60), bool)
    mask[5:-5, 5:-5] = True
    found = single_image_noise_sd(np.expand_dims(image, axis), np.expand_dims(mask, axis))
    assert found == pytest.approx(5, rel=0.05)


def test_noise_is_a_number_where_nothing_can_be_compared():
    """A mask without voxels, or on the first plane alone, is no reason for NaN, which passes thresholds."""
    image, mask = np.ones((8, 8, 8), np.float32), np.zeros((8, 8, 8), bool)
    assert single_image_noise_sd(image, mask) == 0
    mask[0] = True
    assert single_image_noise_sd(image, mask) == 0


def _weighed(sds, denoise):
    rng = np.random.default_rng(0)
    # The edge of the ball, which a blur loses, lies outside of the mask.
    clean, mask = _head(64)[8:56, 8:56, 8:56], _ball(48, radius=9)
    noise = np.array(sds, np.float32)[:, None, None, None] * rng.standard_normal((len(sds), *clean.shape))
    prepared = prepare(Repetitions((clean + noise)[..., None].astype(np.float32), mask))
    context = Context(generator=torch.Generator().manual_seed(0))
    held_out = hold_out(mask, context.generator, fraction=0.5)
    candidate = Candidate("x", function=denoise, keep_local_means=False)
    return prepared, weigh_repetitions(candidate, prepared, held_out, context)


@pytest.mark.parametrize("sds", [(2, 4), (6, 2), (4, 2, 2), (2, 3, 4, 5)])
def test_noisier_repetitions_get_less_weight(sds):
    """Inverse variance, although the denoised image keeps a tenth of the average's noise."""
    _, weighed = _weighed(
        sds, lambda image, noise_sd: 0.9 * ndimage.gaussian_filter(image, 1.5) + 0.1 * image
    )
    expected = 1 / np.square(sds)
    np.testing.assert_allclose(weighed.weighting.weights, expected / expected.sum(), atol=0.03)
    assert weighed.weighting.variance_ratio.mean() == pytest.approx(1)


def test_equal_noise_keeps_the_plain_mean():
    """Weights stay exactly equal within measurement error."""
    prepared, weighed = _weighed((3, 3, 3), lambda image, noise_sd: ndimage.gaussian_filter(image, 2))
    assert not weighed.weighting.is_weighted
    np.testing.assert_array_equal(weighed.average, prepared.average)
    np.testing.assert_allclose(weighed.weighting.variance_ratio, 1, rtol=0.05)
    assert (weighed.weighting.weights == 1 / 3).all()


def test_match_scales_undoes_gain_and_offset_in_spite_of_unequal_noise():
    """Scaled repetitions agree within 2 % of the tissue SD."""
    rng = np.random.default_rng(0)
    clean, mask = _head(), _ball()
    data = np.stack(
        [
            clean + 2 * rng.standard_normal(clean.shape),
            50 + 3 * (clean + 8 * rng.standard_normal(clean.shape)),
        ]
    ).astype(np.float32)
    first, second = match_scales(data, mask, smoothing_voxels=3)
    assert second.gain / first.gain == pytest.approx(3, rel=0.1)
    plain_first, plain_second = z_scales(data, mask)
    assert plain_second.gain / plain_first.gain > 3.2, "plain z-scores take noise for contrast"


def test_constant_repetition_is_refused():
    """No scale can be found for a constant image."""
    data = np.ones((2, 8, 8, 8), np.float32)
    with pytest.raises(ValueError, match="repetition 1 is constant"):
        match_scales(data, np.ones((8, 8, 8), bool))


def test_rician_mean_matches_simulation():
    """The formula agrees with 200,000 draws at low and high signal."""
    rng = np.random.default_rng(0)
    for signal in (0.0, 0.7, 2.0, 5.0):
        draws = np.hypot(signal + rng.standard_normal(200_000), rng.standard_normal(200_000))
        assert rician_mean(np.array([signal]), 1.0)[0] == pytest.approx(draws.mean(), abs=0.01)
    assert rician_bias(np.float32([50.0]), np.float32([1.0]))[0] == pytest.approx(0.01, abs=0.002)


def test_rician_mean_holds_at_any_signal():
    """No jump where the formula changes, and no failure of the Bessel functions far beyond."""
    below, above = rician_mean(np.array([999.99, 1000.01]), 1.0) - np.array([999.99, 1000.01])
    assert below == pytest.approx(above, rel=1e-3)
    np.testing.assert_allclose(rician_bias(np.array([1e6, 1e9, 1e30]), 0.02), 0, atol=1e-9)


def _noisy_heads(rng, offset=0.0):
    clean = _head()
    images = [np.hypot(clean + 5 * rng.standard_normal(clean.shape), 5 * rng.standard_normal(clean.shape))]
    images.append(
        np.hypot(clean + 5 * rng.standard_normal(clean.shape), 5 * rng.standard_normal(clean.shape))
    )
    return (np.stack(images) + offset).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_zero_level_of_a_magnitude_image_moves_with_an_offset(offset):
    """Rayleigh air shows where zero is and how strong the noise is."""
    images = _noisy_heads(np.random.default_rng(0), offset)
    air = find_air(images, _ball(radius=8), 5.0)
    assert not (air & _ball(radius=10)).any()
    for image in images:
        found = find_magnitude(image, air)
        assert found.air_noise_sd == pytest.approx(5, rel=0.08)
        assert found.zero_level == pytest.approx(offset, abs=0.6)
        assert found.asymmetry > 1.18


def test_air_leaves_out_what_the_scanner_filled():
    """A constant border around noisy air is no air, and hides none."""
    images = _noisy_heads(np.random.default_rng(0))
    images[:, :4] = 0
    air = find_air(images, _ball(radius=8), 5.0)
    assert air[5:].any() and not air[:3].any()
    assert find_magnitude(images[0], air).zero_level == pytest.approx(0, abs=0.6)


def test_gaussian_air_is_no_magnitude():
    """Symmetric noise around zero has no floor to correct."""
    rng = np.random.default_rng(3)
    images = np.stack([_head() + 5 * rng.standard_normal(_head().shape) for _ in range(2)]).astype(np.float32)
    air = find_air(images, _ball(radius=8), 5.0)
    assert air.any()
    assert find_magnitude(images[0], air).asymmetry == pytest.approx(1, abs=0.05)


def test_no_magnitude_without_air():
    """A brain that fills the image, or masked air, gives no zero level."""
    everything = np.ones((20, 20, 20), bool)
    assert not find_air(np.ones((2, 20, 20, 20), np.float32), everything, 1.0).any()
    assert not find_air(np.stack([_head(), _head()]), _ball(), 1.0).any()
    assert find_magnitude(_head(), np.zeros_like(everything)) is None


def test_head_contains_mask_and_leaves_air_out():
    """The head mask joins the brain and what is bright around it."""
    clean = _head()
    head = find_head(clean, _ball(radius=8))
    assert head[_ball(radius=12)].all()
    assert not head[0].any()


def test_nan_is_refused():
    """Not-a-number never goes into training."""
    data = np.random.default_rng(0).random((2, 8, 8, 8, 1), dtype=np.float32)
    data[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        prepare(Repetitions(data, np.ones((8, 8, 8), bool)))


@pytest.mark.parametrize("sd_voxels", [1e-3, 1.5, 4.0])
def test_smoothing_in_a_mask_is_a_weighted_mean_of_its_voxels(sd_voxels):
    """The box around the mask, in which it is computed, never shows; nothing outside counts."""
    rng = np.random.default_rng(0)
    mask = np.zeros((30, 40, 25), bool)
    mask[2:9, 20:32, 10:20] = rng.random((7, 12, 10)) < 0.7
    image = rng.standard_normal(mask.shape)
    weight, total = (
        ndimage.gaussian_filter(values, sd_voxels, truncate=3)
        for values in (mask.astype(float), image * mask)
    )
    expected = np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), 0)
    smooth = MaskedSmoother(mask, sd_voxels)
    np.testing.assert_allclose(smooth(image), expected, atol=1e-12)
    np.testing.assert_array_equal(smooth(np.where(mask, image, 1e6)), smooth(image))
    assert not MaskedSmoother(np.zeros_like(mask), sd_voxels)(image).any()
