"""Nodes of the regions of an atlas: what they are given, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.errors import BIDSDataError
from n2a_bids.interfaces.regions import FindRegions
from n2a_bids.interfaces.reportlets.regions import RegionChart
from n2a_bids.io.json import write_record
from n2a_bids.record.regions import EXPLAINED, RegionRecord, RegionsRecord


@pytest.fixture
def atlas(tmp_path) -> dict[str, str]:
    """A segmentation of the user's own whose table names one of its two regions."""
    labels = np.zeros((4, 4, 4), np.int16)
    labels[0], labels[1] = 11101, 7
    nb.Nifti1Image(labels, np.eye(4)).to_filename(tmp_path / "my_dseg.nii.gz")
    nb.Nifti1Image(labels, np.eye(4)).to_filename(tmp_path / "my_T1w.nii.gz")
    (tmp_path / "my_dseg.tsv").write_text("index\tname\n0\tBackground\n7\tLeft V1\n8\tNowhere\n")
    return {"regions": str(tmp_path / "my_dseg.nii.gz"), "template": str(tmp_path / "my_T1w.nii.gz")}


def test_every_region_of_the_image_has_a_name(atlas, tmp_path):
    """That of the table, or its number; what the image does not hold is no region of it."""
    found = FindRegions(**atlas).run(cwd=str(tmp_path)).outputs
    assert found.names == {7: "Left V1", 11101: "11101"}
    assert Path(found.labels_file).name == "my_dseg.nii.gz"


@pytest.mark.parametrize("values", [0.5, np.nan, 0.0])
def test_what_is_no_segmentation_is_refused(atlas, tmp_path, values):
    """Probabilities, holes, and an empty image."""
    nb.Nifti1Image(np.full((4, 4, 4), values, np.float32), np.eye(4)).to_filename(atlas["regions"])
    with pytest.raises(BIDSDataError, match=r"my_dseg\.nii\.gz: expected .* whole numbers .* probabilities"):
        FindRegions(**atlas).run(cwd=str(tmp_path))


def test_what_an_earlier_run_wrote_does_not_outlive_a_failure(atlas, tmp_path):
    """Regions of another image would stand beside the new one."""
    old = tmp_path / "sub-01_desc-regions_stats.tsv"
    old.write_text("index\n")
    nb.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)).to_filename(atlas["regions"])
    with pytest.raises(BIDSDataError):
        FindRegions(**atlas, superseded=[str(old), str(tmp_path / "absent.tsv")]).run(cwd=str(tmp_path))
    assert not old.exists()


def test_names_are_no_formulas(tmp_path):
    """A dollar sign is a letter of a name."""
    row = RegionRecord(index=1, name="$x^$", n_voxels=99, few_voxels=False, noise_sd=2.0, noise_sd_mean=1.0)
    record = write_record(RegionsRecord(regions=(row,)), tmp_path / "regions.json")
    svg = Path(RegionChart(record_file=record).run(cwd=str(tmp_path)).outputs.out_file).read_text()
    assert "$x^$" in svg


def test_chart_of_a_series_shows_its_first_weighted_shell(tmp_path):
    """b0s have little noise to speak of."""
    rows = [
        RegionRecord(index=1, name=f"b{shell:.0f}", shell=shell, n_voxels=99, few_voxels=False,
                     noise_sd=2.0, noise_sd_mean=1.0)
        for shell in (0.0, 1000.0, 2000.0)
    ]  # fmt: skip
    record = write_record(RegionsRecord(regions=tuple(rows)), tmp_path / "regions.json")
    svg = Path(RegionChart(record_file=record).run(cwd=str(tmp_path)).outputs.out_file).read_text()
    assert ">b1000<" in svg
    assert ">b0<" not in svg


def test_every_column_is_explained():
    """In the sidecar of the table, and on the page on outputs."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "outputs.md").read_text()
    assert set(EXPLAINED) == set(RegionRecord.__dataclass_fields__)
    assert [name for name in EXPLAINED if f"`{name}`" not in page] == []
