"""One image alone: closer to the truth, and never beyond what the level of its noise allows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.averaging import equal_weights
from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.preparation.repetitions import Prepared
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.single_image import no_more_than_noise
from n2a_bids.algorithms.strategies.anat.auto import AutoConfig, config, denoise
from n2a_bids.algorithms.strategies.anat.single import SingleConfig
from n2a_bids.algorithms.strategies.anat.single import denoise as denoise_single
from n2a_bids.io.weights import load_all_weights
from n2a_bids.lab.benchmark.anat.alignment import align_runs
from n2a_bids.lab.benchmark.anat.calibration import measure_calibration
from n2a_bids.lab.benchmark.anat.cells import Cell, make_cell_data
from n2a_bids.lab.benchmark.truths import crop_truth, load_truth, template_truth

NOISE_SD = 12.0


@pytest.fixture(scope="module")
def brain() -> tuple[np.ndarray, np.ndarray]:
    """A box of the ICBM152 brain, white matter 100, and its mask."""
    truth = crop_truth(template_truth(), (32, 32, 32))
    return truth.data * np.float32(100 / np.percentile(truth.data[truth.mask], 80)), truth.mask


@pytest.fixture(scope="module")
def scan(brain) -> np.ndarray:
    """The same with noise, and a corner that was removed."""
    rng = np.random.default_rng(3)
    real, imaginary = rng.normal(0, NOISE_SD, (2, *brain[0].shape))
    image = np.hypot(brain[0] + real, imaginary)
    image[:6, :6, :6] = 0
    return image.astype(np.float32)


@pytest.fixture(scope="module")
def weights() -> AutoConfig:
    return config("fast", *load_all_weights(("resunet-t1w", "fusion-t1w"), None))


def context() -> Context:
    return Context(generator=torch.Generator().manual_seed(0), memory_gb=1.0)


@pytest.fixture(scope="module")
def denoised(scan, brain, weights):
    return denoise(Repetitions(scan[None, ..., None], brain[1]), weights, context())


@pytest.mark.slow
def test_error_falls(denoised, scan, brain):
    """Less than a half of the squared error is left, and the record says so."""
    image, mask = brain
    mask = mask & (scan > 0)
    before, after = (np.mean((one - image)[mask] ** 2) for one in (scan, denoised.data[..., 0]))
    assert after < 0.5 * before
    assert denoised.gain.denoising > 2
    assert not denoised.record.chosen.mean_won


@pytest.mark.slow
def test_filtered_noise_is_denoised_as_strong_as_it_is(brain, weights):
    """Hamming's window in plane: taken for white, it was a third as strong, and a tenth of it went."""
    truth, mask = brain
    window = 0.54 + 0.46 * np.cos(2 * np.pi * np.fft.fftfreq(32))
    kept = window[:, None, None] * window[:, None]
    clean, noise = (
        np.fft.ifftn(np.fft.fftn(one) * kept).real
        for one in (truth, np.random.default_rng(4).normal(0, 2.5 * NOISE_SD, truth.shape))
    )
    noisy = (clean + noise).astype(np.float32)
    found = denoise(Repetitions(noisy[None, ..., None], mask, real_valued=True), weights, context())
    before, after = (np.mean((one - clean)[mask] ** 2) for one in (noisy, found.data[..., 0]))
    assert after < 0.5 * before


def test_what_was_removed_has_no_error(denoised):
    """A defaced corner, of which nothing can be said."""
    assert not denoised.uncertainty[1:5, 1:5, 1:5].any()


@pytest.mark.proof
@pytest.mark.parametrize("noise_level", [0.2, 0.4])
def test_expected_error_is_true(noise_level, weights, real_data):
    """On a real brain: every tenth of the voxels to 20 %, and nine of ten in their interval."""
    truth = load_truth(real_data / "pretrain" / "brain-42_T1w.nii.gz")
    cell = Cell(truth.name, "aligned", noise_level, n_repetitions=1, seed=0)
    data = make_cell_data(cell, truth, (56, 56, 56), align_runs)
    found = denoise(data.repetitions, weights, context())
    error = found.data[..., 0] - data.gains[0] * data.truth
    mask = data.repetitions.mask
    calibration = measure_calibration(error[mask], found.uncertainty[..., 0][mask])
    assert (np.abs(calibration.deciles - 1) < 0.2).all(), calibration.deciles
    assert 0.85 < calibration.coverage < 0.95


def test_the_error_of_a_mixture_with_the_image_is_known():
    """Of an estimate of least squared error, from which the image is taken to be farther than its noise."""
    rng = np.random.default_rng(5)
    shape, noise_sd = (30, 30, 30), 0.5
    clean, noise = rng.normal(0, 0.5, shape), rng.normal(0, noise_sd, shape)
    image = (clean + noise).astype(np.float32)
    told = np.full(shape, noise_sd / 2, np.float32)
    mask = np.ones(shape, bool)
    prepared = Prepared(
        images=image[None],
        scales=(),
        mask=mask,
        head=mask,
        weighting=equal_weights(1),
        repetition_noise_sd=told,
        magnitude=None,
    )
    error_sd = np.full(shape, np.sqrt(0.5) * noise_sd, np.float32)
    mixed, unchanged = no_more_than_noise(image / 2, error_sd, prepared, 0.0, 1.0)
    np.testing.assert_array_equal(mixed, image / 2)
    assert unchanged is error_sd
    mixed, expected = no_more_than_noise(
        image / 2, error_sd, replace(prepared, repetition_noise_sd=told / 2), 0.0, 0.0
    )
    assert np.abs(mixed - image / 2).max() > 0.1
    true = np.sqrt(np.mean((mixed - clean) ** 2))
    left = 1 - float(np.median((image - mixed) / (image / 2)))
    stated = np.sqrt((1 - left**2) * 0.5 + left**2) * noise_sd
    assert true == pytest.approx(stated, rel=0.02)
    assert expected.mean() == pytest.approx(
        np.sqrt((1 - left**2) * 0.5 * noise_sd**2 + left**2 * (noise_sd / 4) ** 2), rel=1e-3
    )


def test_what_was_removed_stays_removed(denoised):
    """A defaced corner is no noise."""
    assert not denoised.data[1:5, 1:5, 1:5].any()


def test_the_record_says_that_nothing_was_repeated(denoised):
    """With the level and how well it is known."""
    assert "nothing was repeated" in denoised.record.warnings[0]
    assert denoised.record.repetitions[0].noise_sd == pytest.approx(NOISE_SD, rel=0.1)
    assert denoised.record.noise_level_uncertainty < 0.2


@pytest.mark.proof
def test_the_same_seed_gives_the_same_bits(denoised, scan, brain, weights):
    """Simulated noise comes from the generator of the context."""
    again = denoise(Repetitions(scan[None, ..., None], brain[1]), weights, context())
    np.testing.assert_array_equal(denoised.data, again.data)


@pytest.mark.slow
def test_no_more_is_taken_than_the_level_allows(scan, brain, weights):
    """Told a fifth of the noise, it takes away no more than that."""
    told = SingleConfig(weights.weights, weights.fusion, n_flips=1, noise_sd=NOISE_SD / 5)
    taken = scan - denoise_single(Repetitions(scan[None, ..., None], brain[1]), told, context()).data[..., 0]
    assert np.sqrt(np.mean(taken[brain[1]] ** 2)) < 1.2 * NOISE_SD / 5


@pytest.mark.slow
def test_images_of_little_noise_are_left_alone(brain, weights):
    """A template is an average: what is left of its detail is anatomy, and hardly changes."""
    image, mask = brain
    done = denoise(Repetitions(image[None, ..., None], mask), weights, context()).data[..., 0]
    assert np.sqrt(np.mean((done - image)[mask] ** 2)) < 1.5


@pytest.mark.slow
def test_a_clean_image_of_coarse_voxels_is_not_blurred(weights):
    """Its fine detail is anatomy: the whole brain at 3 mm, at an SNR of 140."""
    truth = template_truth()
    image, mask = (
        one[:195, :231, :189].reshape(65, 3, 77, 3, 63, 3).mean(axis=(1, 3, 5))
        for one in (truth.data * (100 / np.percentile(truth.data[truth.mask], 80)), truth.mask)
    )
    noise = np.random.default_rng(0).normal(0, 0.7, image.shape)
    scan = (image + noise).astype(np.float32)
    done = denoise(Repetitions(scan[None, ..., None], mask > 0.5), weights, context()).data[..., 0]
    assert np.sqrt(np.mean((done - image)[mask > 0.5] ** 2)) < 1.01 * 0.7


def test_without_weights_it_says_what_is_missing(scan, brain, weights):
    """Nothing can be trained on one image."""
    bare = replace(weights, recorrupted=replace(weights.recorrupted, weights=None), fusion=None)
    with pytest.raises(ValueError, match="no weights"):
        denoise(Repetitions(scan[None, ..., None], brain[1]), bare, context())
