"""How alike the noise of neighbours is, where that is known."""

import numpy as np
import pytest
from acquisitions import coloured, kept_kspace

from n2a_bids.algorithms.noise.covariance import covariance_from_power
from n2a_bids.algorithms.noise.covariance_estimates import (
    covariance_of_noise,
    difference_covariance,
    residual_covariance,
)
from n2a_bids.algorithms.preparation.repetitions import prepare
from n2a_bids.algorithms.repetitions import Repetitions

SHAPE = (60, 66, 61)
"""Even and odd."""

WIDTHS = {
    "white": (1.0, 1.0),
    "zero-filled by 1.5": (1.0, 1.65),
    "zero-filled by 2": (1.0, 2.3),
    "Gaussian of 2 voxels": (2.0, 2.0),
}
"""FWHM along the first axis, and along the others."""


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
