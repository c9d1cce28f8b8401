"""Odd frames of a movie are found by their number; noise, dose and black level make none odd."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.odd_frames import constant_frames, repeated_frames, unlike_frames

FIELD = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal((64, 72)), 4)
SCENE = 1 + 0.3 * FIELD / FIELD.std()


def movie(dose=50.0, black=0.0, n_frames=8):
    """(X, Y, F, C) frames of a camera, each with its own dose and black level."""
    shares = np.broadcast_to(dose, n_frames)
    expected = SCENE[..., None] * shares + np.broadcast_to(black, n_frames)
    return np.random.default_rng(3).poisson(expected.clip(0))[..., None].astype(np.uint16)


def test_constant_frames_are_those_of_one_value():
    """Dark or saturated, not those with a single pixel of another value."""
    frames = movie()
    frames[:, :, 2], frames[:, :, 5], frames[:, :, 6] = 0, 65535, 7
    frames[0, 0, 6] = 8
    assert constant_frames(frames) == [2, 5]


def test_repeated_frames_name_the_first_of_them():
    """To the bit, however often."""
    frames = movie()
    frames[:, :, 4] = frames[:, :, 7] = frames[:, :, 1]
    assert repeated_frames(frames) == {4: 1, 7: 1}
    frames[3, 3, 7] += 1
    assert repeated_frames(frames) == {4: 1}


ODD = {
    "lost in part": lambda frame: np.where(np.arange(64)[:, None] < 30, 0, frame),
    "jumped": lambda frame: np.roll(frame, 24, axis=0),
    "of noise alone": lambda frame: np.random.default_rng(4).poisson(50, frame.shape),
}


@pytest.mark.parametrize("spoil", ODD.values(), ids=ODD)
def test_a_frame_that_shows_something_else_is_unlike(spoil):
    """And no other."""
    frames = movie()
    frames[:, :, 3, 0] = spoil(frames[:, :, 3, 0])
    assert unlike_frames(frames) == [3]


@pytest.mark.parametrize(
    "frames",
    [
        movie(),
        movie(dose=0.05),
        movie(dose=np.linspace(10, 80, 8)),
        movie(black=np.linspace(0, 200, 8)),
        movie(n_frames=2),
        movie()[:6],
    ],
    ids=["many counts", "few counts", "beam that rises", "black level that rises", "two frames", "tiny"],
)
def test_sound_frames_are_alike(frames):
    assert unlike_frames(frames) == []
