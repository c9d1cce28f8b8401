"""Frames of one micrograph file: what spoils the sums is left out by its number, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.denoising.micrographs.exposures import align_exposures
from n2a_bids.denoising.micrographs.frames import sum_frames
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
    bits = 8 * movie.dtype.itemsize
    return Micrograph(movie, bits, None, Path("movie.tif"), "TYX")


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
    found = sum_frames(_stack(_spoil(movie.copy(), how)), 2)
    sound = sum_frames(_stack(np.delete(movie, (3, 6), axis=2)), 2)
    assert sound.notes == ()
    assert [note.partition(":")[2].partition(",")[0] for note in found.notes] == [" frame 3", " frame 6"]
    assert all(how in note and note.startswith("movie.tif") for note in found.notes)
    for group, expected in zip(found.groups, sound.groups, strict=True):
        np.testing.assert_array_equal(group.pixels, expected.pixels)


def test_a_movie_less_its_dark_frame_in_unsigned_integers_is_refused():
    """What became negative is stored as the largest counts."""
    movie = _movie().astype(np.uint16)
    dark = np.random.default_rng(5).poisson(movie.mean(), movie.shape).astype(np.uint16)
    with pytest.raises(BIDSDataError, match="as signed integers"):
        sum_frames(_stack(movie - dark), 2)


@pytest.mark.parametrize("drift", [0.0, 1.5])
def test_single_events_are_no_saturated_pixels(drift):
    """Cameras that count store 0 and one other value, which may be the largest of the type."""
    movie = np.minimum(_movie(24, scene=SCENE / 100, drift=drift), 1) * np.uint8(255)
    found = sum_frames(_stack(movie), 2)
    assert bool(found.notes) == bool(drift)
    assert len(found.drift_pixels) == (24 if drift else 0)
    expected = sum_frames(_stack(movie // 255), 2)
    for group, counts in zip(found.groups, expected.groups, strict=True):
        np.testing.assert_allclose(group.pixels, 255 * counts.pixels, atol=1e-3)


@pytest.mark.parametrize(
    "movie",
    [
        _movie(2),
        _movie(3),
        _movie(20, dose=0.05),
        _movie(8, scene=np.full((96, 96), 30.0)),
        _movie(8, dose=np.linspace(0.2, 1.5, 8)),
        _movie(8, scene=SCENE[:20, :20]),
    ],
    ids=["two", "three", "few counts", "nothing to see", "beam that rises", "small"],
)
def test_sound_frames_are_all_used(movie):
    """Noise, beams that change and empty fields of view are no faults, and nothing is moved."""
    found = sum_frames(_stack(movie), 2)
    assert found.notes == ()
    assert (found.measured_part == 1).all()
    for index, group in enumerate(found.groups):
        np.testing.assert_allclose(group.pixels[:, :, 0], movie[:, :, index::2].mean(axis=2), rtol=1e-6)


def test_too_few_sound_frames_are_an_error_that_tells_what_was_left_out():
    """Of three frames one is blank and one is stored twice: no two halves are left."""
    movie = _movie(3)
    movie[:, :, 0] = 0
    movie[:, :, 2] = movie[:, :, 1]
    with pytest.raises(BIDSDataError, match=r"at least 2 frames .*found 1: .*frame 0.*frame 2.*fewer groups"):
        sum_frames(_stack(movie), 2)


FINE = ndimage.gaussian_filter(np.random.default_rng(6).standard_normal((160, 160)), 1.2)
FINE = 1 + FINE / FINE.std() / 4


def _drifting(counts: float, path: np.ndarray, seed: int = 0) -> np.ndarray:
    """(X, Y, F, C) frames of a specimen that lies `path` pixels, (F, 2), away from where it began."""
    rng = np.random.default_rng(seed)
    seen = [ndimage.shift(FINE, shift, order=3)[32:-32, 32:-32] for shift in path]
    return np.stack([rng.poisson((counts * one).clip(0)) for one in seen], -1)[..., None].astype(np.uint16)


def _steady(n_frames: int, step: float) -> np.ndarray:
    return np.outer(np.arange(n_frames), (step, -0.6 * step))


PATHS = {
    "8 frames of many counts": (8, 200, 0.5),
    "60 frames of few": (60, 2, 0.15),
    "3 frames": (3, 400, 1.0),
    "8 frames that share no detail as they lie": (8, 200, 4.0),
    "3 frames of which the outer ones do not": (3, 400, 5.0),
}


@pytest.mark.parametrize(("n_frames", "counts", "step"), PATHS.values(), ids=PATHS)
def test_a_specimen_that_drifts_is_summed_as_if_it_stood(n_frames, counts, step):
    """The sum differs from that of still frames by its noise: blur would take half of the detail."""
    moved = sum_frames(_stack(_drifting(counts, _steady(n_frames, step))), 2)
    still = sum_frames(_stack(_drifting(counts, np.zeros((n_frames, 2)), seed=1)), 2)
    assert still.notes == () and len(moved.notes) == 1
    told = float(moved.notes[0].partition("up to ")[2].split()[0])
    assert told == pytest.approx((n_frames - 1) * step * np.hypot(1, 0.6), rel=0.15, abs=0.3)
    truth = counts * FINE[32:-32, 32:-32]
    shown = (moved.measured_part == 1).all(axis=0)[..., 0]
    assert 0.5 < shown.mean() < 1
    errors = [
        np.sqrt(
            np.mean((np.mean([group.pixels[:, :, 0, 0] for group in found.groups], 0) - truth)[shown] ** 2)
        )
        for found in (moved, still)
    ]
    assert errors[0] < 1.15 * errors[1]


def test_borders_tell_how_many_frames_show_them():
    """Their noise is that of so many exposures, though no exposure was measured there in full."""
    counts, step = 200, 1.5
    movie = _stack(_drifting(counts, np.outer(np.arange(12), (step, 0))))
    found = sum_frames(movie, 2)
    aligned = align_exposures(found.groups, measured_part=found.measured_part).repetitions
    error = (aligned.data.mean(axis=0) - counts * FINE[32:-32, 32:-32, None, None])[..., 0]
    told = aligned.n_measured
    assert told.max() == 2 and set(np.round(6 * told[told < 1]).astype(int).flat) > {1, 2, 3, 4}
    for low, high in ((0.1, 0.6), (0.6, 1), (2, 2)):
        seen = (told >= low) & (told <= high)
        noise_sd = np.sqrt(counts / 6 / told[seen])
        assert np.std(error[seen] / noise_sd) == pytest.approx(1, abs=0.15)


def test_hot_pixels_of_the_camera_are_not_smeared_along_the_path():
    """They stay while the specimen drifts: moved with the frames they would leave a streak."""
    movie = _drifting(50, _steady(12, 0.8))
    hot = movie.copy()
    hot[20:80:15, 30:70:10] += 400
    sums = [sum_frames(_stack(frames), 2).groups[0].pixels for frames in (movie, hot)]
    assert np.abs(sums[1] - sums[0]).max() < 40


@pytest.mark.parametrize("drift", [0.0, 0.3])
def test_noise_that_reaches_the_largest_value_is_averaged(drift):
    """Of photon counts in 8 bits, nearly every bright pixel is saturated in one frame of many."""
    scene = 255 * SCENE / SCENE.max() * 0.65
    counts = _movie(40, scene=scene / 25, drift=drift)
    movie = np.minimum(25 * counts.astype(int), 255).astype(np.uint8)
    assert (movie == 255).any(axis=2).mean() > 0.05
    for group in sum_frames(_stack(movie), 2).groups:
        inner = group.pixels[16:-16, 4:-4]
        assert (inner < 240).all()
        assert inner.mean() == pytest.approx(scene[16:-16, 4:-4].mean(), rel=0.03)


def test_saturated_pixels_move_with_their_frames():
    """What one frame saturates is marked where it is brought to."""
    movie = np.minimum(_drifting(50, _steady(8, 1.0)), 200)
    path = _steady(8, 1.0)
    for index in range(8):
        at = np.round(48 + path[index]).astype(int)
        movie[at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2, index] = 255
    for group in sum_frames(_stack(movie.astype(np.uint8)), 2).groups:
        full = group.pixels[:, :, 0, 0] == 255
        assert full[47:50, 47:50].all()
        # A shift by a fraction rings around what is cut off.
        assert np.abs(np.argwhere(full) - 48).max() <= 8
