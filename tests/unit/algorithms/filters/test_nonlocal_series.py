"""Laws of non-local Bayes on diffusion series."""

import numpy as np
import torch

from n2a_bids.algorithms.filters.nonlocal_series import refine_by_nonlocal_bayes

CPU = torch.device("cpu")
NOISE_SD = 0.2


def _bundles(n_volumes=20, seed=0):
    """Two crossing slabs, each with an angular pattern of its own; the noisy series, and the mask."""
    generator = np.random.default_rng(seed)
    patterns = generator.standard_normal((3, n_volumes)) + 4
    labels = np.zeros((24, 24, 10), int)
    labels[4:14], labels[:, 8:18] = 1, 2
    clean = patterns[labels].astype(np.float32)
    noisy = clean + NOISE_SD * generator.standard_normal(clean.shape).astype(np.float32)
    mask = np.zeros(labels.shape, bool)
    mask[1:-1, 1:-1, 1:-1] = True
    return clean, noisy, mask, np.full(labels.shape, NOISE_SD, np.float32)


def _refine(noisy, guide, noise_sd, mask):
    return refine_by_nonlocal_bayes(noisy, guide, noise_sd, mask, device=CPU)


def _error(estimate, clean, mask):
    return float(np.abs(estimate - clean)[mask].mean())


def test_angular_contrast_that_the_guide_lost_comes_back():
    """A guide with half of the contrast between directions is mended from the noisy series."""
    clean, noisy, mask, noise_sd = _bundles()
    flattened = 0.5 * clean + 0.5 * clean.mean(axis=-1, keepdims=True)
    refined = _refine(noisy, flattened, noise_sd, mask)
    assert _error(refined, clean, mask) < 0.75 * _error(noisy, clean, mask)
    assert _error(refined, clean, mask) < 0.3 * _error(flattened, clean, mask)


def test_outside_the_mask_stands_the_guide():
    """Voxels outside are the guide's, and no input is changed."""
    clean, noisy, mask, noise_sd = _bundles()
    copies = [array.copy() for array in (noisy, clean, noise_sd)]
    refined = _refine(noisy, clean, noise_sd, mask)
    np.testing.assert_array_equal(refined[~mask], clean[~mask])
    for array, copy in zip((noisy, clean, noise_sd), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_unit_and_noise_map_carry_through():
    """Another unit changes the unit only; a voxelwise gain of image and noise comes back out."""
    clean, noisy, mask, noise_sd = _bundles()
    plain = _refine(noisy, clean, noise_sd, mask)
    np.testing.assert_allclose(_refine(50 * noisy, 50 * clean, 50 * noise_sd, mask), 50 * plain, rtol=0.03)
    gain = np.linspace(0.5, 2, mask.shape[0], dtype=np.float32)[:, None, None]
    shaded = _refine(noisy * gain[..., None], clean * gain[..., None], noise_sd * gain, mask)
    # Components are those of the shaded series, so the last digits differ.
    assert _error(shaded / gain[..., None], plain, mask) < 0.1 * NOISE_SD


def test_fewer_volumes_than_components():
    """Short series take part with all of their components."""
    clean, noisy, mask, noise_sd = _bundles(n_volumes=7)
    assert _error(_refine(noisy, clean, noise_sd, mask), clean, mask) < 0.5 * _error(noisy, clean, mask)
