"""The noise level of one image, from itself: near the truth whatever the air is like, never far above it."""

from __future__ import annotations

import numpy as np
import pytest
from acquisitions import zero_filled
from scipy import ndimage

from n2a_bids.algorithms.noise.single_image import estimate_noise
from n2a_bids.algorithms.preparation.repetitions import prepare
from n2a_bids.algorithms.preparation.zero_filling import find_measured_shape, resize_mask, resize_spectrum
from n2a_bids.algorithms.repetitions import Repetitions
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


@pytest.mark.parametrize("snr", [5, 10, 20])
def test_noise_that_was_cut_off_at_zero_is_that_of_no_magnitude(brain, snr):
    """Real parts whose negative half became zero: the level is that of the tissue; no floor is taken out."""
    image, mask = brain
    cut = np.maximum(noisy(image, 100 / snr).real, 0).astype(np.float32)
    for stored in (cut, np.round(20 * cut)):
        found = estimate_noise(stored, mask)
        assert found.magnitude is None and found.saw_air  # so that it is taken for no magnitude of unseen air
        assert 0.92 < found.level * snr / stored[mask].mean() * cut[mask].mean() / 100 < 1.08
    pair = np.stack([np.maximum(noisy(image, 100 / snr, seed).real, 0) for seed in (1, 2)])
    assert prepare(Repetitions(pair[..., None].astype(np.float32), mask)).magnitude is None


def test_dark_tissue_of_a_view_without_air_is_no_air(brain):
    """What lies around the brain is dark and spreads unlike noise: it tells nothing of the level."""
    image, mask = (one[..., :-16] for one in brain)
    dark = np.random.default_rng(3).exponential(3, image.shape)
    magnitude = np.where(mask, np.abs(noisy(image, 6)), dark).astype(np.float32)
    found = estimate_noise(magnitude, mask)
    assert 0.92 < found.level / 6 < 1.08
    assert found.magnitude is None


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_air_that_is_quieter_than_the_brain_does_not_tell_its_noise(brain, share):
    """As parallel imaging and coils leave it: air of half the noise; it counts where it is a little below."""
    image, mask = brain
    here = ndimage.binary_dilation(mask, iterations=3)
    magnitude = np.where(here, np.abs(noisy(image, 5)), np.abs(noisy(0 * image, 5 * share)))
    found = estimate_noise(magnitude.astype(np.float32), mask)
    assert 0.88 < found.level / 5 < 1.08


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


def merged(image: np.ndarray, factor: int) -> np.ndarray:
    """Means over cubes of voxels."""
    sizes = [size // factor for size in image.shape]
    inner = image[tuple(slice(0, size * factor) for size in sizes)]
    return inner.reshape([part for size in sizes for part in (size, factor)]).mean(axis=(1, 3, 5))


def windowed(scan: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """A magnitude image whose k-space went through Hamming's window along some axes."""
    kspace = np.fft.fftn(scan)
    for axis in axes:
        window = 0.54 + 0.46 * np.cos(2 * np.pi * np.fft.fftfreq(scan.shape[axis]))
        kspace = kspace * np.expand_dims(window, [other for other in range(3) if other != axis])
    return np.abs(np.fft.ifftn(kspace)).astype(np.float32)


@pytest.mark.parametrize("axes", [(0,), (0, 1)])
@pytest.mark.parametrize("snr", [10, 20])
def test_the_level_of_filtered_noise_is_that_of_all_of_it(brain, snr, axes):
    """A window keeps a sixteenth of the finest detail along an axis; neighbours are alike by 0.63 then."""
    image, mask = brain
    found = estimate_noise(windowed(noisy(image, 100 / snr), axes), mask)
    kept = np.sqrt(0.54**2 + 0.46**2 / 2) ** len(axes)
    assert 0.8 < found.level / (kept * 100 / snr) < 1.1
    expected = [0.625 * (axis in axes) for axis in range(3)]
    np.testing.assert_allclose(found.covariance.along_axes[:, 1], expected, atol=0.06)
    assert 0.06 < found.uncertainty < 0.3


@pytest.mark.parametrize("snr", [5, 20, 60])
def test_anatomy_between_coarse_voxels_is_no_coloured_noise(brain, snr):
    """Voxels three times as long along one axis, whose differences hold anatomy: white along the others."""
    image, mask = brain
    thick = image[:, :, :69].reshape(*image.shape[:2], 23, 3).mean(axis=-1)
    found = estimate_noise(np.abs(noisy(thick, 100 / snr)).astype(np.float32), mask[:, :, 1:69:3])
    assert found.covariance is None


@pytest.mark.parametrize("factor", [2, 3])
def test_fine_detail_of_coarse_voxels_is_known_to_be_anatomy(factor):
    """Little noise in a whole brain of 2 or 3 mm: the level is lowered, and doubted; strong noise is not."""
    truth = template_truth()
    image, mask = (
        merged(np.asarray(one, np.float32), factor)
        for one in (truth.data * (100 / np.percentile(truth.data[truth.mask], 80)), truth.mask)
    )
    noise = np.random.default_rng(0).standard_normal(image.shape).astype(np.float32)
    weak = estimate_noise(image + np.float32(0.7) * noise, mask > 0.5)
    assert weak.level < 1.65 * 0.7
    assert weak.uncertainty > 0.3
    strong = estimate_noise(image + np.float32(7) * noise, mask > 0.5)
    assert strong.level == pytest.approx(7, rel=0.06)
    assert strong.uncertainty < 0.07


def test_interpolated_noise_is_not_taken_for_anatomy():
    """Its power beats with the grid, from place to place, but not where there is structure."""
    truth = template_truth()
    image = truth.data * (100 / np.percentile(truth.data[truth.mask], 80))
    scan = image + np.random.default_rng(0).normal(0, 7, image.shape)
    turn = np.array([[0.995, 0.08, 0], [-0.08, 0.995, 0.03], [0, -0.03, 0.9995]])
    moved, mask = (
        ndimage.affine_transform(one.astype(np.float32), turn, (-7, 9, 3), order=1)
        for one in (scan, truth.mask)
    )
    assert estimate_noise(moved, mask > 0.5).uncertainty < 0.15


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


@pytest.mark.parametrize("snr", [5, 20, 60, 500])
@pytest.mark.parametrize("kind", ["fine", "smooth", "very smooth", "partial Fourier 6/8", "Hann"])
def test_filtered_images_are_not_taken_for_filled(brain, snr, kind):
    """What falls everywhere has no edge: on a smaller matrix anatomy would be taken for noise."""
    image, mask = (one[8:52, 8:52, 20:66] for one in brain)
    x, y, z = np.meshgrid(*map(np.fft.fftfreq, image.shape), indexing="ij", sparse=True)
    smooth = {"fine": 0.5, "smooth": 0.8, "very smooth": 1.1}
    if kind in smooth:
        kept = np.exp(-2 * np.pi**2 * smooth[kind] ** 2 * (x**2 + y**2 + z**2))
    elif kind == "Hann":
        kept = np.prod([0.5 + 0.5 * np.cos(2 * np.pi * one) for one in np.broadcast_arrays(x, y, z)], axis=0)
    else:
        kept = np.broadcast_to(y > -0.25, image.shape)
    filtered = np.abs(np.fft.ifftn(np.fft.fftn(noisy(image, 100 / snr)) * kept)).astype(np.float32)
    found = find_measured_shape(filtered, mask)
    # A Hann window is empty at its end: that a little of it is left out loses nothing.
    assert found is None or (kind == "Hann" and min(np.divide(found, image.shape)) > 0.7)


@pytest.mark.parametrize("snr", [5, 40])
def test_zero_filling_is_found_behind_a_window(brain, snr):
    """Hamming's, as scanners apply it before they fill; and nothing along the axis that was not filled."""
    image, mask = brain
    scan = np.fft.fftn(noisy(image, 100 / snr))
    for axis in (0, 1):
        window = 0.54 + 0.46 * np.cos(2 * np.pi * np.fft.fftfreq(image.shape[axis]))
        scan = scan * np.expand_dims(window, [other for other in range(3) if other != axis])
    shape = (84, 96, image.shape[2])
    filled = np.abs(zero_filled(np.fft.ifftn(scan), shape)).astype(np.float32)
    measured = find_measured_shape(filled, resize_mask(mask, shape))
    np.testing.assert_allclose(measured, image.shape, rtol=0.04)
    assert measured[2] == image.shape[2]


def test_borders_of_a_drawing_are_no_noise(brain):
    """Of a few values, finely divided; the same values with noise have that of the noise."""
    image, mask = brain
    drawn = np.digitize(image, [20, 55, 75, 90]).astype(np.float32) * 25
    with pytest.raises(ValueError, match=r"no noise is seen.*values lie 25 apart"):
        estimate_noise(drawn, mask)
    coarse = np.round(np.abs(noisy(image, 5)) / 8).astype(np.float32)
    assert 0.85 < estimate_noise(coarse, mask).level * 8 / np.hypot(5, 8 / np.sqrt(12)) < 1.15


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("n_slices", [1, 2, 3, 6])
def test_level_of_few_slices_is_near_the_truth(brain, axis, n_slices):
    """Of a single one, too: detail is looked for along the axes that there are."""
    image, mask = brain
    slices = np.arange(n_slices) + (28 if axis == 0 else 30)
    part, inside = (one.take(slices, axis) for one in (np.abs(noisy(image, 5)).astype(np.float32), mask))
    assert 0.85 < estimate_noise(part, inside).level / 5 < 1.25


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
