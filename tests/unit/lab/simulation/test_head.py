"""Laws of the simulated head around a brain."""

import numpy as np
import pytest

from n2a_bids.lab.simulation.head import add_head


@pytest.fixture(scope="module")
def brain():
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij"))
    mask = np.linalg.norm(grid, axis=0) < 0.5
    return np.where(mask, 100.0 + 20 * grid[0], 0), mask


def test_brain_is_kept_and_air_stays_empty(brain):
    """The layers lie around the brain, and end before the corners of the image."""
    image, mask = brain
    head = add_head(image, mask, (4.0, 4.0, 4.0), np.random.default_rng(0))
    assert np.allclose(head[mask], image[mask])
    assert np.abs(head[:2, :2]).max() < 1e-3
    assert (head[~mask] > 50).sum() > mask.sum() / 4


def test_thickness_of_the_head_is_in_mm(brain):
    """Halving the voxel size doubles the layers in voxels."""
    image, mask = brain
    coarse, fine = (
        add_head(image, mask, (size,) * 3, np.random.default_rng(0))[:, 12, 12] for size in (4.0, 2.0)
    )
    assert (fine > 5).sum() > (coarse > 5).sum() + 3


def test_same_seed_gives_the_same_head(brain):
    """All randomness comes from the generator."""
    first, second = (add_head(*brain, (3.0, 3.0, 3.0), np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)


def test_wrong_grid_and_empty_mask_are_refused(brain):
    """Both errors say what is wrong."""
    image, mask = brain
    with pytest.raises(ValueError, match="mask grid"):
        add_head(image, mask[1:], (1, 1, 1), np.random.default_rng(0))
    with pytest.raises(ValueError, match="empty"):
        add_head(image, np.zeros_like(mask), (1, 1, 1), np.random.default_rng(0))
