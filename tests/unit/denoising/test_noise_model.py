"""What records, sidecars and pages tell of the noise."""

from types import SimpleNamespace

import nibabel as nb
import numpy as np
import pytest
from acquisitions import coloured, kept_kspace
from scipy import ndimage

from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.denoising.measures import noise_sd_map
from n2a_bids.denoising.noise_model import describe_noise
from n2a_bids.denoising.warnings import filter_warnings
from n2a_bids.interfaces.derivatives.sidecar_fields import denoising_sidecar
from n2a_bids.lab.benchmark.truths import crop_truth, template_truth
from n2a_bids.record.denoising import DenoisingRecord, NoiseModelRecord
from n2a_bids.record.typed_json import from_json, to_json
from n2a_bids.reports.pages.summary import noise_words

SHAPE = (48, 54, 50)


def _runs(kind, noise_sd=8.0, n_runs=2, n_volumes=1):
    rng = np.random.default_rng(0)
    kept = kept_kspace(SHAPE, kind)
    grids = np.meshgrid(*[np.linspace(-1, 1, size) for size in SHAPE], indexing="ij")
    mask = sum((grid / 0.8) ** 2 for grid in grids) < 1
    clean = np.fft.ifftn(np.fft.fftn(mask * (100 + 20 * rng.standard_normal(SHAPE))) * kept)
    data = [[np.abs(clean + noise_sd * coloured(kept, rng)) for _ in range(n_volumes)] for _ in range(n_runs)]
    return Repetitions(np.moveaxis(np.array(data, np.float32), 1, -1), mask)


def _describe(repetitions, stored=()):
    return describe_noise(repetitions, noise_sd_map(repetitions), stored)


@pytest.mark.parametrize("n_volumes", [1, 3])
def test_repetitions_tell_width_and_matrix(n_volumes):
    """Of T1w images, and of diffusion series."""
    found = _describe(_runs("zero-filled by 1.5", n_volumes=n_volumes))
    assert found.source == "differences of repetitions"
    assert found.fwhm_voxels == pytest.approx((1.0, 1.65, 1.65), rel=0.1)
    assert found.acquired_matrix == pytest.approx((48, 36, 33), abs=4)
    assert found.acquired_fraction < 0.6
    assert found.is_white is False and found.looks_filtered is False


@pytest.mark.parametrize("n_volumes", [1, 3])
def test_an_unequal_gain_is_no_smooth_noise(n_volumes):
    """A difference of unequal gains would hold anatomy, and white noise would seem filtered."""
    rng, repetitions = np.random.default_rng(1), _runs("partial Fourier 6/8", n_volumes=n_volumes)
    anatomy = 300 + 60 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), 3)[..., None] / 0.02
    noise = 8 * rng.standard_normal(repetitions.data.shape)
    data = ((anatomy + noise) * np.array([1.0, 1.3])[:, None, None, None, None]).astype(np.float32)
    found = _describe(Repetitions(data, repetitions.mask))
    assert found.is_white and found.mean_fwhm_voxels == pytest.approx(1.0, abs=0.05)


def test_a_single_series_tells_it_by_what_its_volumes_have_least_in_common():
    """Of a series too short for that nothing is told."""
    found = _describe(_runs("partial Fourier 6/8", n_runs=1, n_volumes=12))
    assert found.source == "weakest components of the series"
    assert found.partial_fourier == (1.0, 0.75, 1.0)
    assert found.neighbour_correlation[1] == pytest.approx(0.21, abs=0.05)
    assert _describe(_runs("partial Fourier 6/8", n_runs=1, n_volumes=5)) is None


def test_borders_that_moved_are_no_smooth_noise():
    """Of two series half a voxel apart: what they differ in besides noise follows the signal of a volume."""
    rng, white = np.random.default_rng(2), _runs("white", n_volumes=12)
    anatomy = 300 + 60 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.5) / 0.05
    heads = np.stack([anatomy, ndimage.shift(anatomy, 0.5, order=1, mode="nearest")])
    data = heads[..., None] * np.linspace(1, 0.3, 12) + 8 * rng.standard_normal(white.data.shape)
    found = _describe(Repetitions(data.astype(np.float32), white.mask))
    assert found.fwhm_voxels == pytest.approx((1, 1, 1), abs=0.05) and not found.looks_filtered


@pytest.mark.parametrize("n_runs", [1, 2])
def test_a_series_of_few_slices_tells_it_too(n_runs):
    """As many slices as volumes that are looked at, too."""
    noise = np.random.default_rng(0).standard_normal((n_runs, 40, 44, 6, 9)).astype(np.float32)
    mask = np.ones(noise.shape[1:4], bool)
    found = describe_noise(Repetitions(100 + noise, mask), np.ones_like(noise[0]), ())
    assert found.fwhm_voxels == pytest.approx((1, 1, 1), rel=0.15)
    assert found.acquired_matrix is None


@pytest.mark.parametrize("n_further_axes", [0, 1, 3])
def test_k_space_is_looked_at_before_interpolation(n_further_axes, tmp_path):
    """Aligned runs have lost it; the file as it was stored has not, with however many axes of length 1."""
    repetitions = _runs("zero-filled by 1.5")
    stored = tmp_path / "run-1_T1w.nii.gz"
    data = repetitions.data[0].reshape(*SHAPE, *[1] * n_further_axes)
    nb.Nifti1Image(data, np.eye(4)).to_filename(stored)
    smooth = (repetitions.data + np.roll(repetitions.data, 1, axis=3)) / 2
    aligned = Repetitions(smooth, repetitions.mask)
    found = _describe(aligned, (stored,))
    assert found.acquired_matrix == pytest.approx((48, 36, 33), abs=4)


def test_filtered_images_are_named():
    """Where white noise and zero-filling are not."""
    for kind, is_named in (("Gaussian of 2 voxels", True), ("white", False), ("zero-filled by 2", False)):
        record = DenoisingRecord(noise_model=_describe(_runs(kind)))
        assert bool(filter_warnings(record)) == is_named, kind


@pytest.mark.parametrize(
    ("source", "may_differ"), [("differences of repetitions", True), ("fine detail of the image", False)]
)
def test_what_one_repetition_alone_shows_is_no_filter(source, may_differ):
    """Vessels after contrast agent: seen in differences, they are as smooth as filtered noise."""
    model = NoiseModelRecord(source=source, looks_filtered=True, fwhm_voxels=(1.4, 1.4, 1.4))
    (warning,) = filter_warnings(DenoisingRecord(noise_model=model))
    assert ("contrast agent in one" in warning) is may_differ


@pytest.mark.parametrize("kind", ["white", "zero-filled by 2", "Gaussian of 2 voxels"])
def test_one_image_tells_it_by_its_fine_detail(kind):
    """The anatomy of one image, in which all neighbours are alike, is no smooth noise."""
    truth = crop_truth(template_truth(), SHAPE)
    kept = kept_kspace(truth.data.shape, kind)
    clean = np.fft.ifftn(np.fft.fftn(truth.data) * kept)
    noise_sd = 0.05 * np.percentile(truth.data[truth.mask], 80)
    scan = np.abs(clean + noise_sd * coloured(kept, np.random.default_rng(0)))
    image = Repetitions(scan[None, ..., None].astype(np.float32), truth.mask)
    found = describe_noise(image, np.full((*scan.shape, 1), noise_sd, np.float32), ())
    assert found.source == "fine detail of the image"
    widths = {"white": (1, 1, 1), "zero-filled by 2": (1, 2.05, 2.05), "Gaussian of 2 voxels": (2, 2, 2)}
    assert found.fwhm_voxels == pytest.approx(widths[kind], abs=0.25)
    assert bool(filter_warnings(DenoisingRecord(noise_model=found))) is (kind == "Gaussian of 2 voxels")


@pytest.mark.parametrize(("n_volumes", "is_named"), [(1, True), (12, False)])
def test_what_a_readout_makes_by_itself_is_not_named(n_volumes, is_named):
    """Neighbours along one axis that are alike by 0.3: an interpolated T1w image, an echo-planar readout."""
    runs = _runs("white", n_volumes=n_volumes)
    noise = 8 * np.random.default_rng(3).standard_normal(runs.data.shape)
    smooth = ndimage.convolve1d(noise, [0.16, 1.0, 0.16], axis=2)
    found = _describe(Repetitions((300 + smooth).astype(np.float32), runs.mask))
    assert found.neighbour_correlation[1] == pytest.approx(0.3, abs=0.03)
    assert bool(filter_warnings(DenoisingRecord(noise_model=found))) is is_named


def test_echoes_and_noiseless_images_tell_nothing():
    """Their differences hold anatomy, or nothing."""
    repetitions = _runs("white")
    echoes = Repetitions(repetitions.data, repetitions.mask, same_contrast=False)
    assert _describe(echoes) is None
    assert describe_noise(repetitions, np.zeros_like(repetitions.data[0]), ()) is None


def test_record_and_sidecar_carry_it():
    """Through JSON and back; a full matrix has no partial Fourier."""
    record = DenoisingRecord(noise_model=_describe(_runs("partial Fourier 6/8")))
    assert from_json(DenoisingRecord, to_json(record), "test") == record
    sidecar = denoising_sidecar(record)
    assert sidecar["AcquiredMatrix"] == list(SHAPE)
    assert sidecar["AcquiredPartialFourier"] == [1.0, 0.75, 1.0]
    assert len(sidecar["NoiseFWHM"]) == 3
    assert "NoiseFWHM" not in denoising_sidecar(DenoisingRecord())


def test_the_page_says_it_in_one_sentence():
    """In words of a protocol; nothing where nothing is known."""
    model = NoiseModelRecord(
        fwhm_voxels=(1.0, 1.62, 1.6),
        stored_matrix=(176, 256, 256),
        acquired_matrix=(176, 170, 170),
        partial_fourier=(1.0, 0.75, 1.0),
        elliptical_plane="jk",
    )
    unit = SimpleNamespace(denoising=DenoisingRecord(noise_model=model))
    assert noise_words(unit).replace("\N{MULTIPLICATION SIGN}", "x") == (
        "Noise FWHM 1.0 x 1.6 x 1.6 voxels; acquired matrix about 176 x 170 x 170, stored 176 x 256 x 256; "
        "corners of k-space empty in the plane jk; partial Fourier about 6/8 along j."
    )
    white = NoiseModelRecord(fwhm_voxels=(1.0, 1.0, 1.0), is_white=True)
    assert "1.0 voxels (white)." in noise_words(SimpleNamespace(denoising=DenoisingRecord(noise_model=white)))
    assert noise_words(SimpleNamespace(denoising=DenoisingRecord())) == ""
