"""Regions of an atlas through the app: placed by registration, measured against a truth, shown, refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_dataset import describe, head_phantom, write_mask
from valid_dataset import assert_valid
from written_tables import read_rows

pytestmark = pytest.mark.slow

NAMES = {1: "Left grey", 2: "Right grey", 3: "Left white", 4: "Right white", 7: "Speck", 9: "Scalp"}
NOISE_SD = {"Left": 30.0, "Right": 90.0}
AFFINE = np.array([[4.0, 0, 0, -78], [0, 4, 0, -86], [0, 0, 4, -70], [0, 0, 0, 1]])


def true_labels() -> np.ndarray:
    """Regions of the phantom: both sides of its rim and core, a speck, and one that is no brain."""
    image, brain = head_phantom()
    left = (np.arange(image.shape[0]) * 4 - 78 < 0)[:, None, None]
    white = brain & (image > 750)
    labels = np.where(brain, np.where(white, np.where(left, 3, 4), np.where(left, 1, 2)), 0)
    labels[10:12, 22:24, 18:20] = 7
    labels[(image > 600) & ~brain & (np.indices(image.shape)[2] > 30)] = 9
    return labels


def write_template(home: Path) -> None:
    """TemplateFlow with the phantom as its only template: turned, larger, elsewhere, with an atlas."""
    move = np.eye(4)
    move[:3, :3] = 1.06 * Rotation.from_euler("xyz", (4, -3, 6), degrees=True).as_matrix()
    move[:3, 3] = (5, -12, 9)
    folder = home / "tpl-Phantom"
    folder.mkdir(parents=True)
    image, brain = head_phantom()
    for rest, data in (
        ("T1w", image.astype(np.float32)),
        ("desc-brain_mask", brain.astype(np.uint8)),
        ("atlas-Halves_desc-four_dseg", true_labels().astype(np.int16)),
    ):
        nb.Nifti1Image(data, move @ AFFINE).to_filename(folder / f"tpl-Phantom_res-01_{rest}.nii.gz")
    table = "".join(f"{number}\t{name}\n" for number, name in NAMES.items())
    (folder / "tpl-Phantom_atlas-Halves_desc-four_dseg.tsv").write_text(f"index\tname\n{table}")


def write_images(bids: Path) -> None:
    """Two runs whose noise is three times as strong on the right."""
    describe(bids, "small", "raw")
    folder = bids / "sub-01" / "anat"
    folder.mkdir(parents=True)
    head, _ = head_phantom()
    left = (np.arange(head.shape[0]) * 4 - 78 < 0)[:, None, None]
    noise_sd = np.where(left, NOISE_SD["Left"], NOISE_SD["Right"])
    generator = np.random.default_rng(5)
    for run in (1, 2):
        noisy = head + noise_sd * generator.standard_normal(head.shape)
        image = nb.Nifti1Image(noisy.astype(np.float32), AFFINE)
        image.set_qform(AFFINE, 1)
        image.set_sform(AFFINE, 1)
        image.header.set_xyzt_units("mm", "sec")
        image.to_filename(folder / f"sub-01_run-{run}_T1w.nii.gz")


def run(root: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "n2a_bids", "bids", "out", "participant", "-w", "work"]
    command += ["--strategy", "mean", "--nprocs", "1", "-d", f"masks={root / 'masks'}", *options]
    environ = {**os.environ, "TEMPLATEFLOW_HOME": str(root / "templates")}
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, check=False, cwd=root, timeout=600
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Folder with the output of a run that asked for the regions."""
    root = tmp_path_factory.mktemp("regions")
    write_template(root / "templates")
    write_images(root / "bids")
    write_mask(root / "masks", "01")
    done = run(root, "--regions", "Phantom:atlas-Halves:desc-four")
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def read_table(path: Path) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in read_rows(path)}


def test_regions_lie_where_they_are(root):
    """The registration undoes turn, size and shift of the template."""
    found = nb.load(root / "out/sub-01/anat/sub-01_desc-regions_dseg.nii.gz")
    np.testing.assert_array_equal(found.affine, AFFINE)
    labels, truth = np.asarray(found.dataobj), true_labels()
    assert labels.dtype == np.int32
    for number in (1, 2, 3, 4):
        one, other = labels == number, truth == number
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.85


def test_noise_of_each_region_is_that_of_the_truth(root):
    """Three times as much on the right, over the root of two in the mean; nothing is gained by a mean."""
    table = read_table(root / "out/sub-01/anat/sub-01_desc-regions_stats.tsv")
    assert [row["index"] for row in table.values()] == [str(number) for number in NAMES]
    (head, brain), labels = head_phantom(), true_labels()
    placed, error = (
        np.asarray(nb.load(root / f"out/sub-01/anat/sub-01_desc-{name}.nii.gz").dataobj)
        for name in ("regions_dseg", "uncertainty_T1w")
    )
    for number in (3, 4):
        row = table[NAMES[number]]
        truth = NOISE_SD[NAMES[number].split()[0]]
        assert float(row["noise_sd"]) == pytest.approx(truth, rel=0.12)
        assert float(row["noise_sd_mean"]) == pytest.approx(truth / np.sqrt(2), rel=0.12)
        inside = (placed == number) & brain
        assert float(row["expected_error"]) == pytest.approx(np.sqrt((error[inside] ** 2).mean()), rel=1e-4)
        assert float(row["gain_db"]) == pytest.approx(0, abs=0.2)
        assert float(row["signal"]) == pytest.approx(head[labels == number].mean(), rel=0.04)
        assert float(row["snr_mean"]) == pytest.approx(
            float(row["signal"]) / float(row["noise_sd_mean"]), 1e-4
        )
        assert row["few_voxels"] == "false"
        assert float(row["fraction_in_brain"]) > 0.98


def test_small_and_lost_regions_are_marked_not_hidden(root):
    """A speck has numbers that are marked; a region outside of the brain has a row and none."""
    table = read_table(root / "out/sub-01/anat/sub-01_desc-regions_stats.tsv")
    assert table["Speck"]["few_voxels"] == "true"
    assert 0 < int(table["Speck"]["n_voxels"]) < 50
    assert (table["Scalp"]["few_voxels"], table["Scalp"]["noise_sd"]) == ("true", "n/a")
    assert float(table["Scalp"]["fraction_in_brain"]) < 0.2


def test_sidecars_report_and_methods_tell_of_the_regions(root):
    """What each column is, where the regions are from, and two figures."""
    anat = root / "out/sub-01/anat"
    stats = json.loads((anat / "sub-01_desc-regions_stats.json").read_text())
    columns = (anat / "sub-01_desc-regions_stats.tsv").read_text().partition("\n")[0].split("\t")
    assert all(stats[column]["Description"] for column in columns)
    assert stats["Atlas"] == "Phantom:atlas-Halves:desc-four"
    assert stats["TemplateOverlap"] > 0.9
    assert "Warnings" not in stats
    page = (root / "out/sub-01.html").read_text()
    assert "Regions of the atlas" in page
    assert "Noise in the regions" in page
    assert "Right white" in page
    assert (
        "The atlas Phantom:atlas-Halves:desc-four was brought" in (root / "out/logs/CITATION.md").read_text()
    )
    record = json.loads((anat / "sub-01_desc-regions_figures.json").read_text())
    assert len(record["regions"]) == len(NAMES)


def test_bids_validator_accepts_the_regions(root):
    """The official validator has no complaint."""
    assert_valid(root / "out")


def test_what_is_not_on_disk_is_named_and_a_listing_says_so(root):
    """Which file to fetch, which there are, and how; nothing is written."""
    before = sorted(path for path in root.rglob("*") if "work" not in path.parts)
    for stage in ((), ("--dry-run",)):
        refused = run(root, "--regions", "Phantom:atlas-Other", *stage)
        assert refused.returncode == 2
        assert "fetch" in refused.stderr
        assert "tpl-Phantom_res-01_atlas-Other_dseg.nii.gz" in refused.stderr
        assert "tpl-Phantom_res-01_atlas-Halves_desc-four_dseg.nii.gz" in refused.stderr
        assert "--templateflow-download" in refused.stderr
    listed = run(root, "--regions", "Phantom:atlas-Halves:desc-four", "--dry-run")
    assert listed.returncode == 0, listed.stderr
    assert sorted(path for path in root.rglob("*") if "work" not in path.parts) == before
