"""``n2a-tools demo``: a simulated dataset, the app on it, and the gain it prints."""

import argparse

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.algorithms.quality.metrics import psnr
from n2a_bids.errors import ConfigError
from n2a_bids.tools import demo


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folders = demo.DemoFolders(tmp_path_factory.mktemp("demo") / "here")
    demo.write_dataset(folders, voxel_size_mm=4.0, random_seed=1)
    return folders


def image(path):
    return np.asarray(nb.load(path).dataobj, dtype=np.float32)


def write_derivatives(folders, run, mean_error, denoised_error):
    """Stand in for the app: the truth of one run at another gain, off by known errors."""
    truth = nb.load(folders.truth / f"sub-01_run-{run}_T1w.nii.gz")
    anat = folders.derivatives / "sub-01" / "anat"
    anat.mkdir(parents=True, exist_ok=True)
    sign = np.where(np.indices(truth.shape).sum(axis=0) % 2, 1, -1)
    for label, error in (("mean", mean_error), ("denoised", denoised_error)):
        data = 0.5 * (np.asarray(truth.dataobj) + error * sign)
        nb.Nifti1Image(data.astype(np.float32), truth.affine).to_filename(
            anat / f"sub-01_desc-{label}_T1w.nii.gz"
        )


def test_runs_differ_by_movement_gain_and_noise(folders):
    """A run resembles its own truth best, and is not its truth."""
    runs = [image(folders.bids / f"sub-01/anat/sub-01_run-{i}_T1w.nii.gz") for i in (1, 2)]
    truths = [image(folders.truth / f"sub-01_run-{i}_T1w.nii.gz") for i in (1, 2)]
    mask = image(folders.truth / "sub-01_run-1_mask.nii.gz") > 0
    for own, other in ((0, 1), (1, 0)):
        assert psnr(runs[own], truths[own], mask) > psnr(runs[own], truths[other], mask) + 1
        assert 15 < psnr(runs[own], truths[own], mask) < 35


def test_truth_lies_outside_the_dataset(folders):
    """The app cannot see the truth."""
    names = sorted(p.name for p in folders.bids.rglob("*.nii.gz"))
    assert names == ["sub-01_run-1_T1w.nii.gz", "sub-01_run-2_T1w.nii.gz"]


@pytest.mark.parametrize("reference", [1, 2])
def test_score_finds_the_reference_and_forgives_gain(folders, reference):
    """Half the error is 6 dB, whichever run was the reference and whatever its intensity."""
    write_derivatives(folders, reference, mean_error=20.0, denoised_error=10.0)
    assert demo.score(folders).gain_db == pytest.approx(20 * np.log10(2), abs=0.05)


def test_second_call_keeps_the_dataset_and_runs_the_app(folders, monkeypatch, capsys):
    """The app is run as a user would run it; its exit code is the demo's."""
    write_derivatives(folders, 1, mean_error=20.0, denoised_error=10.0)
    before = (folders.bids / "sub-01/anat/sub-01_run-1_T1w.nii.gz").stat().st_mtime_ns
    calls = []

    def app(code):
        def run(command, check):
            calls.append(command)
            return argparse.Namespace(returncode=code)

        return run

    asked = demo.DemoConfig(folders.root)
    monkeypatch.setattr(demo.subprocess, "run", app(0))
    assert demo.run_demo(asked) == 0
    assert "+6.0" in capsys.readouterr().out
    monkeypatch.setattr(demo.subprocess, "run", app(1))
    assert demo.run_demo(asked) == 1
    assert "dB" not in capsys.readouterr().out
    assert str(folders.bids) in calls[0]
    assert (folders.bids / "sub-01/anat/sub-01_run-1_T1w.nii.gz").stat().st_mtime_ns == before


def test_foreign_folder_and_odd_voxel_size_are_refused(tmp_path):
    """Nothing of the user's is mixed with the demonstration."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="new or empty folder"):
        demo.write_dataset(demo.DemoFolders(tmp_path), 4.0, 1)
    with pytest.raises(ConfigError, match="found a file"):
        demo.write_dataset(demo.DemoFolders(tmp_path / "thesis.txt"), 4.0, 1)
    with pytest.raises(ConfigError, match="from 1 to 4"):
        demo.write_dataset(demo.DemoFolders(tmp_path / "new"), 0.2, 1)
