"""Three repetitions of which the best one is of another head: the other two are denoised without it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from dwi_dataset import write_dataset
from scipy import ndimage
from small_dataset import describe, head_phantom, write_participant


def run(root: Path, *options: object) -> subprocess.CompletedProcess[str]:
    words = [
        sys.executable, "-m", "n2a_bids", root / "bids", root / "out", "participant", "-w", root / "work",
        "--nprocs", 1, "--strategy", "mean", "--sloppy", *options,
    ]  # fmt: skip
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


@pytest.mark.proof
def test_t1w_runs_go_on_without_a_reference_of_another_head(tmp_path):
    """The run with the most contrast has other folds: table, sidecar and page name it."""
    bids = tmp_path / "bids"
    describe(bids, "small", "raw")
    write_participant(bids, "01", 1)
    folder = bids / "sub-01" / "anat"
    odd, model = folder / "sub-01_run-3_T1w.nii.gz", nb.load(folder / "sub-01_run-1_T1w.nii.gz")
    generator = np.random.default_rng(0)
    image, brain = head_phantom()
    folds = ndimage.gaussian_filter(generator.standard_normal(image.shape), 1.5)
    other = np.where(brain, 700 + 180 * folds / folds.std(), image)
    other = np.hypot(other + generator.normal(0, 8, image.shape), generator.normal(0, 8, image.shape))
    nb.Nifti1Image(other.round().astype(np.int16), None, model.header).to_filename(odd)
    shutil.copy(folder / "sub-01_run-1_T1w.json", folder / "sub-01_run-3_T1w.json")

    child = run(tmp_path, "--mask-method", "template")
    assert child.returncode == 0, child.stdout + child.stderr
    assert "fits none of the others" in child.stdout
    assert "1 participant: 1 denoised" in child.stdout
    denoised = tmp_path / "out" / "sub-01" / "anat" / "sub-01_desc-denoised_T1w.json"
    sidecar = json.loads(denoised.read_text())
    assert [Path(uri).name for uri in sidecar["Sources"]] == [
        "sub-01_run-1_T1w.nii.gz",
        "sub-01_run-2_T1w.nii.gz",
    ]
    assert any("run-3_T1w.nii.gz was left out" in text for text in sidecar["Warnings"])
    assert "run-3_T1w.nii.gz was left out" in (tmp_path / "out" / "sub-01.html").read_text()
    assert not list((tmp_path / "out" / "sub-01" / "log").rglob("crash*"))


@pytest.mark.proof
def test_diffusion_series_go_on_without_a_reference_of_another_head(tmp_path):
    """The first of three repeats, on whose grid the result would lie, is mirrored front to back."""
    write_dataset(tmp_path / "bids", "repeat")
    folder = tmp_path / "bids" / "sub-01" / "dwi"
    for path in folder.glob("*_run-2_*"):
        shutil.copy(path, folder / path.name.replace("run-2", "run-3"))
    third = nb.load(folder / "sub-01_run-3_dwi.nii.gz")
    fresh = third.get_fdata() + np.random.default_rng(0).normal(0, 5, third.shape)
    nb.Nifti1Image(fresh.astype(np.float32), third.affine, third.header).to_filename(third.get_filename())
    first = nb.load(folder / "sub-01_run-1_dwi.nii.gz")
    mirrored = np.asarray(first.dataobj)[:, ::-1]
    nb.Nifti1Image(mirrored, first.affine, first.header).to_filename(first.get_filename())

    child = run(tmp_path)
    assert child.returncode == 0, child.stdout + child.stderr
    assert "sub-01_run-1_dwi.nii.gz" in child.stdout
    assert "fits none of the others" in child.stdout
    sidecar = json.loads((tmp_path / "out/sub-01/dwi/sub-01_desc-denoised_dwi.json").read_text())
    assert {Path(uri).name for uri in sidecar["Sources"]} >= {
        "sub-01_run-2_dwi.nii.gz",
        "sub-01_run-3_dwi.nii.gz",
    }
