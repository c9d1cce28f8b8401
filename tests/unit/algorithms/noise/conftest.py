"""Images as a scanner makes them: complex noise on a part of k-space, zero-filled, as magnitudes."""

import numpy as np
import pytest
from acquisitions import coloured, kept_kspace
from scipy import ndimage


@pytest.fixture(scope="package")
def brain():
    """(clean image, mask): structure of all scales in an ellipsoid, and fluid around it; mean 100 inside."""
    shape, rng = (64, 72, 68), np.random.default_rng(5)
    grids = np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij")
    radius = np.sqrt(sum((grid / 0.72) ** 2 for grid in grids))
    fine = sum(
        ndimage.gaussian_filter(rng.standard_normal(shape), sd, mode="wrap") * sd**1.5 * 12
        for sd in (0.8, 2, 4)
    )
    return np.where(radius < 1, 100 + fine, np.where(radius < 1.15, 30, 0)).astype(np.float32), radius < 1


@pytest.fixture
def acquire(brain):
    """Function: (kind of k-space, noise SD, number) -> (R, X, Y, Z) magnitudes of `brain`."""

    def make(kind, noise_sd, count=2, seed=0):
        clean, _ = brain
        kept, rng = kept_kspace(clean.shape, kind), np.random.default_rng(seed)
        complete = np.fft.ifftn(np.fft.fftn(clean) * kept)
        runs = [np.abs(complete + noise_sd * coloured(kept, rng)) for _ in range(count)]
        return np.stack(runs).astype(np.float32)

    return make
