"""Contrasts other than T1w through the app: each under its own suffix, and nothing of one over another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_dataset import describe, write_mask, write_participant
from valid_dataset import assert_valid
from written_tables import read_rows

pytestmark = pytest.mark.slow

CONTRASTS = ("T1w", "T2w")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Output of both levels on a session with two runs of T1w and two of T2w."""
    root = tmp_path_factory.mktemp("contrasts")
    describe(root / "bids", "small", "raw")
    for seed, suffix in enumerate(CONTRASTS, start=1):
        write_participant(root / "bids", "01", seed, suffix=suffix)
    write_mask(root / "masks", "01")
    options = [
        "--strategy",
        "mean",
        "--sloppy",
        "--nprocs",
        "1",
        "-d",
        f"masks={root / 'masks'}",
        "-w",
        "work",
    ]
    for level in ("participant", "group"):
        command = [sys.executable, "-m", "n2a_bids", "bids", "out", level, *options]
        child = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, timeout=600)
        assert child.returncode == 0, child.stdout + child.stderr
    return root / "out"


def test_each_contrast_has_outputs_of_its_own(results):
    """Images, masks, transforms and figures; the mask of the T1w keeps the name that fMRIPrep looks for."""
    names = {path.name for path in (results / "sub-01" / "anat").iterdir()}
    for suffix in CONTRASTS:
        assert f"sub-01_desc-denoised_{suffix}.nii.gz" in names
        assert f"sub-01_run-1_from-orig_to-{suffix}_mode-image_xfm.txt" in names
        assert (results / "sub-01" / "figures" / f"sub-01_desc-denoised_{suffix}.svg").is_file()
    assert {"sub-01_desc-brain_mask.nii.gz", "sub-01_space-T2w_desc-brain_mask.nii.gz"} <= names


def test_report_table_and_methods_know_the_contrast(results):
    """A section and a table of each; the methods text has a paragraph of each."""
    page = (results / "sub-01.html").read_text()
    methods = (results / "logs" / "CITATION.md").read_text()
    for suffix, words in (("T1w", "T1-weighted images"), ("T2w", "T2-weighted images")):
        (row,) = read_rows(results / f"group_{suffix}.tsv")
        assert row["unit"] == f"sub-01_{suffix}"
        assert f"sub-01_{suffix}</h1>" in page and words in page
        assert f"**{words}.**" in methods


def test_the_dataset_is_valid(results):
    """The validator of BIDS accepts the names."""
    assert_valid(results)
