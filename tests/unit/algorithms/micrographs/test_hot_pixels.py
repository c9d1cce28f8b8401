"""Hot pixels of the camera are found where the specimen drifts; grains, lattices and noise are none."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.drift import Drift
from n2a_bids.algorithms.micrographs.hot_pixels import find_camera_lines, find_hot_pixels

SHAPE = (96, 90)
PLACES = np.random.default_rng(5).integers(8, 80, (20, 2))


def _drift(*shifts: tuple[float, float]) -> Drift:
    count = len(shifts)
    return Drift(np.array(shifts, float), np.zeros(count), np.ones(count))


def _exposures(scene: np.ndarray, drift: Drift, counts: float = 20.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    moved = [ndimage.shift(scene, shift, order=1, mode="nearest") for shift in drift.shift_pixels]
    return rng.poisson(counts * np.stack(moved).clip(0)).astype(np.float32)[..., None, None]


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Smooth structure of contrast 1:2."""
    texture = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(SHAPE), 3)
    return 1 + 0.3 * texture / texture.std()


@pytest.mark.parametrize("shifts", [((0, 0), (2, 1)), ((0, 0), (1, -4), (7, 3))])
def test_pixels_that_stay_while_the_specimen_drifts_are_hot(scene, shifts):
    """Of whatever brightness, in two exposures or more, and in one of several channels."""
    data = _exposures(scene, _drift(*shifts))
    data[:, *PLACES.T] = np.random.default_rng(2).uniform(90, 255, len(PLACES))[:, None, None]
    expected = np.zeros(SHAPE, bool)
    expected[*PLACES.T] = True
    colours = np.concatenate((_exposures(scene, _drift(*shifts)), data), axis=-1)
    for images in (data, colours):
        hot = find_hot_pixels(images, _drift(*shifts))[..., 0]
        assert not (hot & ~expected).any()
        assert (hot & expected).sum() >= 0.9 * expected.sum()


def test_what_drifts_with_the_specimen_is_not_hot(scene):
    """Sharp bright grains, and a lattice whose period is the drift; nor is noise."""
    drift = _drift((0, 0), (4, 0))
    grains, lattice = scene.copy(), scene.copy()
    grains[*PLACES.T] = 10
    lattice[::4, ::4] = 10
    for image in (scene, grains, lattice):
        assert not find_hot_pixels(_exposures(image, drift), drift).any()
    assert not find_hot_pixels(_exposures(scene, drift, 0.05), drift).any()


def test_without_drift_nothing_is_known(scene):
    """A grain that is one pixel wide looks the same."""
    data = _exposures(scene, _drift((0, 0), (0.5, 0.5)))
    data[:, *PLACES.T] = 255
    assert not find_hot_pixels(data, _drift((0, 0), (0.5, 0.5))).any()


BROKEN = {"dead": (0.0, 0.0), "hot": (0.0, 250.0), "of another gain": (0.4, 0.0)}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("shift", [0, 4])
def test_columns_and_rows_unlike_those_beside_them_are_the_camera_s(scene, kind, shift):
    """One to three beside each other, whether the specimen drifts or not, in one of several channels."""
    factor, value = BROKEN[kind]
    large = np.tile(scene, (3, 3))
    data = np.concatenate([_exposures(large, _drift((0, 0), (shift, 0)), 50.0)] * 2, axis=-1)
    expected = np.zeros((*large.shape, 1), bool)
    expected[30], expected[50:53], expected[:, 40:42] = True, True, True
    data[:, expected[..., 0], :, 1] = factor * data[:, expected[..., 0], :, 1] + value
    np.testing.assert_array_equal(find_camera_lines(data), expected)


def test_the_specimen_has_no_such_lines(scene):
    """Noise, a lattice along the columns, an edge, a soft line, a line in one exposure, and a drawn one."""
    still = _drift((0, 0), (0, 0))
    lattice, edge, soft = scene.copy(), scene.copy(), scene.copy()
    lattice[::3] *= 1.5
    edge[40:] *= 2
    soft += ndimage.gaussian_filter1d(np.eye(SHAPE[0])[40], 1.5)[:, None] * 5
    images = [_exposures(image, still, 50.0) for image in (scene, lattice, edge, soft)]
    images.append(_exposures(scene, still, 50.0))
    images[-1][0, 40] *= 2
    images.append(images[0].copy())
    images[-1][:, 60:] = 20
    images[-1][:, 75] = 255
    for data in images:
        assert not find_camera_lines(data).any()
