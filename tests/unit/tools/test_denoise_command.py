"""``n2a-tools denoise`` masks and aligns heads by itself, unless told not to."""

from __future__ import annotations

import json

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage
from small_dataset import head_phantom

from n2a_bids.cli.tools import main

AFFINE = np.array([[4.0, 0, 0, -78], [0, 4, 0, -86], [0, 0, 4, -70], [0, 0, 0, 1]])


@pytest.fixture
def files(tmp_path):
    """Two noisy runs of one head, the second stored 6 mm away, and a generous mask."""
    image, brain = head_phantom()
    noise = np.random.default_rng(0).normal(0, 40, (2, *image.shape))
    shifted = AFFINE.copy()
    shifted[:3, 3] += (6.0, -3.0, 2.0)
    paths = {name: tmp_path / f"{name}.nii.gz" for name in ("one", "two", "mask", "out", "mean")}
    for name, data, affine in (
        ("one", image + noise[0], AFFINE),
        ("two", image + noise[1], shifted),
        ("mask", ndimage.binary_dilation(brain), AFFINE),
    ):
        nb.save(nb.Nifti1Image(data.astype(np.float32), affine), paths[name])
    return paths


def _denoise(files, *options):
    runs = [files["one"], files["two"], "--strategy", "mean", "--out", files["out"]]
    return main([str(word) for word in ("denoise", *runs, "--device", "cpu", *options)])


@pytest.mark.slow
def test_runs_that_moved_are_aligned(files, capsys, monkeypatch):
    """What is found is told, the mean is sharp, and the record names the files that were given.

    The mask is named from the folder one is in.
    """
    monkeypatch.chdir(files["mask"].parent)
    assert _denoise(files, "--mask", files["mask"].name) == 0
    told = capsys.readouterr().err
    assert "two.nii.gz: 7.0 mm" in told or "one.nii.gz: 7.0 mm" in told
    record = json.loads(files["out"].with_name("out.json").read_text())
    assert {row["file"] for row in record["repetitions"]} == {str(files["one"]), str(files["two"])}
    image, brain = head_phantom()
    out = nb.load(files["out"])
    reference = "one" if np.allclose(out.affine, AFFINE) else "two"
    assert np.allclose(out.affine, nb.load(files[reference]).affine)
    assert np.corrcoef(out.get_fdata()[brain], image[brain])[0, 1] > 0.95


@pytest.mark.parametrize(("kind", "end"), [(nb.Nifti1Pair, ".img"), (nb.MGHImage, ".mgz")])
def test_images_like_which_no_result_can_be_written_are_refused(files, capsys, kind, end):
    """Before the brain is looked for, with the remedy."""
    for name in ("one", "two"):
        image, files[name] = nb.load(files[name]), files[name].with_name(name + end)
        nb.save(kind(image.get_fdata(dtype=np.float32), image.affine), files[name])
    for options in ((), ("--no-align", "--mask", files["mask"])):
        assert _denoise(files, *options) == 70
        told = " ".join(capsys.readouterr().err.split())
        assert f"one{end}: expected a NIfTI image (.nii or .nii.gz), found {kind.__name__}; convert" in told
        assert "finding the brain" not in told


@pytest.mark.parametrize("option", [("--strategy", "san2n"), ("--device", "cuda")])
def test_what_cannot_be_done_is_refused_before_the_alignment(files, capsys, option, monkeypatch):
    """A strategy of diffusion series, and a GPU where there is none."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert _denoise(files, *option) == 2
    told = capsys.readouterr().err
    assert option[1] in told
    assert "finding the brain" not in told


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("folder", "found a folder"),
        ("colours", "found RGB colours"),
        ("complex", "found the data type complex64"),
        ("huge", "expected intensities below 1e+17, found"),
    ],
)
def test_what_is_no_image_of_a_head_is_told_in_words(files, capsys, monkeypatch, kind, words):
    """A folder and colours ended as unexpected errors, and squares of huge values overflowed unseen."""
    shape, dtype = (8, 8, 8), {"colours": [(name, "u1") for name in "RGB"], "complex": "c8"}.get(kind, "f8")
    data = np.zeros(shape, dtype) if kind == "colours" else np.random.default_rng(0).random(shape) * 1e30
    nb.save(nb.Nifti1Image(data.astype(dtype), AFFINE), files["two"])
    monkeypatch.chdir(files["one"].parent)
    odd = "." if kind == "folder" else files["two"].name
    words_given = ["denoise", files["one"], odd, "--no-align", "--mask", files["mask"], "--strategy", "mean"]
    assert main([str(word) for word in (*words_given, "--out", files["out"])]) == 70
    assert words in " ".join(capsys.readouterr().err.split()) and not files["out"].exists()


@pytest.mark.slow
def test_the_error_is_told_where_one_run_alone_was_measured(files, capsys):
    """Beyond the view of the other it is that of one image: no difference there is no sign of no noise."""
    image, brain = head_phantom()
    start = int(np.flatnonzero(brain.any(axis=(0, 1)))[0]) + 3
    where = AFFINE.copy()
    where[:3, 3] += start * AFFINE[:3, 2]
    noisy = image + np.random.default_rng(1).normal(0, 40, image.shape)
    nb.save(nb.Nifti1Image(noisy[:, :, start:].astype(np.float32), where), files["two"])
    nb.save(nb.Nifti1Image(brain.astype(np.uint8), AFFINE), files["mask"])
    maps = [files["mean"].with_name(f"{name}.nii.gz") for name in ("error", "noise")]
    assert (
        _denoise(files, "--mask", files["mask"], "--out-uncertainty", maps[0], "--out-noise-sd", maps[1]) == 0
    )
    error, noise = (nb.load(path).get_fdata() for path in maps)
    alone, both = brain.copy(), brain.copy()
    alone[:, :, start:], both[:, :, : start + 1] = False, False
    assert alone.any() and "two.nii.gz" in capsys.readouterr().err
    assert error[alone].mean() == pytest.approx(40, rel=0.15)
    assert error[both].mean() == pytest.approx(40 / 2**0.5, rel=0.15)
    assert noise[alone].mean() == pytest.approx(40, rel=0.15)


def test_runs_on_other_grids_are_refused_as_they_lie(files, capsys):
    """Without alignment, the error names the run that lies elsewhere; nothing is written."""
    assert _denoise(files, "--mask", files["mask"], "--no-align") != 0
    assert "two.nii.gz" in capsys.readouterr().err and not files["out"].exists()


@pytest.mark.slow
def test_runs_that_do_not_fit_are_refused_by_name(files, capsys):
    """Of a head and something else no mean is made: the message names what does not fit."""
    image, _ = head_phantom()
    other = np.random.default_rng(1).permutation(image.ravel()).reshape(image.shape)
    nb.save(nb.Nifti1Image(ndimage.gaussian_filter(other, 2).astype(np.float32), AFFINE), files["two"])
    assert _denoise(files, "--mask", files["mask"]) != 0
    told = capsys.readouterr().err
    assert "two.nii.gz" in told and not files["out"].exists()


@pytest.mark.slow
def test_what_is_odd_in_a_run_is_told(files, capsys):
    """Specks of impossible values were taken out without a word, where the app names them."""
    run = nb.load(files["two"])
    data = run.get_fdata(dtype=np.float32)
    data[3, 4, 5] = 1e6
    nb.save(nb.Nifti1Image(data, run.affine), files["two"])
    assert _denoise(files, "--mask", files["mask"]) == 0
    told = "two.nii.gz: 1 voxel of impossible intensity"
    assert f"WARNING: {told}" in capsys.readouterr().err
    (warning, *_) = json.loads(files["out"].with_name("out.json").read_text())["warnings"]
    assert warning.startswith(told)


@pytest.mark.parametrize("names", [("one",), ("one", "two")])
def test_what_is_odd_is_told_of_runs_as_they_lie(files, capsys, names):
    """NaN of single voxels of the air were mended without a word; in the record, and on the terminal."""
    image, _ = head_phantom()
    for seed, name in enumerate(names):
        data = (image + np.random.default_rng(seed).normal(0, 40, image.shape)).astype(np.float32)
        if name == names[-1]:
            data[2, 3, 4] = np.nan
        nb.save(nb.Nifti1Image(data, AFFINE), files[name])
    words = ["denoise", *(files[name] for name in names), "--no-align", "--mask", files["mask"]]
    words += ["--strategy", "mean", "--device", "cpu", "--out", files["out"]]
    assert main([str(word) for word in words]) == 0
    told = f"{names[-1]}.nii.gz: 1 voxel of impossible intensity (NaN or infinity)"
    assert f"WARNING: {told}" in capsys.readouterr().err
    warnings = json.loads(files["out"].with_name("out.json").read_text())["warnings"]
    assert [one.startswith(told) for one in warnings].count(True) == 1


@pytest.mark.parametrize("names", [("one",), ("one", "two")])
def test_headers_that_do_not_place_the_head_are_told(files, capsys, names):
    """Sides may be swapped, and some tools scale by the unit: the app names both, the tool named neither."""
    image, _ = head_phantom()
    for seed, name in enumerate(names):
        noise = np.random.default_rng(seed).normal(0, 40, image.shape)
        # Such voxels lie where nibabel puts them, with the first on the right.
        stored = nb.Nifti1Image((image + noise)[::-1].astype(np.float32), None)
        stored.header.set_zooms((4, 4, 4))
        stored.header["qform_code"] = stored.header["sform_code"] = 0
        stored.header.set_xyzt_units("meter")
        nb.save(stored, files[name])
    words = ["denoise", *(files[name] for name in names), "--no-align", "--strategy", "mean"]
    nb.save(nb.Nifti1Image(np.ones(image.shape, np.uint8), nb.load(files["one"]).affine), files["mask"])
    words += ["--mask", files["mask"], "--device", "cpu", "--out", files["out"]]
    assert main([str(word) for word in words]) == 0
    kinds = ("does not tell how", "gives lengths in metres")
    told = [f"{name}.nii.gz: the header {kind}" for name in names for kind in kinds]
    said = capsys.readouterr().err
    assert [said.count(f"WARNING: {one}") for one in told] == [1] * len(told)
    warnings = json.loads(files["out"].with_name("out.json").read_text())["warnings"]
    assert [one[: len(start)] for one, start in zip(warnings, told, strict=False)] == told


@pytest.mark.parametrize("options", [(), ("--no-align",)])
def test_intensities_that_wrapped_are_refused(files, capsys, options):
    """What is brighter than the type can hold came out dark, where the app refuses the image."""
    for name in ("one", "two"):
        image = nb.load(files[name])
        stored = (60 * image.get_fdata()).round().astype(np.int64).astype(np.int16)
        nb.save(nb.Nifti1Image(stored, AFFINE), files[name])
    assert _denoise(files, "--mask", files["mask"], *options) == 70
    told = " ".join(capsys.readouterr().err.split())
    assert "one.nii.gz: expected intensities that fit into int16" in told


@pytest.mark.parametrize("names", [("one",), ("one", "two")])
def test_nan_around_the_head_is_no_measurement(files, names):
    """As in the app: of one run, and of runs that are taken as they lie; the brain is what it was without."""
    results = []
    for fill in (0, np.nan):
        runs = []
        for name in names:
            data = nb.load(files[name]).get_fdata()
            data[:, :, 30:] = fill
            runs.append(files[name].with_name(f"{name}_{fill}.nii.gz"))
            nb.save(nb.Nifti1Image(data.astype(np.float32), AFFINE), runs[-1])
        words = ["denoise", *runs, "--no-align", "--mask", files["mask"], "--strategy", "mean"]
        assert main([str(word) for word in (*words, "--out", files["out"])]) == 0
        results.append(nb.load(files["out"]).get_fdata())
    np.testing.assert_allclose(*results, atol=0.01)


@pytest.mark.parametrize("options", [(), ("--no-align",)])
def test_headers_that_contradict_themselves_are_refused(files, capsys, options):
    """By its qform the head lies elsewhere than by its sform, and tools disagree: the app refuses it."""
    image = nb.load(files["one"])
    elsewhere = AFFINE.copy()
    elsewhere[0, 3] += 30
    image.set_qform(elsewhere, 1)
    image.set_sform(AFFINE, 1)
    nb.save(image, files["one"].with_name("odd.nii.gz"))
    files["one"] = files["one"].with_name("odd.nii.gz")
    assert _denoise(files, "--mask", files["mask"], *options) == 70
    told = " ".join(capsys.readouterr().err.split())
    assert "odd.nii.gz: expected qform and sform to agree, found them up to 30.0 mm apart" in told


def test_every_voxel_is_checked_once(files, monkeypatch):
    """Images that are aligned were read whole twice before anything was done."""
    checked = []

    def check(path, most_missing):
        checked.append(path.name)
        return "" if len(checked) < 2 else "enough"

    for module in ("tools.denoise", "api.aligned_files"):
        monkeypatch.setattr(f"n2a_bids.{module}.content_problem", check)
    assert _denoise(files, "--mask", files["mask"]) == 70
    assert checked == ["one.nii.gz", "two.nii.gz"]


def test_lone_head_finds_its_brain(files, monkeypatch):
    """One run needs no alignment: the brain is found in it, and the record keeps its name."""
    monkeypatch.setattr("n2a_bids.tools.denoise.write_brain_mask", lambda head, mask, threads: files["mask"])
    words = ["denoise", files["one"], "--strategy", "mean", "--out", files["out"]]
    assert main([str(word) for word in words]) == 0
    record = json.loads(files["out"].with_name("out.json").read_text())
    assert record["repetitions"][0]["file"] == str(files["one"])


def test_exposures_of_a_microscope_know_the_option_too(tmp_path, monkeypatch):
    """One meaning, whatever is denoised: no drift is looked for."""
    seen = []
    monkeypatch.setattr("n2a_bids.tools.denoise.run_denoise", lambda request, **_: seen.append(request.job))
    words = ["denoise", "even.tif", "odd.tif", "--out", str(tmp_path / "out.tif")]
    assert main(words) == 0 and main([*words, "--no-align"]) == 0
    assert [job.exposures.as_they_lie for job in seen] == [False, True]


def test_exposures_in_nifti_files_are_no_heads(files, monkeypatch):
    """They are taken as they lie: no brain is looked for in them, and nothing registers them as heads."""
    seen = []
    monkeypatch.setattr("n2a_bids.tools.denoise.run_denoise", lambda request, **_: seen.append(request.job))
    assert _denoise(files, "--micrograph", "--mask", files["mask"]) == 0
    assert seen[0].runs == (files["one"], files["two"])


@pytest.mark.parametrize(
    ("option", "instead"), [("--as-they-lie", "--no-align"), ("--float", "leave it out")]
)
def test_options_of_exposures_are_refused_for_heads(option, instead, files, capsys):
    """Heads would be aligned all the same."""
    assert _denoise(files, "--mask", files["mask"], option) != 0
    told = capsys.readouterr().err
    assert option in told and instead in told and not files["out"].exists()


_TABLE = ("--bvals", "a.bval", "--bvecs", "a.bvec")


@pytest.mark.parametrize(
    ("runs", "options", "refused"),
    [
        (
            "png",
            ["--keep-noise-floor"],
            "--keep-noise-floor: expected images of heads (NIfTI), found exposures",
        ),
        ("png", ["--skull-strip"], "--skull-strip: expected images of heads"),
        ("png", ["--allow-shared-noise"], "--allow-shared-noise: expected images of heads"),
        ("png", ["--b0-threshold", "10"], "--b0-threshold: expected a diffusion series"),
        ("png", ["--companion", "b.nii.gz"], "--companion: expected a diffusion series"),
        ("nii.gz", ["--companion", "b.nii.gz"], "--companion: expected a diffusion series"),
        (
            "nii.gz",
            ["--whole-image"],
            "--whole-image: expected a diffusion series with --bvals and --bvecs, found",
        ),
        ("nii.gz", ["--b0-threshold", "10"], "--b0-threshold: expected a diffusion series"),
        (
            "nii.gz",
            [*_TABLE, "--different-contrast"],
            "--different-contrast: expected anatomical images (NIfTI)",
        ),
        ("nii.gz", [*_TABLE, "--float"], "--float: expected PNG or TIFF files, found a diffusion series"),
        ("nii.gz", [*_TABLE, "--as-they-lie"], "--as-they-lie: expected PNG or TIFF files"),
        ("nii.gz", ["--b0-threshold", "50", "--no-align"], ""),
        ("nii.gz", [*_TABLE, "--companion", "b.nii.gz", "--keep-noise-floor", "--b0-threshold", "9"], ""),
        ("png", ["--float", "--as-they-lie", "--mask", "m.png"], ""),
        ("nii.gz", ["--micrograph", "--mask", "m.nii", "--allow-shared-noise", "--keep-noise-floor"], ""),
    ],
)
def test_options_that_would_be_ignored_are_refused(tmp_path, monkeypatch, capsys, runs, options, refused):
    """Before any file is opened; exposures as NIfTI are those of the app, which gives all options."""
    monkeypatch.chdir(tmp_path)
    main(["denoise", f"a.{runs}", f"b.{runs}", "--out", f"out.{runs}", *options])
    told = capsys.readouterr().err
    assert refused in told if refused else "No such file" in told or "no such file" in told, told


@pytest.mark.parametrize(("end", "hint"), [(".jpg", "what JPEG took away"), (".mrc", "TIFF without loss")])
def test_pictures_that_are_not_read_are_named_before_the_result(tmp_path, capsys, end, hint):
    """That the result of a picture "should end in .nii.gz" would send its owner the wrong way."""
    words = ["denoise", f"a{end}", f"b{end}", "--out", str(tmp_path / f"out{end}")]
    assert main(words) == 70
    told = capsys.readouterr().err
    assert f"found {end}" in told and hint in told and ".tif" in told
