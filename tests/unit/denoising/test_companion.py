"""Another series laid beside the one that is denoised: voxel by voxel, as measured, in any storage order."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from dwi_dataset import write_dataset

from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.config import DenoiseConfig
from n2a_bids.denoising import companion
from n2a_bids.denoising.companion import with_companion
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.denoising.run import denoise_files
from n2a_bids.io.gradients import read_gradients
from n2a_bids.io.images import load


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Repetitions, Path, Path]:
    """A series with its table, its file, and the file of a second run of it."""
    root = tmp_path_factory.mktemp("pair") / "bids"
    truth = write_dataset(root, "repeat")
    first, second = sorted((root / "sub-01" / "dwi").glob("*_dwi.nii.gz"))
    data, affine = load(first)
    stem = str(first).removesuffix(".nii.gz")
    gradients = read_gradients(Path(f"{stem}.bval"), Path(f"{stem}.bvec"), affine, b0_threshold=50)
    return Repetitions(data[None], truth["mask"], gradients=gradients), first, second


def _beside(pair, path):
    return with_companion(pair[0], pair[1], path, lambda message: None)


def test_voxels_are_those_measured_whatever_the_storage_order(pair, tmp_path):
    """Mirrored in storage and header, the other series comes back as it was; no value is made up."""
    found, problem = _beside(pair, pair[2])
    assert not problem
    assert found.companion.seen.all()
    data, affine = load(pair[2])
    assert np.array_equal(found.companion.data, data)
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirrored[0, 3] = data.shape[0] - 1
    turned = tmp_path / "sub-01_run-2_dwi.nii.gz"
    nb.save(nb.Nifti1Image(data[::-1], affine @ mirrored), turned)
    assert np.array_equal(_beside(pair, turned)[0].companion.data, data)


@pytest.mark.parametrize("fault", ["copy", "volumes", "nan", "absent"])
def test_what_cannot_be_learned_from_is_named(pair, tmp_path, fault):
    """The series is denoised alone, with a warning: nothing stops."""
    data, affine = load(pair[1])
    path = tmp_path / f"{fault}.nii.gz"
    changed = {"copy": 1.5 * data, "volumes": data[..., :-1], "nan": np.where(data > 90, np.nan, data)}
    if fault != "absent":
        nb.save(nb.Nifti1Image(changed[fault].astype(np.float32), affine), path)
    found, problem = _beside(pair, path)
    assert found is pair[0]
    assert f"{fault}.nii.gz" in problem


def test_a_series_that_memory_cannot_hold_beside_is_not_learned_from(pair, monkeypatch):
    """The series itself is denoised all the same."""
    monkeypatch.setattr(companion, "available_memory_gb", lambda: 1e-3)
    found, problem = _beside(pair, pair[2])
    assert found is pair[0]
    assert "run-2_dwi.nii.gz was not learned from: both series take" in problem and "may use more" in problem


def test_a_strategy_that_takes_series_by_themselves_does_not_register_another(pair, tmp_path):
    """It says so instead."""
    mask = tmp_path / "mask.nii.gz"
    nb.save(nb.Nifti1Image(pair[0].mask.astype(np.uint8), load(pair[1])[1]), mask)
    tables = [Path(str(pair[1]).replace(".nii.gz", end)) for end in (".bval", ".bvec")]
    settings = DenoiseConfig(strategy="mean", device="cpu")
    job = DenoiseJob((pair[1],), mask, settings, bvals=tables[0], bvecs=tables[1], companion=pair[2])
    said: list[str] = []
    warnings = denoise_files(job, said.append).record.warnings
    assert not any("laying" in line for line in said)
    assert any(one.startswith(f"{pair[2].name} was not learned from: mean takes each") for one in warnings)
