"""One image that was not repeated, through the app with --single."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from small_dataset import describe, head_phantom, write_mask, write_participant
from valid_dataset import assert_valid

pytestmark = pytest.mark.slow


def run(root: Path, *options: object, out: str = "out") -> subprocess.CompletedProcess[str]:
    """The app on everybody in a dataset."""
    words = [
        "bids",
        out,
        "participant",
        "-w",
        "work",
        "--nprocs",
        1,
        "-d",
        f"masks={root / 'masks'}",
        *options,
    ]
    command = [sys.executable, "-m", "n2a_bids", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, timeout=600)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A participant with one run."""
    root = tmp_path_factory.mktemp("single")
    describe(root / "bids", "small", "raw")
    write_participant(root / "bids", "01", seed=1)
    write_mask(root / "masks", "01")
    (root / "bids" / "sub-01" / "anat" / "sub-01_run-2_T1w.nii.gz").unlink()
    return root


@pytest.fixture(scope="module")
def finished(study) -> Path:
    """What the run left."""
    child = run(study, "--single", "--recipe", "fast")
    assert child.returncode == 0, child.stdout + child.stderr
    return study / "out"


def test_the_mean_of_one_image_is_that_image(study):
    """It gains nothing, and has a noise map like every other result."""
    child = run(study, "--single", "--strategy", "mean", out="mean")
    assert child.returncode == 0, child.stdout + child.stderr
    anat = study / "mean" / "sub-01" / "anat"
    acquired = nb.load(study / "bids" / "sub-01" / "anat" / "sub-01_run-1_T1w.nii.gz").get_fdata()
    mean = nb.load(anat / "sub-01_run-1_desc-denoised_T1w.nii.gz").get_fdata()
    np.testing.assert_allclose(mean, acquired, rtol=1e-5)
    assert (nb.load(anat / "sub-01_run-1_desc-noisesd_T1w.nii.gz").get_fdata() > 0).any()


def test_listing_names_the_option_and_knows_what_it_does(study):
    """Without it the image is left out, with it it is a group of its own."""
    without = " ".join(run(study, "--dry-run").stdout.split())
    assert "--single denoises it by itself" in without
    with_it = " ".join(run(study, "--dry-run", "--single").stdout.split())
    assert "[one T1w image, alone]" in with_it and "1 group to denoise" in with_it
    assert "needs two repetitions" in run(study, "--dry-run", "--single", "--strategy", "noise2noise").stdout


def test_the_image_is_closer_to_the_truth(finished):
    """On the grid of the image, under its own name."""
    clean, brain = head_phantom()
    noisy = nb.load(finished.parent / "bids/sub-01/anat/sub-01_run-1_T1w.nii.gz")
    denoised = nb.load(finished / "sub-01/anat/sub-01_run-1_desc-denoised_T1w.nii.gz")
    assert np.array_equal(noisy.affine, denoised.affine)
    before, after = (np.sqrt(np.mean((image.get_fdata() - clean)[brain] ** 2)) for image in (noisy, denoised))
    assert after < 0.8 * before


def test_the_expected_error_is_a_map_in_the_brain(finished):
    """Positive there, nothing elsewhere, with a sidecar and a figure that say what it rests on."""
    _, brain = head_phantom()
    name = finished / "sub-01/anat/sub-01_run-1_desc-uncertainty_T1w"
    error_sd = nb.load(f"{name}.nii.gz").get_fdata()
    assert (error_sd[brain] > 0).mean() > 0.99 and not error_sd[~brain].any()
    assert "estimated from this one image" in json.loads(Path(f"{name}.json").read_text())["Description"]
    assert (finished / "sub-01/figures/sub-01_run-1_desc-uncertainty_T1w.svg").is_file()


def test_everything_says_that_nothing_was_repeated(finished):
    """Sidecar, report and methods text; no transform, and no number of averages."""
    folder = finished / "sub-01" / "anat"
    sidecar = json.loads((folder / "sub-01_run-1_desc-denoised_T1w.json").read_text())
    assert sidecar["NumberOfRepetitions"] == 1
    assert "not repeated" in sidecar["Description"]
    assert any("nothing was repeated" in warning for warning in sidecar["Warnings"])
    assert 0 < sidecar["NoiseLevelUncertainty"] < 1
    assert "EquivalentNumberOfAverages" not in sidecar
    assert not list(folder.glob("*_xfm.txt"))
    page = (finished / "sub-01.html").read_text()
    assert "nothing was repeated" in page and "nothing independent to check the result" in page
    assert "no independent measurement could check" in (finished / "logs" / "CITATION.md").read_text()


def test_the_dataset_is_valid(finished):
    """The validator of BIDS accepts it."""
    assert_valid(finished)


BAD_IMAGES = {
    "zeros": (lambda image: np.zeros_like(image), "only zeros"),
    "nan": (lambda image: np.full(image.shape, np.nan, np.float32), "expected finite intensities"),
    "series": (lambda image: np.stack([image] * 4, axis=-1), "3D"),
    "huge": (lambda image: image.astype(np.float64) * 1e40, "expected intensities below 1e+17"),
}


def test_bad_images_end_with_a_named_error(study, tmp_path):
    """Of each: the file, what was expected and what was found; no traceback, no output."""
    describe(tmp_path / "bids", "small", "raw")
    source = nb.load(study / "bids/sub-01/anat/sub-01_run-1_T1w.nii.gz")
    for name, (make, _) in BAD_IMAGES.items():
        write_mask(tmp_path / "masks", name)
        path = tmp_path / "bids" / f"sub-{name}" / "anat" / f"sub-{name}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nb.Nifti1Image(make(np.asarray(source.dataobj)), source.affine).to_filename(path)
    child = run(tmp_path, "--single")
    said = " ".join((child.stdout + child.stderr).split())
    assert child.returncode == 1, said
    assert "Traceback" not in said
    for name, (_, words) in BAD_IMAGES.items():
        told = said.split(f"sub-{name}_T1w.nii.gz")[1:]
        assert any(words in message[:300] for message in told), name
    assert not list((tmp_path / "out").rglob("*.nii.gz"))
