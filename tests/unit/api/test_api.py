"""The Python functions: images of every kind in, images and records out, and no file left behind."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from types import SimpleNamespace

import nibabel as nb
import numpy as np
import pytest
import torch
from dwi_dataset import head, table
from scipy import ndimage
from small_dataset import head_phantom

import n2a_bids
from n2a_bids.errors import BIDSDataError, ConfigError, DenoisingError

AFFINE = np.array([[4.0, 0, 0, -78], [0, 4, 0, -86], [0, 0, 4, -70], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def runs():
    """Two noisy images of one head, and its brain."""
    image, brain = head_phantom()
    noise = np.random.default_rng(0).normal(0, 40, (2, *image.shape))
    return [nb.Nifti1Image((image + one).astype(np.float32), AFFINE) for one in noise], brain


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path, monkeypatch):
    """What the functions write is gone when they return."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert not list(tmp_path.glob("n2a_*"))


def test_paths_images_and_arrays_are_the_same(runs, tmp_path):
    """And the state of the caller's torch is left alone."""
    images, brain = runs
    torch.manual_seed(7)
    expected, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(7)
    images[0].to_filename(tmp_path / "one.nii.gz")
    mixed = [tmp_path / "one.nii.gz", (images[1].get_fdata(), AFFINE)]
    results = [
        n2a_bids.denoise(given, (brain, AFFINE), strategy="mean", align=False) for given in (images, mixed)
    ]
    first, second = (found.image.get_fdata() for found in results)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, np.mean([one.get_fdata() for one in images], axis=0), atol=0.5)
    assert np.array_equal(results[0].image.affine, AFFINE) and results[0].alignment is None
    assert float(np.abs(results[0].residual.get_fdata()).max()) == 0
    assert torch.rand(1) == expected and torch.get_num_threads() == threads


@pytest.mark.parametrize("threads", [1, 2])
def test_as_many_threads_work_as_were_asked_for(runs, threads):
    images, brain = runs
    told: list[str] = []
    n2a_bids.denoise(
        images, (brain, AFFINE), strategy="mean", align=False, threads=threads, report=told.append
    )
    assert [line for line in told if line.endswith(f" {threads} threads")]


def test_values_in_memory_keep_their_precision_whatever_the_header_was(runs):
    """The header of an 8-bit file, with other values; a mask on another grid of the same world."""
    images, brain = runs
    header = nb.Nifti1Header()
    header.set_data_dtype(np.uint8)
    given = [nb.Nifti1Image(one.get_fdata(), AFFINE, header) for one in images]
    mask = nb.Nifti1Image(brain.astype(np.uint8), AFFINE).as_reoriented(np.array([[0, -1], [1, 1], [2, 1]]))
    assert not np.array_equal(mask.affine, AFFINE)
    found = n2a_bids.denoise(given, mask, strategy="mean", align=False)
    expected = n2a_bids.denoise(images, (brain, AFFINE), strategy="mean", align=False)
    np.testing.assert_allclose(found.image.get_fdata(), expected.image.get_fdata(), atol=1e-3)
    np.testing.assert_array_equal(found.mask.get_fdata() > 0, brain)


def test_moved_repetitions_are_aligned(runs):
    """The motion is found, told in the record, and undone; the mask may be given."""
    images, brain = runs
    shifted = AFFINE.copy()
    shifted[:3, 3] += (6.0, -3.0, 2.0)
    moved = nb.Nifti1Image(images[1].get_fdata(dtype=np.float32), shifted)
    mask = (ndimage.binary_dilation(brain), AFFINE)
    found = n2a_bids.align([images[0], moved], mask)
    other = next(index for index in range(2) if not np.allclose(found.transforms[index], np.eye(4)))
    np.testing.assert_allclose(np.abs(found.transforms[other][:3, 3]), (6, 3, 2), atol=0.5)
    assert found.accepted == (0, 1) and len(found.record.repetitions) == 2
    aligned = [one.get_fdata()[brain] for one in found.images]
    assert np.corrcoef(*aligned)[0, 1] > 0.9


@pytest.mark.slow
def test_a_given_mask_is_that_of_the_result(runs):
    """On its grid, or in the world of the first image: where the head moved it lies beside other brains.

    The other image is the quieter one, and would be the reference if no mask was given.
    """
    images, brain = runs
    moved = AFFINE.copy()
    moved[:3, 3] += (0.0, 0.0, 40.0)
    quiet = (head_phantom()[0] + np.random.default_rng(1).normal(0, 10, brain.shape), moved)
    cut = AFFINE.copy()
    cut[:3, 3] += AFFINE[:3, :3] @ (2, 2, 2)
    for given, order in (((brain, AFFINE), 1), ((brain[2:, 2:, 2:], cut), 1), ((brain, AFFINE), -1)):
        found = n2a_bids.align([images[0], quiet][::order], given)
        np.testing.assert_array_equal(found.mask.get_fdata() > 0, brain)
        np.testing.assert_array_equal(found.mask.affine, AFFINE)
        assert found.accepted == (0, 1)


def test_what_the_alignment_warns_of_is_in_the_record(runs):
    """One image ends in the brain, where the other stands alone: nobody was told that more noise is left."""
    images, brain = runs
    end = int(np.flatnonzero(brain.any(axis=(0, 1)))[-1]) - 3
    found = n2a_bids.denoise([images[0], images[1].slicer[:, :, :end]], (brain, AFFINE), strategy="mean")
    assert "ml of the brain lie beyond its field of view" in found.record.warnings[0]


def test_noise_is_estimated(runs):
    """To a few percent of what was added."""
    images, brain = runs
    found = n2a_bids.estimate_noise(images, (brain, AFFINE))
    assert found.median_noise_sd == pytest.approx(40, rel=0.08)
    assert found.noise_sd.shape == images[0].shape


def test_diffusion_series_with_the_table_of_dipy():
    """A table with ``bvals`` and ``bvecs`` makes a diffusion series; its brain is found."""
    signal, gradients = head()
    noise = np.random.default_rng(0).normal(0, 5, (2, *signal.shape))
    affine = np.diag([6.0, 6, 6, 1])
    gtab = SimpleNamespace(bvals=gradients.bvals, bvecs=gradients.bvecs)
    series = [(signal + one, affine) for one in noise]
    found = n2a_bids.denoise(series, strategy="mean", gradients=gtab)
    assert found.image.shape == signal.shape
    assert found.mask.get_fdata().sum() > 500
    with pytest.raises(BIDSDataError, match="found 17"):
        n2a_bids.denoise([(signal[..., :5], affine)], strategy="mean", gradients=table())


def test_volumes_in_another_order_than_the_table_are_refused():
    """One table for all series: volumes of two directions would be averaged."""
    signal, gradients = head()
    noise = np.random.default_rng(0).normal(0, 5, (2, *signal.shape))
    gtab = SimpleNamespace(bvals=gradients.bvals, bvecs=gradients.bvecs)
    series = [
        (signal + noise[0], np.diag([6.0, 6, 6, 1])),
        ((signal + noise[1])[..., ::-1], np.diag([6.0, 6, 6, 1])),
    ]
    with pytest.raises(BIDSDataError, match="expected its volumes in the order of"):
        n2a_bids.denoise(series, strategy="mean", gradients=gtab)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (["missing.nii.gz"], {}, BIDSDataError, "missing.nii.gz"),
        ([3], {}, BIDSDataError, "image 1: expected a path"),
        ([(np.zeros((4, 4)), AFFINE)], {}, BIDSDataError, "3 or 4 axes"),
        ([], {}, BIDSDataError, "found none"),
        (["any"], {"strategy": "best"}, ConfigError, "no strategy 'best'"),
        (["any"], {"recipe": "faithful"}, ConfigError, "faithful"),
        (["any"], {"recipe": "quick"}, ConfigError, "no recipe 'quick'"),
        (["any"], {"device": "gpu"}, ConfigError, "no device 'gpu'"),
    ],
)
def test_what_cannot_be_used_is_named(arguments, options, error, message):
    """The errors are those of the app, in one sentence."""
    with pytest.raises(error, match=message):
        n2a_bids.denoise(arguments, **options)


@pytest.mark.parametrize(
    ("images", "found"),
    [
        ("one.nii.gz", r"one path, one\.nii\.gz"),
        (nb.Nifti1Image(np.ones((4, 4, 4), np.float32), AFFINE), "one image of nibabel"),
        (np.ones((2, 4, 4, 4)), r"one array of shape \(2, 4, 4, 4\)"),
        ((np.ones((4, 4, 4)), AFFINE), "one image, "),
        (None, "found NoneType"),
    ],
)
def test_one_image_is_not_taken_for_a_list(images, found):
    """Of a path the letters, of an array the slices would be images."""
    for function in (n2a_bids.denoise, n2a_bids.align, n2a_bids.estimate_noise):
        with pytest.raises(BIDSDataError, match=rf"expected a list of images.*{found}.*write \[image\]"):
            function(images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda image, mask: ([image, image], mask), "^image 2: expected another measurement than image 1,"),
        (lambda image, mask: ([image, (image[0][1:], AFFINE)], mask), "^image 2: expected the grid"),
        (lambda image, mask: ([image, (image[0], 0 * AFFINE)], mask), "^image 2: expected an affine that"),
        (lambda image, mask: ([image], (image[0], np.nan * AFFINE)), "^mask: expected an affine that"),
        (lambda image, mask: ([image], (np.stack([mask[0]] * 2, -1), AFFINE)), "^mask: .*found 2 volumes"),
        (lambda image, mask: ([image], (0 * mask[0], AFFINE)), "^mask: the brain mask is empty"),
        (lambda image, mask: ([image], (mask[0], AFFINE @ np.diag([1, 1, 1, 90]))), "^mask: .*of image 1,"),
    ],
)
def test_errors_call_images_as_they_were_given(runs, make, message):
    """And not after files that are gone when the message is read."""
    images, brain = runs
    given, mask = make((images[0].get_fdata(), AFFINE), (brain, AFFINE))
    with pytest.raises(BIDSDataError, match=message):
        n2a_bids.denoise(given, mask, strategy="mean", align=False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda table: (table.bvals, table.bvecs), r"^gradients: .*found tuple"),
        (
            lambda table: SimpleNamespace(bvals=["a"] * 17, bvecs=table.bvecs),
            r"^gradients: expected",
        ),
        (lambda table: SimpleNamespace(bvals=None, bvecs=None), r"^gradients\.bvecs: expected an array"),
        (
            lambda table: SimpleNamespace(bvals=-table.bvals, bvecs=table.bvecs),
            r"^gradients\.bvals: ",
        ),
        (lambda table: SimpleNamespace(bvals=table.bvals, bvecs=table.bvecs[1:]), r"^gradients\.bvecs: .*16"),
    ],
)
def test_what_is_wrong_with_a_gradient_table_is_named(make, message):
    """As it was given, not as a file of ours."""
    signal, gradients = head()
    affine = np.diag([6.0, 6, 6, 1])
    with pytest.raises(BIDSDataError, match=message):
        n2a_bids.denoise(
            [(signal, affine)], (signal[..., 0] > 0, affine), strategy="mean", gradients=make(gradients)
        )


@pytest.mark.parametrize("strategy", ["auto", "noise2average", "noise2noise", "recorrupted"])
def test_a_stack_without_table_is_no_image(runs, strategy):
    """Neither one image of several channels nor repetitions: it is named, of the noise, too."""
    images, brain = runs
    stack = (np.stack([one.get_fdata() for one in images], axis=-1), AFFINE)
    other = (stack[0] + np.random.default_rng(1).normal(0, 40, stack[0].shape), AFFINE)
    with pytest.raises(BIDSDataError, match=r"^image 1: expected one volume.*found 2; give the"):
        n2a_bids.denoise([stack, other], (brain, AFFINE), strategy=strategy, recipe="fast", align=False)
    with pytest.raises(BIDSDataError, match=r"^image 1: expected one volume.*one series of 2"):
        n2a_bids.estimate_noise([stack], (brain, AFFINE))


@pytest.mark.parametrize("damage", ["cut", "no image"])
def test_damaged_files_are_named_where_runs_are_aligned(runs, tmp_path, damage):
    """By every function, as image and as mask."""
    images, brain = runs
    images[0].to_filename(tmp_path / "bad.nii.gz")
    content = (tmp_path / "bad.nii.gz").read_bytes()
    (tmp_path / "bad.nii.gz").write_bytes(content[: len(content) // 2] if damage == "cut" else b"no image")
    bad, mask = tmp_path / "bad.nii.gz", (brain, AFFINE)
    for function in (
        lambda: n2a_bids.align([images[0], bad], mask),
        lambda: n2a_bids.align(images, bad),
        lambda: n2a_bids.denoise([images[0], bad], mask, strategy="mean"),
        lambda: n2a_bids.brain_mask(bad),
    ):
        with pytest.raises(
            BIDSDataError,
            match=r"bad\.nii\.gz: expected .*found (none that can|a file that cannot|a truncated)",
        ):
            function()


@pytest.mark.parametrize("n_images", [1, 2])
def test_wrapped_intensities_are_named_where_nothing_is_aligned(runs, tmp_path, n_images):
    """As where runs are aligned: what is brighter than the type can hold came out dark."""
    images, brain = runs
    stored = (60 * images[0].get_fdata()).round().astype(np.int64).astype(np.int16)
    nb.Nifti1Image(stored, AFFINE).to_filename(tmp_path / "bad.nii.gz")
    given = [tmp_path / "bad.nii.gz", images[1]][:n_images]
    with pytest.raises(BIDSDataError, match=r"bad\.nii\.gz: expected intensities that fit into int16"):
        n2a_bids.denoise(given, (brain, AFFINE), strategy="mean", align=False)


def test_headers_that_contradict_themselves_are_named(runs):
    """By every function; qform and sform of an image in memory count as those of a file."""
    images, brain = runs
    odd, elsewhere = nb.Nifti1Image(images[0].get_fdata(dtype=np.float32), AFFINE), AFFINE.copy()
    elsewhere[0, 3] += 30
    odd.set_qform(elsewhere, 1)
    for function in (
        lambda: n2a_bids.align([images[1], odd], (brain, AFFINE)),
        lambda: n2a_bids.denoise([odd], (brain, AFFINE), strategy="mean"),
        lambda: n2a_bids.brain_mask(odd),
    ):
        with pytest.raises(BIDSDataError, match=r"image [12]: expected qform and sform to agree"):
            function()


def test_nan_around_one_head_is_no_measurement(runs):
    """As in the app."""
    images, brain = runs
    data = images[0].get_fdata()
    data[:, :, 32:] = np.nan
    found = n2a_bids.denoise([(data, AFFINE)], (brain, AFFINE), strategy="mean").image.get_fdata()
    assert np.isfinite(found).all() and np.abs(found[:, :, 32:]).max() < 0.01
    np.testing.assert_allclose(found[:, :, :32], data[:, :, :32], atol=0.01)


@pytest.mark.parametrize("given", [True, False])
def test_nan_around_series_is_no_measurement(given, monkeypatch):
    """As in the app: the mean of two is what it is with zeros; single voxels of NaN are named."""
    signal, gradients = head()
    noise = np.random.default_rng(0).normal(0, 3, (2, *signal.shape))
    series, affine = np.abs(signal + noise).astype(np.float32), np.diag([4, 4, 4, 1])
    mask, kind = (signal[..., 0] > 0, affine), {"strategy": "mean", "gradients": gradients}
    monkeypatch.setattr(
        "n2a_bids.denoising.brain.find_b0_brain",
        lambda b0, *rest, **options: SimpleNamespace(
            mask=np.isfinite(nb.load(b0).get_fdata()) & mask[0], warning=""
        ),
    )
    results = []
    for fill in (0, np.nan):
        series[:, :3] = fill
        images = [(one, affine) for one in series]
        results.append(n2a_bids.denoise(images, mask if given else None, **kind).image.get_fdata())
    np.testing.assert_allclose(*results, atol=0.01)
    series[1, 12, 12, 8, 4] = np.nan
    with pytest.raises(BIDSDataError, match=r"^image 2: expected finite.*in single voxels"):
        n2a_bids.denoise([(one, affine) for one in series], mask, **kind)


@pytest.mark.parametrize("name", ["random_seed", "threads"])
def test_seeds_and_threads_are_whole_numbers(runs, name):
    """Those of numpy, too."""
    images, brain = runs
    for wrong in (-1, 2.5, None, "3"):
        with pytest.raises(ConfigError, match=f"{name}: expected a whole number of at least 0, found"):
            n2a_bids.denoise(images, (brain, AFFINE), strategy="mean", align=False, **{name: wrong})
    kind = {"strategy": "mean", "align": False, name: np.int64(1)}
    assert n2a_bids.denoise(images, (brain, AFFINE), **kind).record.n_repetitions == 2


def test_arrays_that_must_not_be_written_are_taken(runs):
    """Read-only, of another byte order, strided: as the plain array, and left as they were."""
    images, brain = runs
    arrays = [one.get_fdata(dtype=np.float32) for one in images]
    expected = n2a_bids.denoise(images, (brain, AFFINE), strategy="mean", align=False).image.get_fdata()
    wide = np.zeros([2 * n for n in brain.shape], ">f4")
    wide[::2, ::2, ::2] = arrays[0]
    odd = [wide[::2, ::2, ::2], np.asfortranarray(arrays[1])]
    for one in (*odd, brain):
        one.flags.writeable = False
    found = n2a_bids.denoise([(one, AFFINE) for one in odd], (brain, AFFINE), strategy="mean", align=False)
    np.testing.assert_array_equal(found.image.get_fdata(), expected)
    np.testing.assert_array_equal(odd[1], arrays[1])


@pytest.mark.parametrize("as_file", [True, False])
def test_complex_numbers_are_not_taken_for_their_real_parts(runs, tmp_path, as_file):
    """In memory and in a file; of complex images the app denoises magnitude and phase."""
    images, brain = runs
    turned = nb.Nifti1Image((images[0].get_fdata() * np.exp(1j)).astype(np.complex64), AFFINE)
    turned.to_filename(tmp_path / "turned.nii.gz")
    given = tmp_path / "turned.nii.gz" if as_file else turned
    with pytest.raises(BIDSDataError, match=r"expected real intensities.*complex64.*magnitude"):
        n2a_bids.denoise([given, images[1]], (brain, AFFINE), strategy="mean", align=False)


def test_weights_of_the_environment_are_taken(runs, tmp_path, monkeypatch):
    """As ``n2a`` and ``n2a-tools`` take them: a folder without weights is named."""
    images, brain = runs
    monkeypatch.setenv("N2A_WEIGHTS_DIR", str(tmp_path / "none"))
    with pytest.raises(DenoisingError, match=r"none/resunet-t1w\.safetensors"):
        n2a_bids.denoise(images, (brain, AFFINE), strategy="noise2average", align=False)


def test_the_other_functions_name_it_too():
    """No space of that name; no image at all, with a mask or without."""
    with pytest.raises(ConfigError, match="no space 'midway'"):
        n2a_bids.align(["any", "other"], space="midway")
    for mask in (None, (np.ones((4, 4, 4)), AFFINE)):
        with pytest.raises(BIDSDataError, match="found none"):
            n2a_bids.estimate_noise([], mask)


def test_one_image_tells_its_noise_less_surely(runs):
    """From its finest detail; a warning says how sure that is, and an image of one value has none."""
    images, brain = runs
    found = n2a_bids.estimate_noise(images[:1], (brain, AFFINE))
    assert found.median_noise_sd == pytest.approx(40, rel=0.2)
    assert "from one image" in found.warnings[0]
    plain = (np.where(brain, 100.0, 0.0) + np.arange(brain.shape[2]), AFFINE)
    with pytest.raises(DenoisingError, match="no noise"):
        n2a_bids.estimate_noise([plain], (brain, AFFINE))


def test_importing_the_package_is_light():
    """Neither torch nor nipype comes with it, and all public names are listed."""
    code = (
        "import sys, n2a_bids; assert 'denoise' in dir(n2a_bids); "
        "assert not {'torch', 'nipype', 'nibabel'} & set(sys.modules); "
        "from n2a_bids.interfaces import Denoise; from n2a_bids.workflows import init_align_wf"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
