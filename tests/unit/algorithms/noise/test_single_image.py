"""The noise level of one image, from itself: near the truth whatever the air is like, never far above it."""

from __future__ import annotations

import numpy as np
import pytest
from acquisitions import zero_filled

from n2a_bids.algorithms.noise.single_image import estimate_noise
from n2a_bids.algorithms.preparation.zero_filling import find_measured_shape, resize_mask, resize_spectrum
from n2a_bids.lab.benchmark.truths import crop_truth, template_truth


@pytest.fixture(scope="module")
def brain() -> tuple[np.ndarray, np.ndarray]:
    """A box of the ICBM152 brain with 16 voxels of air above, white matter 100, and its mask."""
    truth = crop_truth(template_truth(), (56, 64, 56))
    air = ((0, 0), (0, 0), (0, 16))
    image = np.pad(truth.data, air) * np.float32(100 / np.percentile(truth.data[truth.mask], 80))
    return image, np.pad(truth.mask, air)


def noisy(image: np.ndarray, noise_sd: float, seed: int = 0) -> np.ndarray:
    """A complex image with white noise."""
    real, imaginary = np.random.default_rng(seed).normal(0, noise_sd, (2, *image.shape))
    return image + real + 1j * imaginary


@pytest.mark.parametrize("snr", [5, 10, 20, 40])
@pytest.mark.parametrize("air", ["measured", "zeroed", "defaced"])
def test_level_is_near_the_truth(brain, snr, air):
    """SNR of white matter 5 to 40; air as measured, zero, or zero in a half."""
    image, mask = brain
    magnitude = np.abs(noisy(image, 100 / snr))
    if air == "zeroed":
        magnitude[~mask] = 0
    if air == "defaced":
        magnitude[:28, :, 50:] = 0
        mask = mask & (magnitude > 0)
    found = estimate_noise(magnitude.astype(np.float32), mask)
    assert 0.92 < found.level * snr / 100 < 1.08
    assert found.uncertainty < 0.15
    assert not found.is_correlated
    assert (found.magnitude is not None) == found.saw_air == (air != "zeroed")


def test_one_level_gives_one_value_and_an_uneven_one_a_map(brain):
    """Scatter of the estimate is no map; noise that doubles is."""
    image, mask = brain
    even = estimate_noise(np.abs(noisy(image, 5)).astype(np.float32), mask)
    assert np.ptp(even.noise_sd) == 0
    ramp = np.linspace(3, 9, image.shape[1])[None, :, None]
    uneven = estimate_noise(np.abs(noisy(image, ramp)).astype(np.float32), mask)
    ratio = (uneven.noise_sd / ramp)[mask]
    assert np.percentile(ratio, 5) > 0.6 and np.percentile(ratio, 95) < 1.4


def test_quantised_images_keep_their_level(brain):
    """A noise SD of one grey level is no multiple of one."""
    image, mask = brain
    found = estimate_noise(np.round(np.abs(noisy(image, 1.2))).astype(np.float32), mask)
    assert 0.95 * 1.2 < found.level < 1.2 * 1.2


def test_an_image_without_noise_is_refused(brain):
    """Flat tissue of one value."""
    mask = brain[1]
    with pytest.raises(ValueError, match="no noise"):
        estimate_noise(np.where(mask, np.float32(100), np.float32(0)), mask)


@pytest.mark.parametrize("factors", [(2, 2, 1), (1.5, 1.5, 1.5)])
@pytest.mark.parametrize("snr", [5, 20])
def test_zero_filled_images_are_found_and_taken_back(brain, snr, factors):
    """The matrix to 3 %, and the level on it; the same level looks three times too low on the filled grid."""
    image, mask = brain
    shape = tuple(2 * round(size * factor / 2) for size, factor in zip(image.shape, factors, strict=True))
    scan = noisy(image, 100 / snr)
    filled = np.abs(zero_filled(scan, shape)).astype(np.float32)
    large = resize_mask(mask, shape)
    measured = find_measured_shape(filled, large)
    assert measured is not None
    np.testing.assert_allclose(measured, image.shape, rtol=0.03)
    back = resize_spectrum(filled, measured)
    apart = tuple(slice(None, None, -(-size // small)) for size, small in zip(shape, measured, strict=True))
    found = estimate_noise(back, resize_mask(mask, measured), (filled[apart], large[apart]))
    assert 0.88 < found.level * snr / 100 < 1.1


def test_images_as_measured_are_not_taken_for_filled(brain):
    """Neither noisy nor nearly clean ones."""
    image, mask = brain
    for snr in (5, 40, 200):
        assert find_measured_shape(np.abs(noisy(image, 100 / snr)).astype(np.float32), mask) is None


def test_resizing_a_spectrum_there_and_back_loses_nothing(brain):
    """Odd and even sizes."""
    image = brain[0][:31, :32, :33]
    there = resize_spectrum(image, (47, 64, 50))
    np.testing.assert_allclose(resize_spectrum(there, image.shape), image, atol=2e-3 * image.max())
    assert abs(there.mean() - image.mean()) < 1e-3 * image.max()


def test_a_box_of_a_zero_filled_image_keeps_its_ends(brain):
    """Cut across the brain after the filling: error over the range, also of the outermost voxels."""
    image = brain[0]
    shape = tuple(3 * size // 2 for size in image.shape)
    box = zero_filled(image, shape).real[tuple(slice(size // 4, 3 * size // 4) for size in shape)]
    back = resize_spectrum(resize_spectrum(box, tuple(2 * (size // 3 + 1) for size in box.shape)), box.shape)
    lost = (back - box) / np.ptp(box)
    assert np.sqrt(np.mean(lost**2)) < 3e-3 and np.abs(lost).max() < 0.05
