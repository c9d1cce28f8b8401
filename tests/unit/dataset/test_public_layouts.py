"""Layouts of public BIDS examples: what looks like repetitions and is none, or the reverse."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from niworkflows.utils.testing import generate_bids_skeleton

from n2a_bids.config import SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.dataset.units import Collection

T1W_ONLY = SelectionConfig(modalities=("T1w",))


def run(run: str, suffix: str = "T1w", **entities: str) -> dict[str, str]:
    return {**entities, "run": run, "suffix": suffix}


DS051 = {
    subject: {
        "anat": [run("01", "inplaneT2"), run("01"), run("02"), run("03")],
        "func": [{"task": "abstractconcretejudgment", "run": "01", "suffix": "bold"}],
    }
    for subject in ("01", "02", "13")
}
DS052 = {"01": {"anat": [run("01", "inplaneT2"), run("01"), run("02")]}}
# ds004332: the same sequence with and without motion, motion correction and reacquisition.
DS004332 = {
    "01": {
        "anat": [
            {"task": task, "acq": f"mpragePMC{pmc}", "rec": rec, "suffix": "T1w"}
            for task in ("still", "nodding", "shaking")
            for pmc in ("on", "off")
            for rec in (("wore",) if task == "still" else ("wore", "wre"))
        ]
    }
}
MRI_CHUNK = {"001": {"anat": [{"chunk": "1", "suffix": "T1w"}, {"chunk": "2", "suffix": "T1w"}]}}
QMRI_QSM = {
    "01": {
        "anat": [
            {"part": "mag", "suffix": "T1w", "extension": ".nii"},
            {"part": "phase", "suffix": "T1w", "extension": ".nii"},
            {"suffix": "Chimap"},
        ]
    }
}
ALONE = "--single denoises it by itself"
FMRIPREP = {
    "dataset_description": {
        "Name": "fMRIPrep",
        "BIDSVersion": "1.4.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "fMRIPrep"}],
    },
    "10": {
        "anat": [
            {"desc": "brain", "suffix": "mask"},
            {"desc": "preproc", "suffix": "T1w"},
            {"space": "MNI152NLin2009cAsym", "res": "2", "desc": "preproc", "suffix": "T1w"},
            {"space": "MNI152NLin6Asym", "desc": "preproc", "suffix": "T1w"},
        ]
    },
}


@pytest.fixture
def collected(tmp_path):
    def make(layout: dict, selection: SelectionConfig = T1W_ONLY) -> Collection:
        shutil.rmtree(tmp_path / "bids", ignore_errors=True)
        generate_bids_skeleton(tmp_path / "bids", layout)
        return collect(tmp_path / "bids", selection)

    return make


def files(collection: Collection) -> list[list[str]]:
    return [[image.path.name for image in unit.images] for unit in collection.units]


def reasons(collection: Collection) -> dict[str, str]:
    return {Path(item.path).name: item.reason for item in collection.excluded}


def test_three_runs_of_each_subject_are_one_group(collected):
    """ds051: inplane T2 and functional runs beside them stay out."""
    found = collected(DS051)
    assert files(found) == [
        [f"sub-{subject}_run-{index}_T1w.nii.gz" for index in ("01", "02", "03")]
        for subject in ("01", "02", "13")
    ]
    assert [unit.label for unit in found.units] == ["sub-01_T1w", "sub-02_T1w", "sub-13_T1w"]
    assert not found.excluded


def test_two_runs_with_leading_zeros_are_one_group(collected):
    """ds052."""
    assert files(collected(DS052)) == [["sub-01_run-01_T1w.nii.gz", "sub-01_run-02_T1w.nii.gz"]]


def test_task_acq_and_rec_keep_images_apart(collected):
    """ds004332: ten T1w of one head, none of them a repetition of another."""
    found = collected(DS004332)
    assert not found.units
    assert len(found.excluded) == 10
    assert (
        "nothing to average (other T1w of this session differ in acq, rec, task)" in found.excluded[0].reason
    )


def test_chunks_are_not_repetitions(collected):
    """mri_chunk: two slabs of one head."""
    found = collected(MRI_CHUNK)
    assert not found.units
    assert all("chunks are not repetitions" in reason for reason in reasons(found).values())


def test_magnitude_and_phase_are_not_repetitions(collected):
    """qmri_qsm."""
    found = collected(QMRI_QSM)
    assert not found.units
    assert reasons(found) == {
        "sub-01_part-mag_T1w.nii": f"sub-01: one T1w with part-mag, nothing to average; {ALONE}",
        "sub-01_part-phase_T1w.nii": "with sub-01_part-mag_T1w.nii: sub-01: one T1w with part-mag, nothing "
        f"to average; {ALONE}",
    }


def test_derivatives_are_not_repetitions(collected):
    """ds000001-fmriprep given as the input."""
    found = collected(FMRIPREP)
    assert not found.units
    assert len(found.excluded) == 3
    assert all("derivative" in reason for reason in reasons(found).values())


def test_complex_repetitions_pair_within_part_mag(collected):
    """Runs are repetitions; the phase of each belongs to its magnitude."""
    parts = [run(index, part=part) for index in "12" for part in ("mag", "phase")]
    layout = {"01": {"anat": [{"part": one["part"], "run": one["run"], "suffix": "T1w"} for one in parts]}}
    found = collected(layout)
    assert files(found) == [["sub-01_part-mag_run-1_T1w.nii.gz", "sub-01_part-mag_run-2_T1w.nii.gz"]]
    assert found.units[0].label == "sub-01_T1w"
    assert found.units[0].uses_phase
    assert not found.excluded


def test_inversions_of_mp2rage_never_pair_and_uniform_images_do(collected):
    """Inversions are parts of one acquisition; runs of the uniform image repeat it, apart from the T1w."""
    layout = {
        "01": {
            "anat": [
                *({"inv": inv, "suffix": "MP2RAGE"} for inv in "12"),
                *(run(index, "UNIT1") for index in "12"),
                {"suffix": "T1w"},
            ]
        }
    }
    found = collected(layout, SelectionConfig(modalities=("anat",)))
    assert [unit.label for unit in found.units] == ["sub-01_UNIT1"]
    assert sum("MP2RAGE" in reason for reason in reasons(found).values()) == 2


def test_echoes_of_one_run_are_a_group_of_different_contrast(collected):
    """Multi-echo MPRAGE; the combination of its echoes (no echo-) stays out."""
    echoes = [{"echo": index, "suffix": "T1w"} for index in "1234"]
    found = collected({"01": {"anat": [*echoes, {"suffix": "T1w"}, {"rec": "RMS", "suffix": "T1w"}]}})
    assert [unit.kind for unit in found.units] == ["anat-echoes"]
    assert len(found.units[0].images) == 4
    assert found.units[0].entities == {"sub": "01"}
    assert set(reasons(found)) == {"sub-01_T1w.nii.gz", "sub-01_rec-RMS_T1w.nii.gz"}


def test_two_runs_of_a_multi_echo_scan_pair_within_each_echo(collected):
    """Runs repeat the signal and echoes do not, so runs come first."""
    scans = [{"run": index, "echo": echo, "suffix": "T1w"} for index in "12" for echo in "123"]
    found = collected({"01": {"anat": scans}})
    assert [(unit.kind, unit.label, len(unit.images)) for unit in found.units] == [
        ("anat-repeats", f"sub-01_echo-{echo}_T1w", 2) for echo in "123"
    ]


def test_an_echo_without_second_run_is_left_out_with_reason(collected):
    """An aborted second run of a multi-echo scan: its missing echo is named."""
    scans = [{"run": "1", "echo": "1", "suffix": "T1w"}, {"run": "1", "echo": "2", "suffix": "T1w"}]
    found = collected({"01": {"anat": [*scans, {"run": "2", "echo": "1", "suffix": "T1w"}]}})
    assert [unit.label for unit in found.units] == ["sub-01_echo-1_T1w"]
    assert reasons(found) == {
        "sub-01_run-1_echo-2_T1w.nii.gz": f"sub-01: echo 2 has one run, nothing to average; {ALONE}"
    }


def test_runs_of_different_sessions_never_pair(collected):
    """Anatomy changes between sessions: each session is its own group."""
    layout = {
        "01": [{"session": "1", "anat": [run("1"), run("2")]}, {"session": "2", "anat": [{"suffix": "T1w"}]}]
    }
    found = collected(layout)
    assert [unit.label for unit in found.units] == ["sub-01_ses-1_T1w"]
    assert reasons(found) == {
        "sub-01_ses-2_T1w.nii.gz": f"sub-01 ses-2: one T1w, nothing to average; {ALONE}"
    }


def test_one_image_in_two_formats_is_no_repetition(collected):
    """Identical noise in .nii and .nii.gz would look like a perfect pair."""
    images = [{"suffix": "T1w"}, {"suffix": "T1w", "extension": ".nii"}]
    found = collected({"01": {"anat": images}})
    assert not found.units
    assert "its name means the same as that of" in " ".join(reasons(found).values())


def test_acq_rec_and_ce_keep_groups_apart_and_all_are_denoised(collected):
    """Normalized and plain reconstructions of two runs are two groups of two."""
    scans = [run(index, acq="hi", ce="gad", rec=rec) for rec in ("norm", "plain") for index in "12"]
    found = collected({"01": {"anat": scans}})
    assert [unit.label for unit in found.units] == [
        "sub-01_acq-hi_ce-gad_rec-norm_T1w",
        "sub-01_acq-hi_ce-gad_rec-plain_T1w",
    ]
