"""What stays in the image is found to the pixel; what is alike by chance, or drifts, is none of it."""

import numpy as np
import pytest
from moved_micrographs import EDGE, specimen

from n2a_bids.algorithms.micrographs.registration.fixed_places import (
    find_dark_surround,
    find_fixed_places,
    without_thin_lines,
)

SHIFT = (-6, -8)


def exposures(contrast=25.0):
    """Two exposures between which the specimen drifts, (R, X, Y)."""
    expected = [specimen(shift, contrast) for shift in ((0, 0), SHIFT)]
    return np.random.default_rng(2).poisson(expected).astype(np.float32)


PLACES = {
    "data bar": (slice(-16, None), slice(None)),
    "scale bar": (slice(180, 240), slice(236, 241)),
    "corner": (slice(20), slice(20)),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("value", [0, 255])
def test_ink_is_found_to_a_pixel(place, value):
    """Beside it, pixels that are alike by chance."""
    images = exposures()
    images[:, *place] = value
    expected = np.zeros((EDGE, EDGE), bool)
    expected[place] = True
    found = find_fixed_places(images[..., None, None])
    assert found[expected].all() and found.sum() < 1.02 * expected.sum()


def test_a_single_exposure_and_copies_have_no_fixed_place():
    """Nothing tells what stays."""
    images = exposures()[:1]
    images[:, -16:] = 0
    for some in (images, np.repeat(images, 2, axis=0)):
        assert not find_fixed_places(some[..., None, None]).any()


@pytest.mark.parametrize("dose", [0.02, 0.5, 5.0])
def test_dark_of_the_specimen_drifts_with_it(dose):
    """Few counts, and black without a count around cells, are alike in all exposures, and no frame."""
    rng = np.random.default_rng(2)
    cells = np.maximum(specimen() - 110, 0), np.maximum(specimen(SHIFT) - 110, 0)
    images = np.stack([rng.poisson(dose * cell) for cell in cells]).astype(np.float32)
    assert not find_fixed_places(images[..., None, None]).any()


def test_noise_of_few_values_is_alike_by_chance():
    """Small areas of it are none that stay, also where only a part has so little noise."""
    rng = np.random.default_rng(4)
    level = np.where(np.hypot(*(np.indices((EDGE, EDGE)) - 128)) < 80, 20.0, 1.0)
    for _ in range(3):
        images = rng.normal(100, level, (2, EDGE, EDGE)).round()
        assert not find_fixed_places(images[..., None, None]).any()


def test_dead_lines_of_the_camera_are_no_frame():
    """Others show the specimen in their place, where it has drifted."""
    fixed = np.zeros((64, 64), bool)
    fixed[30] = fixed[50:60, 50:60] = True
    assert not without_thin_lines(fixed)[30].any() and without_thin_lines(fixed)[55, 55]


def test_the_dark_around_an_aperture_is_found_and_widened():
    """By the softness of its edge; where it moves with the specimen it is none."""
    away = np.hypot(*(np.indices((EDGE, EDGE)) - 128))
    images = np.where(away < 100, exposures(contrast=8.0), 2)
    dark = find_dark_surround(images)
    assert dark[away > 104].all() and not dark[away < 92].any()
    images[1] = np.roll(images[1], 40, axis=0)
    assert not find_dark_surround(images).any()
    assert not find_dark_surround(exposures()).any()
