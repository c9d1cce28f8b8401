"""Laws of the conditions: what scanners and sessions do to simulated images."""

import numpy as np
import pytest
from scipy import fft, ndimage

from n2a_bids.lab.simulation import kspace
from n2a_bids.lab.simulation.conditions import CONDITIONS, find_condition
from n2a_bids.lab.simulation.lesions import ball_mask
from n2a_bids.lab.simulation.parallel_imaging import GrappaScan, coil_sensitivities
from n2a_bids.lab.simulation.scans import make_receiver, scan_repetitions, spectrum_of_box

SHAPE = (48, 48, 6)
MASK = ndimage.binary_erosion(ball_mask((48, 48, 24)))[:, :, 9:15]
SCANNED = [row for row in CONDITIONS if row.is_scanned]
SINGLE_COIL = [row.name for row in SCANNED if "fourier" in row.name or "zero" in row.name] + [
    "elliptic",
    "filtered",
]


@pytest.fixture(scope="module")
def truth():
    """Return a smooth head in air, in-mask mean about 20."""
    rng = np.random.default_rng(5)
    texture = ndimage.gaussian_filter(rng.standard_normal(SHAPE), (2, 2, 1))
    head = ndimage.gaussian_filter(MASK.astype(float), (1.5, 1.5, 0))
    return (head * (20 + 2 * texture / texture.std())).astype(np.float32)


def scan(truth, name, noise_sd=0.5, n=2, seed=0):
    return scan_repetitions(truth, MASK, find_condition(name), n, noise_sd, np.random.default_rng(seed))


@pytest.mark.parametrize("row", SCANNED, ids=lambda row: row.name)
def test_same_seed_gives_the_same_scans(truth, row):
    first, second, other = (scan(truth, row.name, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.repetitions, second.repetitions)
    assert not np.array_equal(first.repetitions, other.repetitions)
    assert np.iscomplexobj(first.repetitions) == row.is_complex


@pytest.mark.parametrize("row", [row for row in SCANNED if not row.variation], ids=lambda row: row.name)
def test_noise_has_the_level_and_the_map_that_are_told(truth, row):
    scans = scan(truth, row.name, n=4)
    inside = ndimage.binary_erosion(MASK, iterations=2) & (scans.reference > 10)
    images = scans.repetitions
    if row.is_complex:
        images = (images * np.exp(-1j * scans.phase)).real
    residual = (images - images.mean(axis=0))[:, inside] * np.sqrt(4 / 3) / scans.noise_sd[inside]
    assert residual.std() == pytest.approx(1, rel=0.05)
    assert np.sqrt(np.mean(scans.noise_sd[MASK] ** 2)) == pytest.approx(0.5, rel=1e-3)
    assert abs(np.corrcoef(images[:2, inside] - scans.reference[inside])[0, 1]) < 0.1


@pytest.mark.parametrize("name", SINGLE_COIL[:-1])
def test_kspace_outside_of_what_was_acquired_is_empty(truth, name):
    """Of the complex image: magnitudes fill k-space again."""
    condition = find_condition(name)
    generator = np.random.default_rng(0)
    receiver = make_receiver(truth, MASK, condition, generator)
    image = receiver.complex_image(truth, 0.5, generator)
    power = np.abs(kspace.to_kspace(image, (0, 1, 2)))
    acquired = np.broadcast_to(receiver.scan.weight, SHAPE) > 0
    assert power[~acquired].max() < 1e-3 * power[acquired].mean()
    share = {"zero-filled": 4 / 9, "zero-filled-2": 1 / 4, "partial-fourier": 3 / 4, "elliptic": 0.67}
    share["zero-filled-partial-fourier"] = 3 / 4 * 4 / 9
    assert acquired.mean() == pytest.approx(share[name], abs=0.05)


@pytest.mark.parametrize("name", SINGLE_COIL)
def test_noise_spectrum_is_that_of_the_noise(truth, name):
    """The spectrum told to baselines is the one that differences of scans of a bright object have."""
    bright = np.full(SHAPE, 100, np.float32)
    scans = scan(bright, name, noise_sd=1.0, n=12)
    noise = scans.repetitions - scans.repetitions.mean(axis=0)
    power = np.mean(np.abs(fft.fftn(noise, axes=(1, 2, 3))) ** 2, axis=0)
    power /= power.mean()
    expected = scans.noise_spectrum
    assert expected.mean() == pytest.approx(1, rel=1e-5)
    # the phase moves the noise of a magnitude by less than a line or two of k-space
    smooth = [ndimage.uniform_filter(one, 5, mode="wrap") for one in (power, expected)]
    assert np.corrcoef([one.ravel() for one in smooth])[0, 1] > 0.95


def test_spectrum_of_a_box_keeps_the_covariance_of_neighbours(truth):
    spectrum = scan(truth, "zero-filled").noise_spectrum
    small = spectrum_of_box(spectrum, (24, 30, 6))
    whole, cut = fft.ifftn(spectrum).real, fft.ifftn(small).real
    np.testing.assert_allclose(cut[1, 0, 0] / cut[0, 0, 0], whole[1, 0, 0] / whole[0, 0, 0], atol=0.03)
    np.testing.assert_allclose(cut[0, 2, 0] / cut[0, 0, 0], whole[0, 2, 0] / whole[0, 0, 0], atol=0.03)


def test_grappa_without_noise_shows_the_object_and_no_copy_of_it(truth):
    """Aliasing of two-fold undersampling would be as strong as the object, half the field of view away."""
    generator = np.random.default_rng(1)
    scan_of = GrappaScan.calibrated(truth, coil_sensitivities(SHAPE, 8, generator), generator)
    image = scan_of.measure(truth, 0.0, generator)
    error = np.abs(image) - truth
    assert np.sqrt(np.mean(error**2)) < 0.01 * truth.mean()
    copy = np.roll(truth, SHAPE[1] // 2, axis=1)
    assert np.abs(np.vdot(error, copy)) / np.vdot(copy, copy) < 0.003


def test_grappa_makes_noise_uneven_as_its_map_says(truth):
    """Monte Carlo of many scans against the map that is told."""
    scans = scan(truth, "grappa", noise_sd=0.3, n=24)
    inside = ndimage.binary_erosion(MASK, iterations=2)
    assert scans.noise_sd[inside].max() > 1.2 * scans.noise_sd[inside].min()
    measured = ndimage.gaussian_filter(scans.repetitions.var(axis=0, ddof=1), 2)
    assert np.corrcoef(np.sqrt(measured[inside]), scans.noise_sd[inside])[0, 1] > 0.8


def test_sum_of_squares_raises_the_noise_floor(truth):
    """Air of eight coils is far above that of one (noncentral chi)."""
    air = ndimage.binary_erosion(truth < 0.01)
    one, eight = (scan(truth, name).repetitions[0][air].mean() for name in ("grappa", "grappa-sos"))
    assert eight > 2 * one


def test_filter_makes_neighbours_alike(truth):
    noise = scan(truth, "filtered").repetitions
    difference = noise[0] - noise[1]
    inside = MASK[1:] & MASK[:-1]
    assert np.corrcoef(difference[1:][inside], difference[:-1][inside])[0, 1] > 0.4


def test_sessions_differ_in_shading_and_shape_and_are_judged_by_their_mean(truth):
    scans = scan(truth, "sessions", noise_sd=0.0, n=2)
    first, second = scans.repetitions
    np.testing.assert_allclose(first, truth, atol=1e-3)
    np.testing.assert_allclose(scans.reference, (first + second) / 2, atol=1e-3)
    ratio = second[MASK] / first[MASK]
    assert 0.02 < ratio.std() < 0.3


def test_ghost_lies_half_the_field_of_view_away_and_is_no_truth(truth):
    scans = scan(truth, "ghost", noise_sd=0.0, n=3)
    np.testing.assert_allclose(scans.reference, truth, atol=1e-3)
    copy = np.roll(truth, SHAPE[1] // 2, axis=1)
    air = (truth < 0.01) & (copy > 5)
    strengths = [(run[air] / copy[air]).mean() for run in scans.repetitions]
    assert max(strengths) <= 0.0501 and len({round(s, 4) for s in strengths}) == 3
