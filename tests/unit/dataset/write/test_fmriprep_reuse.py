"""What fMRIPrep finds in the output: asked as sMRIPrep asks, and by its own code where that is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bids.layout import BIDSLayout, Query
from nipype import Workflow

from n2a_bids.config import Config, OutputConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.dataset.write.description import write_dataset_files
from n2a_bids.dataset.write.preproc import preproc_conflict, several_sessions
from n2a_bids.interfaces.derivatives.sink import WriteDerivatives
from n2a_bids.workflows.participant import init_participant_wf

ONE, TWO = ("sub-01/anat/sub-01",), ("sub-01/ses-1/anat/sub-01_ses-1", "sub-01/ses-2/anat/sub-01_ses-2")
Found = dict[str, list[str]]


def names_written(workflow: Workflow) -> set[str]:
    """Every file that the steps of a workflow may write into the output."""
    interfaces = [workflow.get_node(name).interface for name in workflow.list_node_names()]
    sinks = [interface for interface in interfaces if isinstance(interface, WriteDerivatives)]
    return {name for sink in sinks for names in sink.inputs.targets.values() for name in names}


@pytest.fixture
def denoised(make_bids, tmp_path):
    """Output of a participant, with the true names and no content."""

    def make(stems: tuple[str, ...], *, fmriprep: bool = True) -> Config:
        volume = np.random.default_rng(0).normal(100, 10, (6, 7, 8))
        bids_dir = make_bids({f"{stem}_run-{run}_T1w.nii.gz": volume for stem in stems for run in "12"})
        outputs = OutputConfig(fmriprep_derivatives=fmriprep)
        config = Config(bids_dir, tmp_path / "out", tmp_path / "work", "run", outputs=outputs)
        units = collect(bids_dir, config.selection).units
        for name in names_written(init_participant_wf("01", units, config)):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()
            Path(name).with_name(Path(name).name.replace(".nii.gz", ".json")).write_text("{}")
        write_dataset_files(config.output_dir, bids_dir, {}, environ={})
        return config

    return make


def as_smriprep_asks(output_dir: Path, session: str | None) -> Found:
    """A T1w image and a mask of the participant in ``anat`` without ``space-``, in one session or in any."""
    layout = BIDSLayout(output_dir, validate=False, config=["bids", "derivatives"])
    common = {"subject": "01", "datatype": "anat", "space": Query.NONE, "extension": [".nii.gz", ".nii"]}
    if session:
        common["session"] = session
    found = {
        "t1w_preproc": layout.get(desc="preproc", suffix="T1w", return_type="filename", **common),
        "t1w_mask": layout.get(desc="brain", suffix="mask", return_type="filename", **common),
    }
    return {key: sorted(Path(name).name for name in names) for key, names in found.items() if names}


def by_smriprep(output_dir: Path, session: str | None) -> Found:
    """The same by its own function and its own queries."""
    bids = pytest.importorskip("smriprep.utils.bids", reason="sMRIPrep is not installed")
    found = bids.collect_derivatives(output_dir, "01", ["MNI152NLin2009cAsym"], session_id=session)
    assert not found.pop("transforms"), "transforms of n2a lead to no template"
    listed = {key: [name] if isinstance(name, str) else name for key, name in found.items()}
    return {key: sorted(Path(name).name for name in names) for key, names in listed.items()}


ASK = pytest.mark.parametrize("ask", [as_smriprep_asks, by_smriprep])


@ASK
def test_one_image_and_one_mask_are_found(denoised, ask):
    """Nothing else of the output is taken for anything."""
    config = denoised(ONE)
    assert ask(config.output_dir, None) == {
        "t1w_preproc": ["sub-01_desc-preproc_T1w.nii.gz"],
        "t1w_mask": ["sub-01_desc-brain_mask.nii.gz"],
    }
    units = collect(config.bids_dir, config.selection).units
    assert preproc_conflict(units) == several_sessions(units, config.output_dir) == ""


@ASK
def test_two_sessions_need_the_option_that_is_named(denoised, ask):
    """All sessions at once give two images, which fMRIPrep cannot take; one session gives one."""
    config = denoised(TWO)
    assert len(ask(config.output_dir, None)["t1w_preproc"]) == 2
    for session in "12":
        assert ask(config.output_dir, session) == {
            "t1w_preproc": [f"sub-01_ses-{session}_desc-preproc_T1w.nii.gz"],
            "t1w_mask": [f"sub-01_ses-{session}_desc-brain_mask.nii.gz"],
        }
    units = collect(config.bids_dir, config.selection).units
    warning = several_sessions(units, config.output_dir)
    assert "sub-01 (ses-1, ses-2)" in warning and "--subject-anatomical-reference sessionwise" in warning
    assert several_sessions(units[:1], config.output_dir) == warning, "the other one is there already"
    assert several_sessions(units[:1], config.output_dir / "new") == ""


@ASK
def test_without_the_option_the_mask_alone_is_found(denoised, ask):
    """It would be laid on another reference: docs and the README of the output say not to do this."""
    config = denoised(ONE, fmriprep=False)
    assert ask(config.output_dir, None) == {"t1w_mask": ["sub-01_desc-brain_mask.nii.gz"]}
    handover = Path(__file__).resolve().parents[4] / "docs" / "handover.md"
    for readme in (handover, config.output_dir / "README.md"):
        text = " ".join(readme.read_text(encoding="utf-8").split())
        assert "the brain mask alone" in text and "--fmriprep-derivatives" in text
        assert "--subject-anatomical-reference sessionwise" in text
