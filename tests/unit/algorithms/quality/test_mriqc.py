"""Laws of the measures of image quality, on a drawn brain whose tissues and noise are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.quality.mriqc import entropy_focus, measure_quality
from n2a_bids.algorithms.quality.tissues import find_tissues

SIZE_MM = (2.0, 2.0, 2.0)
BRIGHTNESS = {"T1w": (200, 600, 1000), "T2w": (1000, 600, 350), "FLAIR": (150, 900, 650)}
"""Of CSF, grey and white matter."""


def brain(contrast: str, noise_sd: float, shading: float = 0.0):
    """Image, mask of the brain, true labels (1 CSF, 2 grey, 3 white matter) and air."""
    rng = np.random.default_rng(0)
    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, 56),) * 3, indexing="ij"))
    folds = ndimage.gaussian_filter(rng.standard_normal((56,) * 3), 3)
    radius = np.linalg.norm(place, axis=0) + 0.05 * folds / folds.std()
    labels = np.select([radius < 0.5, radius < 0.7, radius < 0.8], [3, 2, 1], 0)
    labels[np.linalg.norm(place, axis=0) < 0.12] = 1
    image = np.array([0, *BRIGHTNESS[contrast]], float)[labels] * (1 + shading * place[0])
    image = np.hypot(image + rng.normal(0, noise_sd, image.shape), rng.normal(0, noise_sd, image.shape))
    return image.astype(np.float32), labels > 0, labels, radius > 0.95


@pytest.mark.parametrize("contrast", ["T1w", "T2w"])
@pytest.mark.parametrize("shading", [0.0, 0.25])
def test_tissues_are_found_under_noise_and_shading(contrast, shading):
    """Nine of ten voxels of each tissue are of that tissue."""
    image, mask, labels, _ = brain(contrast, 60.0, shading)
    tissues = find_tissues(image, mask, SIZE_MM)
    for label, found in ((1, tissues.csf), (2, tissues.grey), (3, tissues.white)):
        assert (labels[found] == label).mean() > 0.9


def test_an_image_without_the_order_of_tissues_tells_nothing_of_them():
    """White matter of FLAIR is neither the brightest nor the darkest; a ball of one tissue has no three."""
    image, mask, _, air = brain("FLAIR", 30.0)
    assert find_tissues(image, mask, SIZE_MM) is None
    flat = np.where(mask, 500, 5) + np.random.default_rng(1).normal(0, 5, mask.shape)
    assert find_tissues(flat.astype(np.float32), mask, SIZE_MM) is None
    assert measure_quality(image, None, mask, air).snr_total is None
    assert measure_quality(image, None, mask, air).fber > 1


def test_measures_have_the_values_of_their_definitions():
    """Noise of 60 on tissues of 200, 600 and 1000; Rayleigh noise in the air."""
    image, mask, labels, air = brain("T1w", 60.0)
    clean = np.array([0, *BRIGHTNESS["T1w"]], np.float32)[labels]
    found = measure_quality(image, find_tissues(clean + 1, mask, SIZE_MM), mask, air)
    assert found.snr_wm == pytest.approx(1000 / 60, rel=0.1)
    assert found.snr_gm == pytest.approx(600 / 60, rel=0.1)
    assert found.cjv == pytest.approx(120 / 400, rel=0.1)
    assert found.cnr == pytest.approx(400 / np.hypot(60 * np.sqrt(2), 60 * np.sqrt(2 - np.pi / 2)), rel=0.1)
    assert found.wm2max == pytest.approx(1000 / np.percentile(image, 99.95), rel=0.02)
    assert found.fber == pytest.approx(np.mean(clean[mask] ** 2.0) / (2 * 60**2), rel=0.1)


def test_less_noise_is_better_by_every_measure():
    """Before and after, in the same voxels."""
    clean, mask, _, air = brain("T1w", 1.0)
    tissues = find_tissues(clean, mask, SIZE_MM)
    before, after = (measure_quality(brain("T1w", sd)[0], tissues, mask, air) for sd in (100.0, 50.0))
    assert after.snr_total > 1.5 * before.snr_total
    assert after.cnr > before.cnr
    assert after.cjv < before.cjv
    assert after.efc < before.efc
    assert after.fber > before.fber


def test_images_without_air_have_no_measure_of_air():
    """Masked images: zero outside of the brain."""
    image, mask, _, air = brain("T1w", 20.0)
    found = measure_quality(np.where(mask, image, 0), find_tissues(image, mask, SIZE_MM), mask, air & False)
    assert found.fber is None
    assert found.cnr is not None


def test_entropy_grows_when_brightness_is_spread():
    """A ghost puts a part of every voxel elsewhere."""
    image = brain("T1w", 1.0)[0]
    ghost = 0.9 * image + 0.1 * np.roll(image, 28, axis=1)
    assert entropy_focus(ghost) > entropy_focus(image)


@pytest.mark.filterwarnings("error")
def test_an_image_of_one_value_has_no_tissues():
    """A digital phantom divides nothing by zero."""
    mask = np.zeros((40, 40, 40), bool)
    mask[5:35, 5:35, 5:35] = True
    assert find_tissues(mask.astype(np.float32), mask, (2.0, 2.0, 2.0)) is None
