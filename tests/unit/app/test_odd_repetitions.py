"""What is denoised once more after a step failed for some of its repetitions."""

from __future__ import annotations

import pytest

from n2a_bids.app.log import run_record
from n2a_bids.app.odd_repetitions import without_odd_repetitions
from n2a_bids.app.work import ParticipantWork
from n2a_bids.config import Config, SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.interfaces.odd_repetitions import note_odd_reference, note_odd_repetitions
from tests.unit.dataset.grouping.test_dwi import AP, Dataset

RUNS = {f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz": None for run in (1, 2, 3)}
AGAINST = [(f"sub-01_run-{run}_T1w.nii.gz", "correlation 0.1, expected 0.85") for run in (2, 3)]


@pytest.fixture
def failed(make_bids, tmp_path):
    """Three runs, and the crash file of a step of theirs with its working directory."""
    bids_dir = make_bids(RUNS)
    config = Config(bids_dir, tmp_path / "out", tmp_path / "work", "now")
    work = ParticipantWork.of("01", collect(bids_dir, SelectionConfig()))
    return work, config, *_crash(config)


@pytest.fixture
def dwi_pair(tmp_path):
    """A dataset of two diffusion series of one phase encoding."""
    dataset = Dataset(tmp_path / "bids")
    for run in (1, 2):
        dataset.add(f"run-{run}", metadata=AP)
    return dataset.root


def _crash(config):
    """Working directory of a step that failed, and its crash file."""
    step = config.work_dir / "resample"
    step.mkdir(parents=True)
    crash = run_record("01", config).parent / "crash-resample.txt"
    crash.parent.mkdir(parents=True)
    crash.write_text(f"Node: n2a.sub_01.unit.align_wf.resample\nWorking directory: {step}\n\nTraceback: x\n")
    return step, crash


def test_the_others_are_left_with_the_reason(failed):
    """They are one unit that tells what was left out; the failure has become a reason, and is no error."""
    work, config, step, crash = failed
    note_odd_reference(step, "sub-01_run-1_T1w.nii.gz", AGAINST)
    left = without_odd_repetitions(work, config)
    (unit,) = left.units
    assert [image.path.name for image in unit.images] == [name for name, _ in AGAINST]
    assert any("run-1_T1w.nii.gz was left out" in note for note in unit.notes)
    (excluded,) = left.excluded
    assert "correlation 0.1" in excluded.reason and not excluded.is_error
    assert not crash.exists()


@pytest.mark.parametrize("pairing", ["auto", "repeat"])
def test_of_two_series_the_complete_one_is_denoised_alone(dwi_pair, tmp_path, pairing):
    """With the reason against the other; where repeats were asked for, the failure stays one."""
    selection = SelectionConfig(dwi_pairing=pairing)
    config = Config(dwi_pair, tmp_path / "out", tmp_path / "work", "now", selection=selection)
    work = ParticipantWork.of("01", collect(dwi_pair, selection))
    assert [unit.kind for unit in work.units] == ["dwi-repeats"]
    step, crash = _crash(config)
    note_odd_repetitions(step, {"sub-01_run-1_dwi.nii.gz": "it shows 68% of the brain"})
    left = without_odd_repetitions(work, config)
    assert crash.exists() == (left is None) == (pairing == "repeat")
    if left is not None:
        (unit,), (excluded,) = left.units, left.excluded
        assert [image.path.name for image in unit.images] == ["sub-01_run-2_dwi.nii.gz"]
        assert unit.kind == "dwi-split" and "sub-01_run-1_dwi.nii.gz cannot" in unit.reason
        assert unit.notes[-1] == "sub-01_run-1_dwi.nii.gz was left out: it shows 68% of the brain"
        assert "68%" in excluded.reason and not excluded.is_error
        assert left.outcome([]).status == "denoised"


@pytest.mark.parametrize("single", [True, False])
def test_of_two_runs_the_complete_one_is_denoised_alone_if_that_is_asked_for(make_bids, tmp_path, single):
    """Without ``--single`` the failure stays, which says so."""
    bids_dir = make_bids(dict.fromkeys(list(RUNS)[:2]))
    selection = SelectionConfig(single=single)
    config = Config(bids_dir, tmp_path / "out", tmp_path / "work", "now", selection=selection)
    work = ParticipantWork.of("01", collect(bids_dir, selection))
    step, crash = _crash(config)
    note_odd_repetitions(step, {"sub-01_run-2_T1w.nii.gz": "it shows 56% of the brain"})
    left = without_odd_repetitions(work, config)
    assert crash.exists() == (left is None) == (not single)
    assert left is None or [unit.kind for unit in left.units] == ["anat-single"]


def test_other_failures_stay_failures(failed):
    """A step that left nothing on its reference; and a pair, in which nobody can tell who is odd."""
    work, config, step, crash = failed
    assert without_odd_repetitions(work, config) is None
    note_odd_reference(step, "sub-01_run-1_T1w.nii.gz", AGAINST[:1])
    assert without_odd_repetitions(work, config) is None
    assert crash.exists()
