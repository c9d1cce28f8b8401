"""Messages of the participant level before the work starts."""

from __future__ import annotations

import pytest

from n2a_bids.app.participant import run_participants
from n2a_bids.config import Config, ResourceConfig


@pytest.mark.parametrize(("memory_gb", "warned"), [(0.1, True), (4.0, False)])
def test_less_memory_than_the_app_takes_is_told(make_bids, tmp_path, capsys, memory_gb, warned):
    """With the number that was asked for; the plan is printed all the same."""
    bids_dir = make_bids({f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz": None for run in "12"})
    resources = ResourceConfig(memory_gb=memory_gb)
    folders = (bids_dir, tmp_path / "out", tmp_path / "work")
    assert run_participants(Config(*folders, "uuid", stage="dry-run", resources=resources), None) == 0
    shown = capsys.readouterr()
    assert ("GB of memory at least, found 0.1 GB (--mem" in shown.err) is warned
    assert "1 group to denoise" in shown.out
