"""Diffusion series of which more than two have opposite phase encoding, in whole runs on a tiny dataset."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
import torch
from dwi_dataset import NOISE_SD, write_dataset
from scipy import ndimage

from n2a_bids.config import Config, DenoiseConfig, MaskConfig, OutputConfig, SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.io.gradients import read_gradients, write_gradients
from n2a_bids.lab.simulation.dwi import add_rician_noise, distort
from n2a_bids.workflows.dwi.unit import init_dwi_unit_wf

pytestmark = pytest.mark.slow

_SHIFT_VOXELS = 1


def _write_third_run(root: Path, truth: dict[str, np.ndarray]) -> None:
    """PA again: another place of the head, half of the readout time, the second axis stored the other way."""
    folder = root / "sub-01/dwi"
    model = nb.load(folder / "sub-01_dir-PA_dwi.nii.gz")
    table = read_gradients(folder / "sub-01_dir-PA_dwi.bval", folder / "sub-01_dir-PA_dwi.bvec", model.affine)
    moved, field = (np.roll(truth[name], _SHIFT_VOXELS, axis=0) for name in ("signal", "displacement"))
    noisy = add_rician_noise(distort(moved, 0.5 * field, 1, 1), NOISE_SD, torch.Generator().manual_seed(7))
    affine = model.affine.copy()
    affine[:3, 1] *= -1
    affine[:3, 3] += model.affine[:3, 1] * (noisy.shape[1] - 1)
    stem = folder / "sub-01_dir-PA_run-2_dwi"
    nb.Nifti1Image(np.ascontiguousarray(noisy[:, ::-1]), affine).to_filename(f"{stem}.nii.gz")
    write_gradients(table, affine, stem)
    sidecar = {"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.025, "EchoTime": 0.08}
    Path(f"{stem}.json").write_text(json.dumps(sidecar))


@pytest.fixture(scope="module")
def three_series(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """A whole run of AP, PA and PA again, averaged."""
    root = tmp_path_factory.mktemp("three")
    truth = write_dataset(root / "bids", "reverse-pe")
    _write_third_run(root / "bids", truth)
    _run(root, OutputConfig(dwi_own_grid=True))
    return root, truth


def _run(root: Path, outputs: OutputConfig) -> None:
    """Average all series of a dataset."""
    selection = SelectionConfig(modalities=("dwi",))
    (unit,) = collect(root / "bids", selection).units
    config = Config(
        *(root / "bids", root / "out", root / "work", "uuid"),
        selection=selection,
        denoise=DenoiseConfig("mean", device="cpu"),
        mask=MaskConfig(dwi_method="otsu"),
        outputs=outputs,
    )
    workflow = init_dwi_unit_wf(unit, config)
    workflow.base_dir = str(root / "work")
    workflow.config["execution"] = {"crashdump_dir": str(root), "stop_on_first_crash": "true"}
    workflow.run()


def test_all_runs_of_both_directions_are_averaged(three_series):
    """Motion, storage order and readout time of the third are its own; its noise is averaged like others'."""
    root, truth = three_series
    inside = ndimage.binary_erosion(truth["mask"], iterations=3)
    folder = root / "out/sub-01/dwi"
    mean = nb.load(folder / "sub-01_desc-mean_dwi.nii.gz").get_fdata()
    error = np.sqrt(np.mean((mean - truth["signal"])[inside] ** 2))
    assert error == pytest.approx(NOISE_SD / np.sqrt(3), rel=0.1)
    sidecar = json.loads((folder / "sub-01_desc-denoised_dwi.json").read_text())
    assert sidecar["NumberOfRepetitions"] == 3 and sidecar["DistortionCorrected"] is True
    rows = {row["file"]: row for row in sidecar["Alignment"]["Repetitions"]}
    moved_mm = rows["sub-01_dir-PA_run-2_dwi.nii.gz"]["translation_mm"]
    assert moved_mm == pytest.approx(_SHIFT_VOXELS * 6.0, abs=0.6)


def test_each_run_gets_its_own_distortion_back(three_series):
    """On the grids of the inputs, the average lies where each series shows the head."""
    root, truth = three_series
    moved, field = (np.roll(truth[name], _SHIFT_VOXELS, axis=0) for name in ("signal", "displacement"))
    expected = {
        "dir-AP": distort(truth["signal"], truth["displacement"], 1, -1),
        "dir-PA": distort(truth["signal"], truth["displacement"], 1, 1),
        "dir-PA_run-2": distort(moved, 0.5 * field, 1, 1)[:, ::-1],
    }
    for name, image in expected.items():
        raw = nb.load(root / f"bids/sub-01/dwi/sub-01_{name}_dwi.nii.gz")
        own = nb.load(root / f"out/sub-01/dwi/sub-01_{name}_desc-owngrid_dwi.nii.gz")
        mask = nb.load(root / f"out/sub-01/dwi/sub-01_{name}_desc-owngrid_mask.nii.gz").get_fdata() > 0
        inside = ndimage.binary_erosion(mask, iterations=2)
        errors = [np.sqrt(np.mean((one.get_fdata() - image)[inside] ** 2)) for one in (raw, own)]
        assert np.array_equal(own.affine, raw.affine)
        assert errors[1] < 0.85 * errors[0], name


def test_a_copy_of_a_series_leaves_the_others_their_raw_names(tmp_path):
    """It stands in the middle: what is written is counted without it."""
    write_dataset(tmp_path / "bids", "reverse-pe")
    folder = tmp_path / "bids/sub-01/dwi"
    for path in list(folder.glob("*dir-AP_dwi*")):
        shutil.copyfile(path, folder / path.name.replace("dir-AP_", "dir-AP_run-2_"))
    _run(tmp_path, OutputConfig(raw_like_dir=tmp_path / "rawlike"))
    written = {path.name: path for path in (tmp_path / "rawlike/sub-01/dwi").glob("*.json")}
    assert sorted(written) == [f"sub-01_rec-n2a_dir-{direction}_dwi.json" for direction in ("AP", "PA")]
    told = [json.loads(path.read_text())["PhaseEncodingDirection"] for _, path in sorted(written.items())]
    assert told == ["j-", "j"]
