"""How alike the noise of neighbours is, where that is known."""

import numpy as np
import pytest
import torch
from acquisitions import coloured, kept_kspace
from diffusion_series import random_table, turning_fibres

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.filters.local_pca import estimate_noise_sd
from n2a_bids.algorithms.noise.covariance import colour_noise, covariance_from_power, detail_kept, white_noise
from n2a_bids.algorithms.noise.covariance_estimates import (
    covariance_of_noise,
    difference_covariance,
    residual_covariance,
)
from n2a_bids.algorithms.noise.estimate import high_pass
from n2a_bids.algorithms.noise.volume_noise import noise_covariance
from n2a_bids.algorithms.preparation.repetitions import prepare
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.lab.simulation.conditions import find_condition
from n2a_bids.lab.simulation.scans import scan_repetitions

SHAPE = (60, 66, 61)
"""Even and odd."""

WIDTHS = {
    "white": (1.0, 1.0),
    "zero-filled by 1.5": (1.0, 1.65),
    "zero-filled by 2": (1.0, 2.3),
    "Gaussian of 2 voxels": (2.0, 2.0),
}
"""FWHM along the first axis, and along the others."""
COLOURED_SHAPE = (44, 44, 6)
MASK = np.ones(COLOURED_SHAPE, bool)


@pytest.mark.parametrize("kind", WIDTHS)
def test_width_of_known_noise(kind):
    """That of the kernel that made it, within a tenth."""
    noise = coloured(kept_kspace(SHAPE, kind), np.random.default_rng(1)).real.astype(np.float32)
    found = covariance_of_noise(noise[None], np.ones(SHAPE, bool))
    first, second, third = found.fwhm_voxels
    assert (first, second) == pytest.approx(WIDTHS[kind], rel=0.1)
    assert third == pytest.approx(second, rel=0.1)
    assert found.is_white == (kind == "white")


@pytest.mark.parametrize("kind", ["zero-filled by 1.5", "ellipse", "partial Fourier 6/8"])
def test_correlation_is_that_of_the_spectrum(kind):
    """Between all neighbours up to four voxels apart, within the standard error that is told."""
    kept = kept_kspace(SHAPE, kind)
    noise = coloured(kept, np.random.default_rng(2)).real.astype(np.float32)
    found = covariance_of_noise(noise[None], np.ones(SHAPE, bool))
    # Magnitudes hold the real part, whose spectrum is the mean of opposite places.
    mirrored = np.roll(kept[::-1, ::-1, ::-1], 1, axis=(0, 1, 2))
    truth = covariance_from_power((kept**2 + mirrored**2) / 2)
    deviation = found.correlation - truth.correlation
    assert np.sqrt(np.mean(deviation**2)) < 2 * found.standard_error
    assert np.abs(deviation).max() < 0.03


@pytest.mark.parametrize("kind", ["white", "zero-filled by 1.5", "partial Fourier 6/8"])
def test_differences_of_repetitions_tell_it_whatever_the_anatomy(acquire, brain, kind):
    """Also where the noise is uneven, gains differ and one place is out of line."""
    _, mask = brain
    runs = acquire(kind, 8.0)
    uneven = np.linspace(0.5, 1.5, mask.shape[0])[:, None, None]
    runs = runs.mean(axis=0) + (runs - runs.mean(axis=0)) * uneven
    runs[1, 20:30, 20:30, 20:30] = np.roll(runs[1, 20:30, 20:30, 20:30], 1, axis=1)
    runs[1] *= 1.7
    prepared = prepare(Repetitions(runs[..., None].astype(np.float32), mask))
    found = difference_covariance(prepared.images, prepared.repetition_noise_sd, mask)
    kept = kept_kspace(mask.shape, kind)
    mirrored = np.roll(kept[::-1, ::-1, ::-1], 1, axis=(0, 1, 2))
    truth = covariance_from_power((kept**2 + mirrored**2) / 2)
    np.testing.assert_allclose(found.along_axes[:, 1:3], truth.along_axes[:, 1:3], atol=0.05)
    assert (prepared.covariance is None) == (kind == "white")


def test_residuals_of_a_series_tell_it(acquire, brain):
    """Each in its own unit."""
    _, mask = brain
    runs = acquire("zero-filled by 1.5", 8.0, count=4)
    residuals = (runs - runs.mean(axis=0)) * np.array([1, 5, 0.2, 1])[:, None, None, None]
    found = residual_covariance(residuals.astype(np.float32), mask)
    assert found.fwhm_voxels == pytest.approx((1.0, 1.65, 1.65), rel=0.1)


def test_patches_have_the_correlation_of_their_voxels():
    """Positive definite also where voxels determine each other; the identity for white noise."""
    power = kept_kspace((40, 40, 40), "zero-filled by 2") ** 2
    matrix = covariance_from_power(power).patch_correlation(4)
    assert np.linalg.eigvalsh(matrix).min() > 0.005
    # In the order of ravel: 1 and 4 are neighbours along the third and the second axis, 16 along the first.
    assert matrix[0, [1, 4, 16]] == pytest.approx([0.64, 0.64, 0.0], abs=0.03)
    np.testing.assert_allclose(
        covariance_from_power(np.ones((40,) * 3)).patch_correlation(4), np.eye(64), atol=1e-9
    )


def test_too_few_voxels_count_as_white():
    """Nothing is known of neighbours that are not there."""
    mask = np.zeros((8, 8, 8), bool)
    mask[4, 4, 4] = True
    assert covariance_of_noise(np.ones((1, 8, 8, 8), np.float32), mask).is_white


@pytest.mark.parametrize("shape", [(26, 28, 14), (10, 40, 40)])
def test_an_axis_shorter_than_a_block_is_no_obstacle(shape):
    """Slabs and small phantoms: white noise is white in them, too."""
    noise = np.random.default_rng(0).standard_normal((6, *shape)).astype(np.float32)
    assert covariance_of_noise(noise, np.ones(shape, bool)).fwhm_voxels == pytest.approx((1, 1, 1), abs=0.2)


def zero_filled():
    """Covariance of noise that was zero-filled from two thirds in plane."""
    power = np.zeros((48, 48, 48))
    inside = np.abs(np.fft.fftfreq(48)) < 1 / 3
    power[np.ix_(inside, inside, np.ones(48, bool))] = 1
    return covariance_from_power(power)


def coloured_noise(shape, seed=0):
    white = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return colour_noise(white, zero_filled())


def series(n=14):
    """Smooth tensors in a box: S0 about 100, and its table."""
    table = random_table(1, n)
    return turning_fibres(COLOURED_SHAPE, table, stripes=False)[0].astype(np.float32), table


def scans(name, noise_sd, n=1):
    truth, table = series()
    found = scan_repetitions(truth, MASK, find_condition(name), n, noise_sd, np.random.default_rng(0))
    return found, table


def test_coloured_noise_has_the_covariance_and_the_sd_asked_for():
    noise, covariance = coloured_noise((64, 64, 20)), zero_filled()
    assert noise.std() == pytest.approx(1, rel=0.03)
    for lag in (1, 2):
        measured = float((noise[lag:] * noise[:-lag]).mean())
        assert measured == pytest.approx(covariance.along_axes[0, lag], abs=0.03)
    assert abs(float((noise[..., 1:] * noise[..., :-1]).mean())) < 0.03


def test_detail_that_a_high_pass_keeps_is_told_by_the_covariance():
    white = np.random.default_rng(0).standard_normal((64, 64, 20)).astype(np.float32)
    kept = high_pass(colour_noise(white, zero_filled())).std() / high_pass(white).std()
    assert kept == pytest.approx(detail_kept(zero_filled()), abs=0.02)
    assert detail_kept(white_noise()) == pytest.approx(1)


def test_covariance_of_a_series_is_found_and_white_noise_is_left_alone():
    """Signal of seven times the noise and more does not pass for it; three scans of one head."""
    assert noise_covariance(scans("aligned", 8.0)[0].repetitions[0], MASK) is None
    found = noise_covariance(scans("zero-filled", 8.0)[0].repetitions[0], MASK)
    assert found.along_axes[0, 1] == pytest.approx(zero_filled().along_axes[0, 1], abs=0.05)
    assert found.along_axes[2, 1] == pytest.approx(0, abs=0.05)


def test_noise_level_of_coloured_noise_is_right_once_its_covariance_is_known():
    """Taken for white, the eigenvalues of noise spread too far for their law, and few pass for noise."""
    noise = 7 * coloured_noise((*COLOURED_SHAPE, 20))
    taken_for_white = np.median(estimate_noise_sd(noise + 100, MASK))
    known = np.median(estimate_noise_sd(noise + 100, MASK, covariance=zero_filled()))
    assert taken_for_white < 0.9 * 7
    assert known == pytest.approx(7, rel=0.07)


@pytest.mark.parametrize("shape", [(44, 44, 6), (30, 28, 3), (20, 20, 12)])
def test_small_and_thin_images_tell_their_covariance_too(shape):
    found = covariance_of_noise(coloured_noise((*shape, 8)).transpose(3, 0, 1, 2), np.ones(shape, bool))
    assert not found.is_white
    assert found.along_axes[1, 1] == pytest.approx(zero_filled().along_axes[1, 1], abs=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("n_repetitions", [1, 2])
def test_auto_halves_the_error_of_the_mean_where_noise_is_coloured(n_repetitions):
    """The plain mean won there, in single series, when noise was taken for white."""
    found, table = scans("zero-filled-partial-fourier", 12.0, n_repetitions)
    strategy = get_strategy("auto", "dwi")
    repetitions = Repetitions(found.repetitions, MASK, gradients=table)
    context = Context(torch.Generator().manual_seed(0))
    result = strategy.denoise(repetitions, strategy.config("fast"), context)
    error, before = (
        float(np.sqrt(np.mean((image - found.reference) ** 2)))
        for image in (result.data, found.repetitions.mean(axis=0))
    )
    assert not result.record.chosen.mean_won
    assert error < 0.5 * before
