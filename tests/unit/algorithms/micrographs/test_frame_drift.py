"""The path of a specimen through the frames of a movie: found where there is one, none where it stands."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.frame_drift import estimate_frame_drift


def movie(counts, path):
    """(X, Y, F, C) frames of a specimen that lies `path` pixels, (F, 2), away from where it began."""
    field = ndimage.gaussian_filter(np.random.default_rng(6).standard_normal((160, 160)), 1.2)
    scene = 1 + field / field.std() / 4
    seen = [ndimage.shift(scene, shift, order=3)[32:-32, 32:-32] for shift in path]
    rng = np.random.default_rng(0)
    return np.stack([rng.poisson((counts * one).clip(0)) for one in seen], -1)[..., None].astype(np.uint16)


def test_a_bent_path_is_found():
    """Frame by frame, where each shows enough; blocks tell which frames they are."""
    path = np.array([[0, 0], [1, 0.5], [2, 1], [3, 1.5], [3, 3], [3, 4.5], [3, 6], [3, 7.5]])
    found = estimate_frame_drift(movie(200, path))
    np.testing.assert_allclose(found.of_frames.shift_pixels, path, atol=0.2)
    assert found.length_pixels == pytest.approx(np.hypot(3, 7.5), abs=0.2)
    assert np.concatenate(found.parts).tolist() == list(range(8))


def test_frames_of_few_counts_are_placed_in_blocks():
    """The drift between the centres of blocks is steady."""
    path = np.outer(np.arange(48), (0.15, -0.1))
    found = estimate_frame_drift(movie(2, path))
    assert 3 <= len(found.parts) < 48
    np.testing.assert_allclose(found.of_frames.shift_pixels, path, atol=0.5)


@pytest.mark.parametrize(("n_frames", "step"), [(2, 2.0), (8, 0.05)])
def test_two_frames_and_drift_that_does_not_matter_tell_no_path(n_frames, step):
    """Below half a pixel over the whole movie nothing is moved."""
    assert estimate_frame_drift(movie(200, np.outer(np.arange(n_frames), (step, 0)))) is None


@pytest.mark.slow
def test_a_specimen_that_stands_is_not_moved_by_noise():
    """One count in ten pixels of a large field: frames lie well, by some pixels, on noise that they share."""
    rng = np.random.default_rng(1)
    scene = ndimage.gaussian_filter(np.random.default_rng(7).standard_normal((512, 512)), 3)
    rate = 0.1 * (1 + scene / scene.std() / 7)
    movie = np.stack([rng.poisson(rate.clip(0)) for _ in range(6)], -1)[..., None].astype(np.uint8)
    assert estimate_frame_drift(movie) is None
