"""A pair of opposite phase encoding simulated from a real series, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
import torch
from scipy import ndimage
from valid_dataset import assert_valid

from n2a_bids.algorithms.diffusion.tensor import fit_tensor, fractional_anisotropy, mean_diffusivity
from n2a_bids.algorithms.registration.dwi_resampling import mean_b0
from n2a_bids.external.b0_brain import find_brain
from n2a_bids.io.gradients import read_gradients, write_gradients
from n2a_bids.lab.simulation.dwi import (
    add_rician_noise,
    distort,
    noise_sd_for_snr,
    susceptibility_displacement,
    tensor_phantom,
)

pytestmark = pytest.mark.slow

_SLAB = slice(11, 23)
_VOLUMES = slice(4, 26)
_SNR = 8.0
_PEAK_VOXELS = 2.0


@pytest.fixture
def pair(tmp_path, real_data) -> tuple[Path, dict]:
    """A dataset with one pair, and what is true of it."""
    stem = str(real_data / "dwi/sub-ds114/dwi/sub-ds114_dwi")
    image = nb.load(f"{stem}.nii.gz")
    table = read_gradients(f"{stem}.bval", f"{stem}.bvec", image.affine).subset(_VOLUMES)
    series = np.asarray(image.dataobj, np.float32)[:, :, _SLAB, _VOLUMES]
    mask = find_brain(mean_b0(series, table))
    truth = tensor_phantom(series, table, mask)
    generator = torch.Generator().manual_seed(0)
    field = susceptibility_displacement(mask, 1, _PEAK_VOXELS, generator)
    sd = noise_sd_for_snr(truth, table, mask, _SNR)
    root = tmp_path / "bids"
    folder = root / "sub-01" / "dwi"
    folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "pair", "BIDSVersion": "1.10.0"}))
    for label, direction, sign in (("AP", "j-", -1), ("PA", "j", 1)):
        noisy = add_rician_noise(distort(truth, field, 1, sign), sd, generator)
        target = folder / f"sub-01_dir-{label}_dwi"
        nb.Nifti1Image(noisy, image.affine).to_filename(f"{target}.nii.gz")
        write_gradients(table, image.affine, target)
        sidecar = {"PhaseEncodingDirection": direction, "TotalReadoutTime": 0.05}
        target.with_name(target.name + ".json").write_text(json.dumps(sidecar))
    return root, {"signal": truth, "mask": mask, "table": table, "field": field}


@pytest.mark.real_data
def test_simulated_pair_from_bids_to_valid_datasets(pair, tmp_path):
    """Better tensors than the mean, every output, the report, and two datasets that the validator accepts."""
    bids, truth = pair
    out, raw_like = tmp_path / "out", tmp_path / "rawlike"
    command = [sys.executable, "-m", "n2a_bids", bids, out, "participant", "--modalities", "dwi", "--sloppy"]
    options = ["--emit-raw-like", raw_like, "--dwi-own-grid", "-w", tmp_path / "work", "--nprocs", 1]
    subprocess.run([str(word) for word in (*command, *options)], check=True)
    folder = out / "sub-01" / "dwi"
    inside = ndimage.binary_erosion(truth["mask"], iterations=2)
    reference = fit_tensor(truth["signal"], truth["table"], inside)
    expected = {"fa": fractional_anisotropy(reference), "md": mean_diffusivity(reference)}
    for param, values in expected.items():
        error = {}
        for desc in ("mean", "denoised"):
            path = folder / f"sub-01_model-tensor_param-{param}_desc-{desc}_dwimap.nii.gz"
            error[desc] = np.abs(nb.load(path).get_fdata()[inside] - values).mean()
        assert error["denoised"] < error["mean"], (param, error)
    found = nb.load(folder / "sub-01_desc-susceptibility_displacement.nii.gz").get_fdata()
    # The first series, AP, is the one that the field moves to lower indices.
    assert np.percentile(np.abs(found + truth["field"])[inside], 95) < 0.5
    page = (out / "sub-01.html").read_text()
    for figure in ("distortion", "denoised", "residual", "tensor", "gradients", "motion", "volumes"):
        assert f"desc-{figure}_dwi" in page
    for dataset in (out, raw_like):
        assert_valid(dataset, optional=True)


@pytest.mark.real_data
def test_opposite_series_that_state_one_polarity_are_not_averaged(pair, tmp_path):
    """They would lie up to four voxels apart: the message names what to correct, and nothing is written."""
    bids, _ = pair
    for number, label in enumerate(("AP", "PA"), start=1):
        for path in sorted((bids / "sub-01" / "dwi").glob(f"*_dir-{label}_*")):
            path.rename(path.with_name(path.name.replace(f"dir-{label}", f"run-{number}")))
    for path in (bids / "sub-01" / "dwi").glob("*.json"):
        path.write_text(json.dumps({"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.05}))
    command = [sys.executable, "-m", "n2a_bids", bids, tmp_path / "out", "participant", "--modalities", "dwi"]
    options = ["--sloppy", "-w", tmp_path / "work", "--nprocs", 1]
    done = subprocess.run([str(word) for word in (*command, *options)], capture_output=True, text=True)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1
    assert "it is distorted otherwise than sub-01_run-1_dwi.nii.gz" in said
    assert "PhaseEncodingDirection" in said and "Traceback" not in said
    assert not list((tmp_path / "out").glob("sub-01/dwi/*_dwi.nii.gz"))


@pytest.mark.real_data
def test_slices_that_lost_their_signal_do_not_bend_the_field(pair, tmp_path):
    """The b0 of one series lost two slices: they do not draw the field towards them, and are named."""
    bids, truth = pair
    folder, kept = bids / "sub-01" / "dwi", np.flatnonzero(~truth["table"].is_b0)
    kept = [0, *kept.tolist()]
    for label in ("AP", "PA"):
        path = folder / f"sub-01_dir-{label}_dwi.nii.gz"
        image = nb.load(path)
        data = np.asarray(image.dataobj)[..., kept]
        if label == "AP":
            data[:, :, 5:7, 0] *= 0.2
        nb.Nifti1Image(data, image.affine).to_filename(path)
        write_gradients(truth["table"].subset(kept), image.affine, folder / f"sub-01_dir-{label}_dwi")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "n2a_bids", bids, out, "participant", "--modalities", "dwi", "--sloppy"]
    options = ["--strategy", "mean", "-w", tmp_path / "work", "--nprocs", 1]
    done = subprocess.run(
        [str(word) for word in (*command, *options)], capture_output=True, text=True, check=True
    )
    assert "signal was lost in slices:" in " ".join((done.stdout + done.stderr).split())
    found = nb.load(out / "sub-01" / "dwi" / "sub-01_desc-susceptibility_displacement.nii.gz").get_fdata()
    error = np.abs(found + truth["field"])
    inside = ndimage.binary_erosion(truth["mask"], iterations=2)
    around = inside & (np.abs(np.arange(inside.shape[2]) - 5.5) < 2)
    assert np.median(error[inside]) < 0.17
    assert np.median(error[around]) < 0.27
