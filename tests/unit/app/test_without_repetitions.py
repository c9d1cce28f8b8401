"""Participants without repetitions are no failure: one job for each participant ends well, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_tables import read_rows

from n2a_bids.cli.main import main

pytestmark = pytest.mark.usefixtures("own_environment")
ALONE = {"sub-01/anat/sub-01_T1w.nii.gz": None}


def n2a(bids_dir: Path, *options: str, level: str = "participant") -> int:
    """Run the app in this process."""
    return main([str(bids_dir), "out", level, "--device", "cpu", *options])


def test_one_image_is_no_failure_and_everything_says_why(make_bids, tmp_path, capsys):
    """Exit code 0 of both levels; table, page, group page and group table give the image and the reason."""
    bids_dir = make_bids(ALONE)
    assert n2a(bids_dir) == 0
    table = " ".join(capsys.readouterr().out.split())
    assert "1 nothing to do" in table and "nothing to average" in table
    page = (tmp_path / "out" / "sub-01.html").read_text()
    assert "sub-01/anat/sub-01_T1w.nii.gz" in page and "nothing to average" in page
    assert n2a(bids_dir, level="group") == 0
    assert "nothing to average" in (tmp_path / "out" / "group.html").read_text()
    (row,) = read_rows(tmp_path / "out" / "group_left_out.tsv")
    assert row["participant_id"] == "sub-01" and row["image"].endswith("sub-01_T1w.nii.gz")
    assert "nothing to average" in row["reason"]


@pytest.mark.parametrize("stage", [(), ("--dry-run",), ("--boilerplate-only",)])
def test_required_repetitions_that_are_not_there_are_told_by_the_exit_code(make_bids, stage):
    """As all runs without anything to denoise ended before; the listing and the text alike."""
    bids_dir = make_bids(ALONE)
    assert n2a(bids_dir, *stage) == 0
    assert n2a(bids_dir, *stage, "--require-repetitions") == 70


def test_group_of_nothing_but_single_images_can_be_told_apart(make_bids):
    """The same option at the group level."""
    bids_dir = make_bids(ALONE)
    n2a(bids_dir)
    assert n2a(bids_dir, "--require-repetitions", level="group") == 70


@pytest.mark.parametrize(
    "options", [["--filter-t1w", "acq=hires"], ["--run-id", "7"], ["--modalities", "dwi"]]
)
def test_a_selection_that_matches_nothing_is_no_success(make_bids, tmp_path, options):
    """A mistyped filter must not pass for a participant without repetitions; nothing is written for it."""
    assert n2a(make_bids(ALONE), *options) == 70
    assert not (tmp_path / "out" / "sub-01.html").exists()


def test_one_participant_that_matches_is_enough(make_bids):
    """Another one may have no image of this kind."""
    assert n2a(make_bids({**ALONE, "sub-02/func/sub-02_task-rest_bold.nii.gz": None})) == 0


def test_a_later_run_forgets_what_is_denoised_now(make_bids, tmp_path):
    """The list on the page is that of the last run."""
    bids_dir = make_bids(ALONE)
    n2a(bids_dir)
    # Names of runs hold seconds, and a test takes less than one.
    (first,) = (tmp_path / "out" / "sub-01" / "log").iterdir()
    first.rename(first.with_name("20200101-000000_a"))
    (bids_dir / "sub-01/anat/sub-01_T1w.nii.gz").rename(bids_dir / "sub-01/anat/sub-01_acq-a_T1w.nii.gz")
    n2a(bids_dir)
    page = (tmp_path / "out" / "sub-01.html").read_text()
    assert "sub-01_acq-a_T1w.nii.gz" in page and "sub-01/anat/sub-01_T1w.nii.gz" not in page
