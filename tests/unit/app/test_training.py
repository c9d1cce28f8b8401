"""The level 'train' of the app: what is prepared now is trained on, and nothing else."""

from __future__ import annotations

import fcntl
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from dwi_dataset import write_dataset
from microscopy_dataset import describe_dataset, expose, micr_path
from PIL import Image
from small_dataset import describe, write_mask, write_participant

import n2a_bids.app.execution as execution
import n2a_bids.app.training as training
import n2a_bids.app.work as work
from n2a_bids.algorithms.context import Context
from n2a_bids.app.work import ParticipantWork, find_work
from n2a_bids.app.work_dir import work_dir_of
from n2a_bids.cli.options import read_options
from n2a_bids.cli.tools import build_parser
from n2a_bids.config import Config, MaskConfig, ResourceConfig, TrainConfig, TrainLevelConfig
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.interfaces.training_group import GROUP_FILE, ListTrainingGroup
from n2a_bids.system.signals import Interruption
from n2a_bids.training.groups import AlignedGroup, groups_of_pairs, write_groups
from n2a_bids.training.loading import load_group
from n2a_bids.training.session import TrainRequest


@pytest.fixture
def config(tmp_path) -> Config:
    describe(tmp_path / "bids", "small", "raw")
    write_participant(tmp_path / "bids", "01", seed=1)
    write_mask(tmp_path / "masks", "01")
    return Config(
        bids_dir=tmp_path / "bids",
        output_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
        run_uuid="now",
        derivatives={"masks": tmp_path / "masks"},
        resources=ResourceConfig(n_procs=1, omp_nthreads=1, memory_gb=4),
    )


def _earlier_group(config: Config, units: list) -> Path:
    """What an earlier run has left of the first group."""
    item = ParticipantWork("01", tuple(units), ())
    folder = work_dir_of("01", config) / units[0].workflow_name / "aligned"
    folder.mkdir(parents=True)
    return write_groups(
        [AlignedGroup(item.label, units[0].label, (Path("old.nii"),), Path("m.nii"))], folder / GROUP_FILE
    )


def test_an_earlier_alignment_does_not_stand_for_one_that_fails(config, monkeypatch, capsys):
    """The images may be others by now: the group is named with what went wrong, and left out."""
    units = training._units(find_work(config, config.selection, "auto"))
    earlier = _earlier_group(config, units)

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(execution, "run_workflow", fail)
    assert training._prepare(units, config, Interruption()) == []
    assert not earlier.exists()
    assert ListTrainingGroup().always_run, "or nipype would miss the file that is deleted"
    said = capsys.readouterr().err
    assert "sub-01_T1w could not be aligned, and is not trained on: MemoryError" in said


def test_a_participant_that_another_run_works_on_is_left_out(config, monkeypatch, capsys):
    """Two runs would write into the same folders."""
    units = training._units(find_work(config, config.selection, "auto"))
    monkeypatch.setattr(execution, "run_workflow", lambda *arguments: None)
    (config.work_dir / "locks").mkdir(parents=True)
    with (config.work_dir / "locks" / "sub-01").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert training._prepare(units, config, Interruption()) == []
    assert "another process is working on it" in capsys.readouterr().err


def test_a_second_training_in_one_work_directory_is_refused(config):
    """Both would write one checkpoint, and the second would align anew what the first reads."""
    locks = config.work_dir / "locks"
    locks.mkdir(parents=True)
    with (locks / "training").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match=r"training: another process .* another work directory with -w"):
            training.run_training(config, Interruption())


def test_a_template_is_downloaded_for_training_too(config, monkeypatch):
    """With --templateflow-download its absence from the disk is no error at the start."""
    asked = []

    def provide(name, regions, home):
        asked.append((name, home))
        raise SystemExit

    mask = MaskConfig(method="template", template="Mine", templateflow_download=True)
    monkeypatch.setattr(work, "provide_templates", provide)
    monkeypatch.setattr(training, "prepare_environment", lambda config: None)
    with pytest.raises(SystemExit):
        training.run_training(replace(config, mask=mask), Interruption())
    assert asked == [("Mine", config.work_dir / "cache" / "templateflow")]


def test_each_network_has_a_checkpoint_of_its_own(config, monkeypatch):
    """Whoever trains on heads and then on micrographs of one dataset is not told to delete the first one."""
    commands = []

    def run(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(training.subprocess, "run", run)
    for micrograph in (False, True, True):
        training._train([AlignedGroup("01", "group", (), None, micrograph=micrograph)], config)
    heads, first, again = (Path(words[words.index("--checkpoint") + 1]).name for words in commands)
    assert (heads, first, again) == ("resunet-t1w.pt", "resunet-2d.pt", "resunet-2d.pt")


def test_the_training_process_is_told_every_setting():
    """What `n2a ... train` is asked for is what the tool reads; each has one place for the weights."""
    settings = {"epochs": 3, "targets": "noise2noise", "from_scratch": True, "test_subjects": 2, "rate": 1e-3}
    words = training._option_words(TrainLevelConfig(**settings, out_dir=Path("weights")))
    args = build_parser("train").parse_args(["train", "--out", "w", "--checkpoint", "c.pt", *words])
    assert read_options(args, TrainRequest).train == TrainConfig(**settings)
    with pytest.raises(SystemExit):
        build_parser("train").parse_args(["train", "--out", "w", "--checkpoint", "c.pt", "--train-out", "v"])


@pytest.fixture
def microscope(tmp_path) -> Config:
    """Two fields of view of one specimen, two exposures each."""
    bids = tmp_path / "bids"
    describe_dataset(bids)
    for run, shift in ((1, (0, 0)), (2, (3.4, -5.2))):
        for chunk in (1, 2):
            image = Image.fromarray(expose(10 * chunk + run, shift))
            image.save(micr_path(bids, f"run-{run}_chunk-{chunk}", "TEM", ".tif"))
    return Config(
        bids_dir=bids,
        output_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
        run_uuid="now",
        resources=ResourceConfig(n_procs=1, omp_nthreads=1, memory_gb=4),
    )


def test_exposures_of_a_microscope_are_aligned_for_training(microscope):
    """By the step of the participant level, which finds it done; fields of view are named."""
    units = training._units(find_work(microscope, microscope.selection, "auto"))
    groups = training._prepare(units, microscope, Interruption())
    assert [group.field_of_view for group in groups] == ["01_sample-A_chunk-1", "01_sample-A_chunk-2"]
    assert {group.network for group in groups} == {"resunet-2d"}
    folder = work_dir_of("01", microscope) / units[0].workflow_name
    assert groups[0].runs[0].parent == folder / "align" == groups[0].mask.parent
    context = Context(torch.Generator().manual_seed(0))
    (fields,) = load_group(groups[0], None, context).channels
    assert fields.images.shape[:2] == (2, 1)
    assert 0.5 < fields.counted.mean() < 1, "what the drift moved out of the image does not count"


def test_images_that_train_no_network_are_told_why(tmp_path, config):
    """Diffusion series alone: the error names the reason; micrographs beside heads: what chooses."""
    write_dataset(tmp_path / "dwi", "repeat")
    series = replace(config, bids_dir=tmp_path / "dwi")
    with pytest.raises(BIDSDataError, match="filters that are learned from each series"):
        training._units(find_work(series, series.selection, "auto"))
    for run in (1, 2):
        path = micr_path(config.bids_dir, f"run-{run}", "TEM", ".tif")
        Image.fromarray(expose(run)).save(path)
    with pytest.raises(ConfigError, match=r"T1w, TEM; choose one by --modalities"):
        training._units(find_work(config, config.selection, "auto"))


def test_a_file_of_another_subject_is_not_trained_on(config, capsys):
    """A network would be judged on what it has learned from; `--pairs` are refused, too."""
    for label in ("02", "03", "04"):
        write_participant(config.bids_dir, label, seed=int(label))
    first, copied = (
        config.bids_dir / f"sub-{label}/anat/sub-{label}_run-2_T1w.nii.gz" for label in ("02", "04")
    )
    copied.write_bytes(first.read_bytes())
    training._list(config)
    told = capsys.readouterr().out
    assert "3 groups" in told and "sub-04_T1w: not trained on: " in told and "byte for byte" in told
    other = first.with_name("sub-02_run-1_T1w.nii.gz")
    with pytest.raises(ConfigError, match="files of their own for each subject"):
        groups_of_pairs([f"{other},{first}", str(copied)], [first, first])
