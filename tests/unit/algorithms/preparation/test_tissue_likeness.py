"""Laws of the image that a network for T1w heads is shown in place of another contrast."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.preparation.tissue_likeness import (
    continue_to_head,
    tissue_likeness,
    trim_dark_border,
)

_SIZE = (3.0, 3.0, 4.0)


def _head(fluid=3.0):
    """Tissue at 100 with a ventricle, a dark skull, and skin at 30; and the brain."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1.3, 1.3, n) for n in (64, 70, 48)), indexing="ij"))
    radius = np.sqrt((grid**2).sum(axis=0))
    image = np.select(
        [radius < 0.2, radius < 0.8, radius < 0.92, radius < 1.05], [100 * fluid, 100, 5, 30], 0
    )
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(radius.shape), 1.5)
    return (image * (1 + 0.5 * texture)).astype(np.float32), radius < 0.8, radius < 0.15, radius > 0.85


@pytest.mark.parametrize("fluid", [3.0, 0.2])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_tissue_is_bright_whether_fluid_is_brighter_or_darker(fluid, scale):
    """The contrast of T2w and b0 images, and that of T1w and FLAIR images, in any unit, give one picture."""
    image, brain, ventricle, outside = _head(fluid)
    likeness = tissue_likeness(scale * image, _SIZE)
    assert np.median(likeness[brain & ~ventricle]) > 0.9
    assert np.median(likeness[ventricle]) < 0.4 and np.median(likeness[outside]) < 0.4
    assert likeness.min() >= 0 and likeness.max() <= 1


def test_a_bias_field_and_lost_signal_leave_no_trace():
    """Tissue whose signal falls to a third from back to front looks the same all over."""
    image, brain, ventricle, _ = _head()
    slope = np.linspace(1.0, 0.33, image.shape[1], dtype=np.float32)[None, :, None]
    likeness = tissue_likeness(image * slope, _SIZE)
    tissue = ndimage.binary_erosion(brain, iterations=2) & ~ventricle
    back, front = (np.median(likeness[:, half][tissue[:, half]]) for half in (slice(0, 25), slice(45, 70)))
    assert min(back, front) > 0.85


def test_an_image_without_signal_looks_like_nothing():
    """No warning, no NaN."""
    assert not tissue_likeness(np.zeros((8, 9, 10)), _SIZE).any()


def test_a_slab_is_continued_on_both_sides():
    """The image lies unchanged where the box says, and its outermost slices go on."""
    image = np.random.default_rng(0).random((80, 80, 6)).astype(np.float32)
    continued, box = continue_to_head(image, (3.0, 3.0, 5.0))
    assert np.array_equal(continued[box], image) and continued.shape == (80, 80, 46)
    assert np.array_equal(continued[..., 0], image[..., 0])
    assert np.array_equal(continued[..., -1], image[..., -1])


def test_only_dark_voxels_of_the_border_are_trimmed():
    """A mask that is one voxel too large loses skull, but neither tissue nor what the image's edge cuts."""
    image, brain, ventricle, _ = _head(fluid=0.2)
    half, own = image[:, :35], brain[:, :35]
    trimmed = trim_dark_border(ndimage.binary_dilation(own), half, _SIZE)
    assert (trimmed & own).sum() == own.sum()
    assert (trimmed & ~own).sum() < 0.05 * (ndimage.binary_dilation(own) & ~own).sum()
    assert trimmed[:, -1].sum() >= own[:, -1].sum()
    assert trimmed[ventricle[:, :35]].all()
