"""Laws of what stays in the image while the specimen drifts: it tells no drift, and the first shows it."""

from pathlib import Path

import numpy as np
import pytest
from moved_micrographs import specimen

from n2a_bids.denoising.micrographs import drifted
from n2a_bids.denoising.micrographs.exposures import align_exposures
from n2a_bids.io.micrographs import Micrograph

SHIFT = (-6, -8)


def counted(expected, rng):
    return np.clip(rng.normal(expected, np.sqrt(3 * expected + 1)), 0, 255).round()


def data_bar(image, rng):
    image[:, -16:] = 0
    image[10:200, -11:-6] = 255 * (np.random.default_rng(5).random((190, 5)) < 0.5)
    return image


def scale_bar(image, rng):
    image[180:240, 236:241] = 255
    image[190:230:4, 222:231] = 255
    image[190:230, 224] = 255
    return image


def black_frame(image, rng):
    framed = np.zeros_like(image)
    framed[8:-8, 8:-8] = image[8:-8, 8:-8]
    return framed


def aperture(image, rng):
    x, y = np.indices(image.shape) - 128
    share = np.clip((112 - np.hypot(x, y)) / 2, 0, 1)
    return (image * share + rng.normal(20, 3, image.shape)).round()


FIXED = [data_bar, scale_bar, black_frame, aperture]


def exposures(fixed, shifts=((0, 0), SHIFT), contrast=25.0):
    rng = np.random.default_rng(7)
    return [fixed(counted(specimen(shift, contrast), rng), rng) for shift in shifts]


def micrographs(images):
    return [
        Micrograph(image[..., None, None].astype(np.uint16), 16, None, Path(f"{index}.tif"))
        for index, image in enumerate(images)
    ]


@pytest.mark.parametrize("fixed", FIXED)
def test_the_drift_is_that_of_the_specimen(fixed):
    """Whatever stays in the image; nothing turns."""
    found = align_exposures(micrographs(exposures(fixed)))
    np.testing.assert_allclose(found.drift.shift_pixels[1], SHIFT, atol=0.25)
    assert not found.drift.rotation_deg.any()
    assert "stay where they are in all exposures" in found.notes[0]


def test_each_of_four_exposures_is_found():
    """Also in the mean of the others, whose bars lie in several places."""
    shifts = [(-index, -2 * index) for index in range(4)]
    found = align_exposures(micrographs(exposures(data_bar, shifts)))
    np.testing.assert_allclose(found.drift.shift_pixels, shifts, atol=0.2)


def test_a_bar_beside_low_contrast_is_left_out():
    """Where it has far more contrast than the specimen."""
    found = align_exposures(micrographs(exposures(data_bar, contrast=6.0)))
    np.testing.assert_allclose(found.drift.shift_pixels[1], SHIFT, atol=0.6)


def test_the_first_keeps_its_bar_and_no_other_shows_its_own():
    """Moved onto the first, the bar of the other would cover the specimen; noise is not measured there."""
    images = exposures(data_bar)
    found = align_exposures(micrographs(images)).repetitions
    mean = found.data.mean(axis=0)[..., 0, 0]
    np.testing.assert_allclose(mean[:, -16:], images[0][:, -16:], atol=1e-3)
    error = (mean - specimen())[10:-10, 200:-18]
    assert error.std() < 1.2 * np.sqrt(3 * 100)
    assert not found.mask[:, -16:].any() and found.mask[20:-20, 20:-40].mean() > 0.98


def test_without_such_places_drift_is_estimated_once(monkeypatch):
    """As before, by all pixels."""
    calls = []
    real = drifted.estimate_drift
    monkeypatch.setattr(
        drifted, "estimate_drift", lambda planes, **options: calls.append(options) or real(planes, **options)
    )
    found = align_exposures(micrographs(exposures(lambda image, rng: image)))
    assert calls == [{}] and not found.notes
