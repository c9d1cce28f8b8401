"""Laws of moved exposures: noise keeps its colour, content comes back, and others stand in for what left."""

import numpy as np
import pytest
from moved_micrographs import blobs, moved
from scipy import ndimage

from n2a_bids.algorithms.micrographs.alignment import (
    align,
    exposure_weights,
    fill_unmeasured,
    move_flags_back,
    move_parts_back,
    shift_back,
)
from n2a_bids.algorithms.micrographs.drift import Drift

TWO_PIXELS = Drift(np.array([[0.0, 0.0], [2.0, 0.0]]), np.zeros(2), np.ones(2))
"""The second exposure shows at x + 2 what the first shows at x."""


def test_a_shift_leaves_noise_white_and_content_in_place():
    """Level and neighbour correlation stay; content comes back; whole pixels are copied."""
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((200, 300)).astype(np.float32)
    shifted, covered = shift_back(noise, np.array([5.5, -3.5]))
    inner = shifted[10:-10, 10:-10]
    assert inner.std() == pytest.approx(1, abs=0.02)
    assert np.corrcoef(inner[:-1].ravel(), inner[1:].ravel())[0, 1] == pytest.approx(0, abs=0.02)
    assert covered.mean() == pytest.approx((200 - 8) * (300 - 6) / 60_000, rel=0.02)
    whole, inside = shift_back(noise, np.array([2.0, -1.0]))
    np.testing.assert_array_equal(whole[:-2, 1:], noise[2:, :-1])
    assert inside[:-2, 1:].all()


def test_aligned_exposures_show_one_thing():
    """Moved by a shift and a turn, and moved back."""
    image = blobs(np.random.default_rng(5)).astype(np.float32)
    exposures = np.stack([image, moved(image, (4.3, -6.8)), moved(image, (1.2, 0.4), 1.5)])
    drift = Drift(np.array([[0, 0], [4.3, -6.8], [1.2, 0.4]]), np.array([0, 0, 1.5]), np.ones(3))
    aligned, covered = align(exposures, drift)
    inner = ndimage.binary_erosion(covered, iterations=6)
    assert inner.mean() > 0.8
    assert np.abs(aligned - image)[:, inner].max() < 0.25
    np.testing.assert_array_equal(aligned[0], exposures[0])


def test_flags_move_with_their_pixels():
    """With the neighbours; a shift by half a pixel flags both pixels that one lies between, and near ones."""
    flags, shifts = np.zeros((40, 40), bool), [(0, 0), (3, -2), (3.5, -2)]
    flags[20, 20] = True
    drift = Drift(np.array(shifts, float), np.zeros(3), np.ones(3))
    still, whole, half = (move_flags_back(flags, drift, index) for index in range(3))
    np.testing.assert_array_equal(still, ndimage.binary_dilation(flags))
    np.testing.assert_array_equal(whole, np.roll(still, (-3, 2), (0, 1)))
    assert half[15:19, 22].all() and half.sum() < 25
    assert np.abs(np.argwhere(half) - (16.5, 22)).max() < 6


def test_parts_move_with_their_exposures():
    """Those of the first stay; what lies beyond the border has the part of the nearest pixel."""
    part = np.ones((2, 8, 8, 1), np.float32)
    part[:, :4] = 0.25
    found = move_parts_back(part, TWO_PIXELS)[..., 0]
    np.testing.assert_array_equal(found[0], part[0, ..., 0])
    np.testing.assert_array_equal(found[1][:2], np.full((2, 8), np.float32(0.25)))
    np.testing.assert_array_equal(found[1][2:], np.ones((6, 8)))


def test_whole_exposures_tell_a_pixel_alone_and_parts_where_there_is_none():
    """What none has measured stays as the first was filled."""
    measured = np.array([[True, False, False, False], [True, True, False, False]])[..., None, None]
    part = np.array([[1.0, 0.5, 0.25, 0], [1, 1, 0.75, 0]], np.float32)[..., None, None]
    plain, told = exposure_weights(measured, None), exposure_weights(measured, part)
    assert plain[..., 0, 0].tolist() == [[True, False, True, True], [True, True, False, False]]
    np.testing.assert_array_equal(told[..., 0, 0], [[1, 0, 0.25, 1], [1, 1, 0.75, 0]])


def test_others_stand_in_in_the_unit_of_the_exposure():
    """Exposures of half the dose show half the intensity; measured pixels stay as they are."""
    data = np.array([[10.0, 1.0, 7.0], [5.0, 4.0, 3.0]], np.float32)[..., None, None, None]
    measured = np.array([[True, False, True], [True, True, False]])[..., None, None]
    fill_unmeasured(data, measured, exposure_weights(measured, None), np.array([1.0, 2.0]))
    np.testing.assert_allclose(data[..., 0, 0, 0], [[10, 8, 7], [5, 4, 3.5]])
