"""What is measured on a denoised image: laws of each metric."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.denoising.measures import measure, micrograph_noise_map, noise_sd_map

SHAPE, VOXEL_MM = (48, 48, 48), (2.0, 2.0, 2.0)
MASK = np.zeros(SHAPE, bool)
MASK[4:-4, 4:-4, 4:-4] = True
ANATOMY = 1000 + 200 * ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 3) / 0.02
_FWHM_OF_SD = 2 * np.sqrt(2 * np.log(2))


def noisy_pair(sd_voxels: float, anatomy=ANATOMY) -> Repetitions:
    """Two repetitions with noise of this smoothness."""
    rng = np.random.default_rng(1)
    noise = [ndimage.gaussian_filter(rng.standard_normal(SHAPE), sd_voxels) for _ in range(2)]
    images = [anatomy + 20 * one / one.std() for one in noise]
    return Repetitions(np.stack(images)[..., None].astype(np.float32), MASK, VOXEL_MM)


def measured(pair: Repetitions, denoised) -> dict[str, float]:
    """Metrics of a denoised image of the pair; it defaults to the mean."""
    return measure(pair, pair.data.mean(axis=0), DenoisedImage(denoised.astype(np.float32)[..., None]), None)


@pytest.mark.parametrize("sd_voxels", [0.8, 1.2])
def test_smoothness_is_that_of_the_noise_whatever_the_anatomy(sd_voxels):
    """Both the difference of repetitions and what was removed hold noise alone here."""
    found = measured(noisy_pair(sd_voxels), ANATOMY)
    expected = pytest.approx(_FWHM_OF_SD * sd_voxels * 2.0, rel=0.1)
    assert found["fwhm_mm_difference"] == expected
    assert found["fwhm_mm_residual"] == expected


@pytest.mark.parametrize("dose", [1.0, 4.0, 0.25])
def test_counting_noise_of_unequal_exposures_is_in_the_unit_of_the_first(dose):
    """Their difference is no noise: root mean square of 10 and of what the other has in that unit."""
    rng = np.random.default_rng(0)
    field = 100 * np.exp(0.3 * ndimage.gaussian_filter(rng.standard_normal((160, 160)), 4) * 14)
    exposures = np.stack([rng.poisson(field), rng.poisson(dose * field)])[..., None, None]
    data = exposures.astype(np.float32)
    found = micrograph_noise_map(Repetitions(data, np.ones(data.shape[1:4], bool), micrograph=True))
    expected = np.sqrt(field * (1 + 1 / dose) / 2)
    assert np.median(found[..., 0, 0] / expected) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_air_does_not_make_the_noise_of_a_small_head_seem_less(n_channels):
    """Magnitudes: noise of SD 20 in the head is 13.1 in the air, and neither spreads into the other."""
    rng, places = np.random.default_rng(2), np.stack(np.indices(SHAPE), -1) - 23.5
    brain = (places**2).sum(-1) < 15**2
    signal = np.where(brain, ANATOMY, 0)[..., None]
    real, imaginary = 20 * rng.standard_normal((2, 2, *SHAPE, n_channels))
    magnitudes = np.hypot(signal + real, imaginary).astype(np.float32)
    found = noise_sd_map(Repetitions(magnitudes, brain, VOXEL_MM))
    assert np.median(found[brain]) == pytest.approx(20, rel=0.03)
    corner = (np.abs(places) > 18).all(axis=-1)
    assert np.median(found[corner]) == pytest.approx(20 * 0.655, rel=0.05)


def test_noisy_air_between_brain_and_skull_is_no_part_of_the_head():
    """UNIT1: air far noisier than tissue, and as bright, which the outline of the head encloses."""
    rng, places = np.random.default_rng(2), np.stack(np.indices(SHAPE), -1) - 23.5
    radius = np.sqrt((places**2).sum(-1))
    brain, skull = radius < 15, (radius >= 17) & (radius < 19)
    tissue = np.where(brain, 2400 + 10 * ANATOMY, 1500) + 60 * rng.standard_normal((2, *SHAPE))
    ratios = np.where(brain | skull, tissue, rng.uniform(0, 4095, (2, *SHAPE))).astype(np.float32)
    found = noise_sd_map(Repetitions(ratios[..., None], brain, VOXEL_MM))[..., 0]
    assert np.median(found[brain & (radius > 12)]) == pytest.approx(60, rel=0.05)


def test_a_drift_that_was_taken_away_makes_the_residual_smooth():
    """Much smoother than the noise: something else went with it."""
    drift = 100 * np.linspace(-1, 1, SHAPE[0])[:, None, None]
    found = measured(noisy_pair(0.8), ANATOMY + drift)
    assert found["fwhm_mm_residual"] > 3 * found["fwhm_mm_difference"]


def test_nothing_removed_has_no_smoothness():
    """Neither zero nor what rounding leaves of it; the difference still has its own."""
    pair = noisy_pair(0.8)
    mean = pair.data.mean(axis=0)[..., 0]
    for denoised in (mean, mean * np.float32(1 + 1e-7)):
        found = measured(pair, denoised)
        assert "fwhm_mm_residual" not in found
        assert found["fwhm_mm_difference"] > 0


def test_a_channel_without_residual_does_not_count():
    """Metrics are averages over the channels that have them."""
    pair = noisy_pair(0.8)
    two = Repetitions(np.concatenate([pair.data] * 2, axis=-1), MASK, VOXEL_MM)
    mean = two.data.mean(axis=0)
    denoised = np.stack([mean[..., 0], ANATOMY.astype(np.float32)], axis=-1)
    found = measure(two, mean, DenoisedImage(denoised), None)
    assert found["fwhm_mm_residual"] == measured(pair, ANATOMY)["fwhm_mm_residual"]


def test_repetitions_of_other_contrast_have_no_difference():
    """Their difference is anatomy."""
    pair = noisy_pair(0.8)
    echoes = Repetitions(pair.data, MASK, VOXEL_MM, same_contrast=False)
    assert "fwhm_mm_difference" not in measured(echoes, ANATOMY)
