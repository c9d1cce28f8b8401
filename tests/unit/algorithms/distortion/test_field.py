"""Laws of distortion correction."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from textured_heads import distortion_head

from n2a_bids.algorithms.distortion.field import (
    DistortionConfig,
    acquired_grid,
    estimate_displacement,
    in_view,
    intensity_factor,
    resample,
)
from n2a_bids.algorithms.noise.interpolation import noise_kept
from n2a_bids.lab.simulation.dwi import distort, susceptibility_displacement

_QUICK = DistortionConfig(
    shrink_factors=(2, 1), blur_voxels=(0.7, 0.5), n_steps=(60, 40), knot_spacing=(2, 3)
)


def _head(shape=(24, 32, 14)):
    image, mask = distortion_head(shape, extent=1.0)
    return image / 100, mask


def test_known_displacement_is_found_within_half_a_voxel():
    """The displacement of a simulated pair is recovered where there is signal."""
    image, mask = _head()
    truth = susceptibility_displacement(mask, 1, 3.0, torch.Generator().manual_seed(0))
    found = estimate_displacement(distort(image, truth, 1, 1), distort(image, truth, 1, -1), 1, _QUICK)
    error = np.abs(found - truth)[ndimage.binary_erosion(mask)]
    assert np.percentile(error, 90) < 0.5


@pytest.mark.parametrize("axis", [0, 1])
def test_swapping_the_pair_flips_the_sign(axis):
    """Exchanging the images exchanges the direction of the displacement."""
    image, mask = _head((24, 24, 10))
    pair = [distort(image, np.full(image.shape, 1.5), axis, sign) for sign in (1, -1)]
    found = estimate_displacement(*pair, axis, _QUICK)
    swapped = estimate_displacement(*pair[::-1], axis, _QUICK)
    assert np.abs(found + swapped)[mask].mean() < 0.05


def test_equal_images_have_no_displacement():
    """A pair that agrees already is left alone."""
    image, _ = _head((16, 20, 8))
    assert np.abs(estimate_displacement(image, image, 1, _QUICK)).max() < 1e-3


def test_resample_undoes_distort():
    """Correcting with the true displacement gives the undistorted image back."""
    image, mask = _head()
    truth = susceptibility_displacement(mask, 1, 2.0, torch.Generator().manual_seed(1))
    for sign in (1, -1):
        back = resample(distort(image, truth, 1, sign), np.eye(4), truth, 1, sign)
        inside = ndimage.binary_erosion(mask, iterations=2)
        assert np.abs(back - image)[inside].mean() < 0.03 * image[inside].mean()


def test_resample_applies_the_rigid_part():
    """A shift of the voxel map moves the image; without displacement nothing else happens."""
    image, _ = _head((16, 20, 8))
    shift = np.eye(4)
    shift[0, 3] = 2
    moved = resample(image, shift, np.zeros(image.shape), 1, 0)
    assert np.allclose(moved[:-2], image[2:], atol=1e-4)


def test_acquired_grid_undoes_resample():
    """Corrected and shown as acquired again, an image is what it was, motion and distortion included."""
    image, mask = _head()
    truth = susceptibility_displacement(mask, 1, 2.0, torch.Generator().manual_seed(1))
    shift = np.eye(4)
    shift[:3, 3] = (1.0, 0.5, 0.0)
    for sign in (1, -1):
        acquired = distort(image, truth, 1, sign)
        corrected = resample(acquired, shift, sign * truth, 1, 1)
        grid = acquired_grid(shift, sign * truth, 1, image.shape)
        inside = ndimage.binary_erosion(mask, iterations=3) & grid.known
        assert inside.sum() > 500
        error = np.abs(grid.show(corrected) - acquired)[inside].mean()
        assert error < 0.2 * np.abs(corrected - acquired)[inside].mean()


def test_acquired_grid_does_not_know_folds():
    """Where the displacement folds the image there is no way back."""
    steep = np.zeros((4, 24, 4))
    steep[:, 10:14] = 3.0 * np.arange(4)[None, :, None]
    known = acquired_grid(np.eye(4), steep, 1, steep.shape).known
    assert known[:, :6].all() and not known.all()


def test_outermost_slices_survive_a_small_motion():
    """A third of a voxel leaves signal everywhere; a whole voxel leaves one slice out of view."""
    image, _ = _head((16, 20, 8))
    image += 1
    still = np.zeros(image.shape)
    for shift, n_lost in ((0.3, 0), (1.0, 1)):
        move = np.eye(4)
        move[2, 3] = shift
        lost = ~in_view(image.shape, move, still, 1, 1)
        assert lost.sum() == n_lost * 16 * 20
        assert np.array_equal(resample(image, move, still, 1, 1) == 0, lost)


def test_folds_get_no_intensity():
    """Where the map folds the factor is zero; elsewhere it is one plus the slope."""
    ramp = np.broadcast_to(0.5 * np.arange(10)[None, :, None], (3, 10, 3))
    assert np.allclose(intensity_factor(ramp, 1, 1), 1.5)
    assert not intensity_factor(3 * ramp, 1, -1).any()


def test_empty_or_unequal_images_are_refused():
    """Images must share a grid and hold signal."""
    with pytest.raises(ValueError, match="grids"):
        estimate_displacement(np.ones((4, 4, 4)), np.ones((4, 4, 5)), 1)
    with pytest.raises(ValueError, match="signal"):
        estimate_displacement(np.zeros((4, 4, 4)), np.zeros((4, 4, 4)), 1)


def test_noise_kept_by_an_interpolation_is_what_noise_shows():
    """The figure agrees with noise that was resampled; without interpolation all of it is kept."""
    mask = np.zeros((30, 30, 20), bool)
    mask[6:-6, 6:-6, 5:-5] = True
    field = 1.5 * np.sin(np.indices(mask.shape)[1] / 5.0) * mask.any(axis=1, keepdims=True)
    turn = np.eye(4)
    turn[:3, 3] = 0.4, 0.2, 0.5
    kept = noise_kept(mask.shape, [turn], field, 1, 1, mask)
    noise = np.random.default_rng(7).standard_normal(mask.shape).astype(np.float32)
    left = resample(noise + 30, turn, field, 1, 1) / intensity_factor(field, 1, 1) - 30
    assert kept == pytest.approx(left[mask].std(), rel=0.03)
    assert kept < 0.9
    assert noise_kept(mask.shape, [np.eye(4)], 0 * field, 1, 1, mask) == pytest.approx(1, abs=0.02)
