"""Laws of the one interpolation."""

import numpy as np
import pytest
from rigid_motions import about_centre
from scipy import ndimage

from n2a_bids.algorithms.registration.resampling import field_of_view, resample, upsample_twice


def lag_correlation(noise):
    return [
        float(np.mean(np.take(noise, range(n - 1), a) * np.take(noise, range(1, n), a)) / noise.var())
        for a, n in enumerate(noise.shape)
    ]


@pytest.mark.parametrize(
    ("angles", "shift"),
    [((0, 0, 0), (0.5, 0.5, 0.5)), ((4, -2, 3), (0.3, 0.5, -0.2)), ((10, 8, -12), (0.1, 0.2, 0.4))],
)
def test_resample_leaves_white_noise_white(angles, shift):
    """SD within 4 % and correlation of neighbours below 0.06, where quintic splines lose over 10 %."""
    noise = np.random.default_rng(0).standard_normal((40, 40, 40)).astype(np.float32)
    matrix = about_centre(noise.shape, angles, shift)
    result = resample(noise, matrix, noise.shape)[0][10:-10, 10:-10, 10:-10]
    assert result.std() == pytest.approx(1, abs=0.04)
    assert np.abs(lag_correlation(result)).max() < 0.06
    quintic = ndimage.affine_transform(noise, matrix[:3, :3], matrix[:3, 3], order=5)[10:-10, 10:-10, 10:-10]
    assert quintic.std() < 0.9


def test_resample_by_whole_voxels_copies():
    """A shift by whole voxels moves values and does not change them."""
    image = np.random.default_rng(1).random((16, 17, 18)).astype(np.float32)
    moved, inside = resample(image, about_centre(image.shape, (0, 0, 0), (2, 0, -1)), image.shape)
    np.testing.assert_allclose(moved[:-2, :, 1:], image[2:, :, :-1], atol=1e-5)
    np.testing.assert_array_equal(inside[:-2, :, 1:], True)
    assert not inside[-2:].any()
    assert not inside[:, :, 0].any()


def test_resample_there_and_back_returns_a_smooth_image(head):
    """Two opposite motions give the image back to within 2 % of its range."""
    image = ndimage.gaussian_filter(head[0], 1).astype(np.float32)
    there = about_centre(image.shape, (5, -3, 4), (0.4, 0.2, -0.3))
    moved, _ = resample(image, there, image.shape)
    back, inside = resample(moved, np.linalg.inv(there), image.shape)
    inner = ndimage.binary_erosion(inside, iterations=8)
    assert np.abs(back - image)[inner].max() < 0.02 * np.ptp(image)


def test_resample_never_falls_below_the_smallest_value(head):
    """Air next to bright skin does not become negative."""
    image = np.where(head[0] > 350, head[0], 0).astype(np.float32)
    moved, _ = resample(image, about_centre(image.shape, (7, 0, 0), (0.5, 0, 0)), image.shape)
    assert moved.min() == 0


@pytest.mark.parametrize("length", [8, 9])
def test_upsample_twice_keeps_the_samples(length):
    """Every second sample is an old one, for even and odd lengths."""
    image = np.random.default_rng(2).random((length, length + 1, 4)).astype(np.float32)
    np.testing.assert_allclose(upsample_twice(image)[::2, ::2, ::2], image, atol=1e-6)


def test_field_of_view_of_the_identity_is_everything():
    """An image sees all of its own grid."""
    assert field_of_view((4, 5, 6), np.eye(4), (4, 5, 6)).all()
