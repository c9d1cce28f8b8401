"""Laws of guided non-local Bayes."""

import numpy as np
import pytest
import torch
from acquisitions import coloured, kept_kspace
from scipy import ndimage

from n2a_bids.algorithms.filters.nonlocal_bayes import BayesSettings, guided_nonlocal_bayes
from n2a_bids.algorithms.noise.covariance import covariance_from_power

CPU = torch.device("cpu")
NOISE_SD = 0.3


def _ball(shape=(23, 20, 18), seed=0):
    """A ball of intensity 5 on 0, with noise, the noise SD and everywhere."""
    grid = np.indices(shape) - (np.array(shape) / 2)[:, None, None, None]
    clean = (5 * ((grid**2).sum(axis=0) < 49)).astype(np.float32)
    noisy = clean + NOISE_SD * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return clean, noisy, np.full(shape, NOISE_SD, np.float32), np.ones(shape, bool)


def _denoise(noisy, guide, noise_sd, where, variance=None, **settings):
    return guided_nonlocal_bayes(noisy, guide, noise_sd, where, BayesSettings(CPU, **settings), variance)


def test_noise_falls_and_edges_stay():
    """With a perfect guide, error falls below a third, at the edge below three quarters."""
    clean, noisy, noise_sd, where = _ball()
    error = _denoise(noisy, clean, noise_sd, where) - clean
    near_edge = np.zeros(clean.shape, bool)
    for axis in range(3):
        near_edge |= (clean != np.roll(clean, 1, axis)) | (clean != np.roll(clean, -1, axis))
    assert error.std() < NOISE_SD / 3
    assert error[near_edge].std() < 0.75 * NOISE_SD


def test_what_the_guide_lost_comes_back():
    """A pattern that the guide shows at half contrast is nearer to the truth than in the guide."""
    x = np.arange(24)
    clean = (2 * np.sin(x / 2)[:, None, None] * np.ones((24, 24, 24))).astype(np.float32)
    noise = NOISE_SD * np.random.default_rng(1).standard_normal(clean.shape).astype(np.float32)
    noise_sd = np.full(clean.shape, NOISE_SD, np.float32)
    denoised = _denoise(clean + noise, 0.5 * clean, noise_sd, np.ones(clean.shape, bool))
    assert np.abs(denoised - clean).mean() < 0.2 * np.abs(0.5 * clean).mean()


def test_gain_and_offset_carry_through():
    """The filter of a*y + b is a times the filter of y, plus b."""
    clean, noisy, noise_sd, where = _ball()
    plain = _denoise(noisy, clean, noise_sd, where)
    moved = _denoise(4 * noisy + 8, 4 * clean + 8, 4 * noise_sd, where)
    np.testing.assert_allclose(moved, 4 * plain + 8, atol=2e-3)


def test_without_noise_nothing_changes():
    """Noise of SD zero leaves the image as it is."""
    _, noisy, noise_sd, where = _ball()
    np.testing.assert_allclose(_denoise(noisy, noisy, 0 * noise_sd, where), noisy, atol=0.01)


def test_uniform_image_becomes_flat():
    """Where the guide is constant only the mean of the similar patches is left."""
    _, _, noise_sd, where = _ball()
    noise = NOISE_SD * np.random.default_rng(2).standard_normal(where.shape).astype(np.float32)
    assert _denoise(noise, 0 * noise, noise_sd, where).std() < NOISE_SD / 4


def test_memory_changes_no_value():
    """Thin slabs give what one slab gives."""
    clean, noisy, noise_sd, where = _ball()
    whole = _denoise(noisy, clean, noise_sd, where)
    thin = _denoise(noisy, clean, noise_sd, where, memory_gb=1e-4)
    np.testing.assert_allclose(thin, whole, atol=1e-5)


def test_channels_share_their_patches():
    """One channel is the plain image; a rotation of independent channels rotates the result."""
    clean, noisy, noise_sd, where = _ball()
    plain = _denoise(noisy, clean, noise_sd, where)
    alone = _denoise(noisy[..., None], clean[..., None], noise_sd, where)
    np.testing.assert_array_equal(alone[..., 0], plain)
    pair, guides = (np.stack(images, axis=-1) for images in ((noisy, _ball(seed=5)[1]), (clean, 2 * clean)))
    turn = np.array([[0.6, -0.8], [0.8, 0.6]], np.float32)
    turned = _denoise(pair @ turn, guides @ turn, noise_sd, where)
    np.testing.assert_allclose(turned, _denoise(pair, guides, noise_sd, where) @ turn, atol=2e-3)


def test_elsewhere_the_guide_is_returned():
    """Voxels that no patch of the region reaches are the guide's; its own do not depend on the rest."""
    clean, noisy, noise_sd, where = _ball()
    part = np.zeros_like(where)
    part[:8] = True
    denoised = _denoise(noisy, clean, noise_sd, part)
    np.testing.assert_array_equal(denoised[-4:], clean[-4:])
    assert (denoised[:8] - clean[:8]).std() < NOISE_SD / 3


@pytest.mark.parametrize("shape", [(3, 9, 9), (4, 4, 4), (5, 7, 6), (13, 4, 9)])
def test_any_shape(shape):
    """Shapes smaller than a patch give the guide; all others are finite to the last voxel."""
    noisy = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    guide, noise_sd = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    denoised = _denoise(noisy, guide, noise_sd, np.ones(shape, bool))
    assert denoised.shape == shape
    assert np.isfinite(denoised).all()
    assert (denoised == 0).all() == (min(shape) < 4)
    columns_first = [np.asfortranarray(volume) for volume in (noisy, guide, noise_sd, np.ones(shape, bool))]
    np.testing.assert_array_equal(_denoise(*columns_first), denoised)


def test_posterior_variance():
    """It is larger at edges, less than that of the noise, squared with the unit; asking changes no bit."""
    clean, noisy, noise_sd, where = _ball()
    where[-8:] = False
    variance, scaled = np.full_like(noisy, np.nan), np.zeros_like(noisy)
    plain = _denoise(noisy, clean, noise_sd, where)
    np.testing.assert_array_equal(_denoise(noisy, clean, noise_sd, where, variance=variance), plain)
    _denoise(4 * noisy, 4 * clean, 4 * noise_sd, where, variance=scaled)
    reached = np.isfinite(variance)
    assert reached[where].all() and not reached[-4:].any()
    np.testing.assert_allclose(scaled[reached], 16 * variance[reached], rtol=1e-3)
    edge = np.abs(clean - np.roll(clean, 1, axis=0)) > 0
    assert variance[reached].min() > 0 and variance[reached].max() < NOISE_SD**2 * (1 + 1 / 48)
    assert variance[edge & where].mean() > 3 * np.median(variance[where])
    # Where the guide is flat, that of the mean of 48 patches.
    np.testing.assert_allclose(np.median(variance[where]), NOISE_SD**2 / 48, rtol=1e-3)


@pytest.mark.parametrize("kind", ["zero-filled by 1.5", "partial Fourier 6/8"])
def test_noise_that_neighbours_share_goes_where_it_is_told(kind):
    """Told the correlation of the noise, errors are smaller than taken for white; most where it is strong."""
    kept = kept_kspace((34, 34, 34), kind)
    clean, noise_sd, where = (
        _ball(kept.shape)[0],
        np.full(kept.shape, NOISE_SD, np.float32),
        np.ones(kept.shape, bool),
    )
    clean = np.fft.ifftn(np.fft.fftn(clean) * kept).real.astype(np.float32)
    noisy = clean + NOISE_SD * coloured(kept, np.random.default_rng(4)).real.astype(np.float32)
    mirrored = np.roll(kept[::-1, ::-1, ::-1], 1, axis=(0, 1, 2))
    correlation = covariance_from_power((kept**2 + mirrored**2) / 2).patch_correlation(4)
    # A guide as a first pass leaves it, a fifth of its noise still there.
    guide = clean + 0.2 * (noisy - clean)
    white, told = (
        _denoise(noisy, guide, noise_sd, where, correlation=known) - clean for known in (None, correlation)
    )
    assert told.std() < (0.95 if kind == "zero-filled by 1.5" else 0.99) * white.std()


def test_uncorrelated_noise_is_the_same_told_or_not():
    """Also where patches reach through channels."""
    clean, noisy, noise_sd, where = _ball((14, 13, 12))
    for image, guide in ((noisy, clean), (np.stack([noisy, -noisy], -1), np.stack([clean, -clean], -1))):
        variance, same = np.zeros_like(image), np.zeros_like(image)
        told = _denoise(image, guide, noise_sd, where, correlation=np.eye(64), variance=variance)
        np.testing.assert_allclose(told, _denoise(image, guide, noise_sd, where, variance=same), atol=1e-3)
        np.testing.assert_allclose(variance, same, atol=1e-3 * NOISE_SD**2)


def test_posterior_variance_shows_no_lattice_of_patches():
    """Every third voxel is a corner of patches: in an even texture none of these classes stands out."""
    generator = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(generator.standard_normal((30, 30, 30)), 1.5)
    clean = (100 + 20 * texture / texture.std()).astype(np.float32)
    noisy = (clean + 20 * generator.standard_normal(clean.shape)).astype(np.float32)
    variance, everywhere = np.zeros_like(noisy), np.ones(clean.shape, bool)
    _denoise(noisy, clean, np.full_like(noisy, 20), everywhere, variance=variance)
    middle = variance[6:24, 6:24, 6:24]
    classes = [middle[x::3, y::3, z::3].mean() for x, y, z in np.ndindex(3, 3, 3)]
    assert np.max(np.abs(classes / middle.mean() - 1)) < 0.06
