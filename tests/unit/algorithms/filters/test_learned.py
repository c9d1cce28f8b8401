"""Laws of the filters that are learned from the subject itself."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.filters.learned import Pair, checkerboard, learn_filters, principal_basis

SHAPE = (36, 36, 36)


def _pair(brightness, seed=0):
    """A smooth series in noise of SD 1, smoothed, and with other noise; and the truth."""
    rng = np.random.default_rng(seed)
    shades = np.stack([ndimage.gaussian_filter(rng.standard_normal(SHAPE), 3) for _ in range(4)], axis=-1)
    truth = brightness * (1 + shades / np.abs(shades).max() * 0.3)
    noisy, target = (truth + rng.standard_normal(truth.shape) for _ in range(2))
    initial = ndimage.gaussian_filter(noisy, (0.7, 0.7, 0.7, 0))
    return Pair(*(part.astype(np.float32) for part in (noisy, initial, target))), truth


@pytest.mark.parametrize("brightness", [10, 300, 10_000])
def test_brightness_does_not_spoil_the_filters(brightness):
    """Neighbours in a bright series are alike but for the noise, which decides; sums of squares hide it."""
    pair, truth = _pair(brightness)
    mask = np.ones(SHAPE, bool)
    filters = learn_filters([pair], principal_basis(pair.noisy, mask), 1.0, mask, checkerboard(SHAPE))
    denoised = filters.apply(pair.noisy, pair.initial_estimate, mask)
    error, before = (np.sqrt(np.mean((one - truth) ** 2)) for one in (denoised, pair.initial_estimate))
    assert error < 1.02 * before
    assert np.abs(filters.coefficients).max() < 5


def test_filters_of_a_fold_never_saw_it():
    """Targets of a fold do not change what denoises it, and do change what denoises the other."""
    pair, _ = _pair(20)
    mask, folds = np.ones(SHAPE, bool), checkerboard(SHAPE)
    other = Pair(pair.noisy, pair.initial_estimate, pair.target + (folds == 0)[..., None].astype(np.float32))
    basis = principal_basis(pair.noisy, mask)
    before, after = (learn_filters([one], basis, 1.0, mask, folds).coefficients for one in (pair, other))
    np.testing.assert_allclose(before[0], after[0], atol=1e-9)
    assert np.abs(before[1] - after[1]).max() > 1e-3
