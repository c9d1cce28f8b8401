"""What is denoised once more after a reference fitted none of its repetitions."""

from __future__ import annotations

import pytest

from n2a_bids.app.log import run_record
from n2a_bids.app.odd_references import without_odd_references
from n2a_bids.app.work import ParticipantWork
from n2a_bids.config import Config, SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.interfaces.odd_reference import note_odd_reference

RUNS = {f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz": None for run in (1, 2, 3)}
AGAINST = [(f"sub-01_run-{run}_T1w.nii.gz", "correlation 0.1, expected 0.85") for run in (2, 3)]


@pytest.fixture
def failed(make_bids, tmp_path):
    """Three runs, and the crash file of a step of theirs with its working directory."""
    bids_dir = make_bids(RUNS)
    config = Config(bids_dir, tmp_path / "out", tmp_path / "work", "now")
    step = tmp_path / "work" / "resample"
    step.mkdir(parents=True)
    crash = run_record("01", config).parent / "crash-resample.txt"
    crash.parent.mkdir(parents=True)
    crash.write_text(f"Node: n2a.sub_01.unit.align_wf.resample\nWorking directory: {step}\n\nTraceback: x\n")
    work = ParticipantWork.of("01", collect(bids_dir, SelectionConfig()))
    return work, config, step, crash


def test_the_others_are_left_with_the_reason(failed):
    """They are one unit that tells what was left out; the failure has become a reason, and is no error."""
    work, config, step, crash = failed
    note_odd_reference(step, "sub-01_run-1_T1w.nii.gz", AGAINST)
    left = without_odd_references(work, config)
    (unit,) = left.units
    assert [image.path.name for image in unit.images] == [name for name, _ in AGAINST]
    assert any("run-1_T1w.nii.gz was left out" in note for note in unit.notes)
    (excluded,) = left.excluded
    assert "correlation 0.1" in excluded.reason and not excluded.is_error
    assert not crash.exists()


def test_other_failures_stay_failures(failed):
    """A step that left nothing on its reference; and a pair, in which nobody can tell who is odd."""
    work, config, step, crash = failed
    assert without_odd_references(work, config) is None
    note_odd_reference(step, "sub-01_run-1_T1w.nii.gz", AGAINST[:1])
    assert without_odd_references(work, config) is None
    assert crash.exists()
