"""Frames of one micrograph file: what spoils the sums is left out by its number, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.denoising.microscopy.frames import sum_frames
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrograph_pixels import Micrograph

TEXTURE = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal((96, 96)), 4)
SCENE = 30 + 10 * TEXTURE / TEXTURE.std()


def _movie(n_frames: int = 8, scene=SCENE, dose=1.0, drift=0.0) -> np.ndarray:
    """Frames as a camera counts them, (X, Y, F, C)."""
    rng = np.random.default_rng(n_frames)
    seen = [ndimage.shift(scene, (drift * index, 0), mode="mirror") for index in range(n_frames)]
    doses = np.broadcast_to(dose, n_frames)
    frames = [rng.poisson((one * share).clip(0)) for one, share in zip(seen, doses)]
    return np.stack(frames, axis=-1)[..., None].astype(np.uint8)


def _stack(movie: np.ndarray) -> Micrograph:
    return Micrograph(movie, 8, None, Path("movie.tif"), "TYX")


def _spoil(movie: np.ndarray, how: str) -> np.ndarray:
    match how:
        case "one value in all pixels":
            movie[:, :, 3] = 0
            movie[:, :, 6] = 255
        case "frame 2 once more":
            movie[:, :, 3] = movie[:, :, 6] = movie[:, :, 2]
        case "does not show what the others do":
            movie[40:, :, 3] = 0
            movie[:, :, 6] = np.roll(movie[:, :, 6], 40, axis=0)
    return movie


@pytest.mark.parametrize(
    "how", ["one value in all pixels", "frame 2 once more", "does not show what the others do"]
)
def test_the_sums_are_those_of_the_sound_frames(how):
    """Blank, saturated, stored twice, lost in part, jumped: as if the file did not hold them."""
    movie = _movie()
    groups, notes = sum_frames(_stack(_spoil(movie.copy(), how)), 2)
    sound, none = sum_frames(_stack(np.delete(movie, (3, 6), axis=2)), 2)
    assert none == ()
    assert [note.partition(":")[2].partition(",")[0] for note in notes] == [" frame 3", " frame 6"]
    assert all(how in note and note.startswith("movie.tif") for note in notes)
    for group, expected in zip(groups, sound, strict=True):
        np.testing.assert_array_equal(group.pixels, expected.pixels)


@pytest.mark.parametrize(
    "movie",
    [
        _movie(2),
        _movie(3),
        _movie(20, dose=0.05),
        _movie(8, scene=np.full((96, 96), 30.0)),
        _movie(8, drift=0.6),
        _movie(8, dose=np.linspace(0.2, 1.5, 8)),
        _movie(8, scene=SCENE[:20, :20]),
    ],
    ids=["two", "three", "few counts", "nothing to see", "drift", "beam that rises", "small"],
)
def test_sound_frames_are_all_used(movie):
    """Noise, drift, beams that change and empty fields of view are no faults."""
    groups, notes = sum_frames(_stack(movie), 2)
    assert notes == ()
    for index, group in enumerate(groups):
        np.testing.assert_allclose(group.pixels[:, :, 0], movie[:, :, index::2].mean(axis=2), rtol=1e-6)


def test_too_few_sound_frames_are_an_error_that_tells_what_was_left_out():
    """Of three frames one is blank and one is stored twice: no two halves are left."""
    movie = _movie(3)
    movie[:, :, 0] = 0
    movie[:, :, 2] = movie[:, :, 1]
    with pytest.raises(BIDSDataError, match=r"at least 2 frames .*found 1: .*frame 0.*frame 2.*fewer groups"):
        sum_frames(_stack(movie), 2)
