"""What ``n2a ... participant`` deletes, overwrites and answers, short of denoising."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_dataset import write_participant

from n2a_bids.app.selection_doubts import options_without_effect, options_without_training
from n2a_bids.app.work import missing_weights
from n2a_bids.cli.app.settings import parse_config
from n2a_bids.cli.main import main
from n2a_bids.dataset.units import DenoisingUnit, ImageFile
from n2a_bids.dataset.write.description import write_dataset_files
from n2a_bids.dataset.write.raw_like.names import write_raw_like_files
from n2a_bids.errors import BIDSDataError
from n2a_bids.workflows import participant as participant_workflow

pytestmark = pytest.mark.usefixtures("own_environment")
RUNS = {f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz": None for run in "12"}


@pytest.fixture
def n2a(make_bids, tmp_path):
    """Run the app on two runs without content; listing them is the least that it can do."""
    bids_dir = make_bids(RUNS)

    def run(*options: object, out: Path = tmp_path / "out") -> int:
        words = [bids_dir, out, "participant", "--device", "cpu", *options]
        return main([str(word) for word in words])

    return run


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def database(tmp_path) -> Path:
    """A folder of indexes in which other things have names like theirs."""
    folder = tmp_path / "db"
    for name in ("n2a_results_2024/data.txt", "n2a_0_1_0/sub_01/x.pklz", "n2a_0123456789abcdef/notes.txt"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine")
    return folder


def test_wiping_the_index_deletes_indexes_only(n2a, database):
    """Results and work directories stay, though their names begin alike."""
    foreign = files_below(database)
    options = ["--boilerplate-only", "--bids-database-dir", database]
    assert n2a(*options) == 0
    (index,) = {path.parent for path in database.rglob("layout_index.sqlite")}
    (index / "stale").touch()
    assert n2a(*options, "--bids-database-wipe") == 0
    assert not (index / "stale").exists()
    assert (index / "layout_index.sqlite").is_file()
    assert files_below(database).items() >= foreign.items()


def test_the_methods_text_is_written_without_those_who_cannot_be_described(
    n2a, tmp_path, capsys, monkeypatch
):
    """A run would fail for one participant alone; so does the text that is written before it."""

    def describe(label, units, config):
        if label == "01":
            raise BIDSDataError("sub-01_mask.nii.gz: expected a mask, found none that can be read; repair it")
        return {"T1w": "Said of the others."}

    monkeypatch.setattr(participant_workflow, "describe_units", describe)
    write_participant(tmp_path / "bids", "01", 1)
    write_participant(tmp_path / "bids", "02", 2)
    assert n2a("--boilerplate-only") == 0
    assert "sub-01 is left out of the methods text: sub-01_mask.nii.gz" in capsys.readouterr().err
    assert "Said of the others." in (tmp_path / "out" / "logs" / "CITATION.md").read_text()


def test_a_listing_wipes_nothing(n2a, database, capsys):
    """--dry-run looks past the index instead, and leaves it as it is."""
    n2a("--dry-run", "--bids-database-dir", database)
    before = files_below(database)
    for index in database.glob("*/layout_index.sqlite"):
        index.write_bytes(b"no index")
        before[str(index.relative_to(database))] = b"no index"
    assert n2a("--dry-run", "--bids-database-dir", database, "--bids-database-wipe") == 0
    assert "1 group to denoise" in capsys.readouterr().out
    assert files_below(database) == before


def test_a_participant_who_is_left_out_but_not_there_is_told(n2a, tmp_path, capsys):
    """A mistyped label leaves nobody out, who perhaps must not be looked at."""
    write_participant(tmp_path / "bids", "02", 2)
    assert n2a("--dry-run", "--exclude-participant-label", "2", "sub-02") == 0
    told = capsys.readouterr().err
    assert "leaves nobody out by sub-2: found no such folder" in told
    assert "sub-02" not in told
    assert n2a("--dry-run", "--exclude-participant-label", "02") == 0
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "is_told"),
    [
        ("*_run-2_T1w*", True),
        ("sub-01/anat/*run-2*", True),
        ("/sub-01", True),
        ("**/anat/", True),
        ("# *_run-2_T1w*", False),
        ("*_run-2_T1w*\n!sub-01/**", False),
        ("anat/*run-2*", False),
        ("*_T2w*", False),
    ],
)
def test_images_of_bidsignore_are_told_to_be_used(n2a, tmp_path, capsys, line, is_told):
    """It is for validators; who lists a spoiled run there must know that it is not left out."""
    (tmp_path / "bids" / ".bidsignore").write_text(f"extra/\n{line}\n")
    assert n2a("--dry-run") == 0
    told = capsys.readouterr()
    assert "1 group to denoise (2 images" in told.out
    assert (".bidsignore" in told.err and "sub-01_run-2_T1w.nii.gz" in told.err) == is_told


def test_a_pipe_called_bidsignore_is_not_waited_for(n2a, tmp_path, capsys):
    """It lists nothing."""
    os.mkfifo(tmp_path / "bids" / ".bidsignore")
    assert n2a("--dry-run") == 0
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "--dwi-corrected --b0-threshold 10",
            "--dwi-corrected and --b0-threshold: without effect, since no d",
        ),
        ("--micr-float", "--micr-float: without effect, since no micrographs are denoised here"),
        ("--train-epochs 3", "--train-epochs: without effect but at the level 'train'"),
        ("--b0-threshold 50 --skull-strip --single --mask-method network --align-space midspace", ""),
    ],
)
def test_options_for_other_images_are_told(n2a, capsys, line, told):
    """What does nothing for the images at hand may have been meant otherwise; a default asks for nothing."""
    assert n2a("--dry-run", *line.split()) == 0
    said = capsys.readouterr().err
    assert told in said
    assert ("without effect" in said) == bool(told)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--single --skull-strip --mask-method network", "--single and --mask-method: without effect"),
        (
            "--single --skull-strip --mask-method network",
            "--skull-strip: without effect, since no anatomical",
        ),
        ("--micr-frames 2", "--micr-frames: without effect, since no file of several pages is used"),
        ("--micr-float", ""),
    ],
)
def test_options_for_other_images_than_micrographs_are_told(tmp_path, line, told):
    """Files of one page hold no frames."""
    images = tuple(ImageFile(tmp_path / f"sub-01_sample-a_run-{run}_TEM.tif") for run in "12")
    unit = DenoisingUnit("micr-repeats", images, {"sub": "01", "sample": "a"})
    config = parse_config(
        [str(tmp_path / "bids"), str(tmp_path), "participant", "--device", "cpu", *line.split()]
    )
    said = options_without_effect(config, [unit])
    assert any(told in one for one in said) if told else not said


def test_weights_that_are_missing_are_told_before_the_work(n2a, tmp_path, capsys):
    """Every group would fail after its alignment, which takes hours for a dataset."""
    (tmp_path / "resunet-2d.safetensors").touch()
    assert n2a("--dry-run", "--weights-dir", tmp_path) == 2
    told = capsys.readouterr().err
    assert "expected resunet-t1w.safetensors in --weights-dir" in told and "for sub-01_T1w" in told
    assert n2a("--dry-run", "--weights-dir", tmp_path, "--strategy", "mean") == 0
    (tmp_path / "resunet-t1w.safetensors").touch()
    assert n2a("--dry-run", "--weights-dir", tmp_path) == 0


def test_weights_for_some_images_alone_denoise_these(tmp_path):
    """The other kind is named, and does not stop them."""
    (tmp_path / "resunet-t1w.safetensors").touch()
    files = {"anat-repeats": "anat/sub-01_run-1_T1w.nii.gz", "micr-repeats": "micr/sub-01_sample-a_TEM.tif"}
    units = [
        DenoisingUnit(kind, (ImageFile(tmp_path / name),), {"sub": "01"}) for kind, name in files.items()
    ]
    words = [str(tmp_path / "bids"), str(tmp_path), "participant", "--device", "cpu"]
    (told,) = missing_weights(parse_config([*words, "--weights-dir", str(tmp_path)]), units)
    assert "expected resunet-2d.safetensors" in told and "sub-01_TEM" in told


def test_options_that_training_does_not_look_at_are_told(tmp_path):
    """Weights that it was thought to start from, above all."""
    words = [str(tmp_path / "bids"), str(tmp_path), "train", "--device", "cpu", "-w", str(tmp_path / "work")]
    given = parse_config([*words, "--weights-dir", str(tmp_path), "--viewer", "--random-seed", "3"])
    (told,) = options_without_training(given)
    assert told == (
        "--weights-dir and --viewer: without effect at the level 'train', and training starts from the "
        "shipped weights"
    )
    assert not options_without_training(parse_config([*words, "--train-epochs", "3"]))


def test_folders_that_are_meant_as_participants_are_told(n2a, tmp_path, capsys):
    """They would be missing in the result without a word; other folders are none, nor are they asked for."""
    for name in ("SUB-02", "sub_03", "sub04", "subjects", "submission", "derivatives"):
        (tmp_path / "bids" / name).mkdir()
    (tmp_path / "bids" / "sub_05.tsv").touch()
    assert n2a("--dry-run") == 0
    assert "SUB-02, sub04, sub_03 in" in capsys.readouterr().err
    assert n2a("--dry-run", "--participant-label", "01") == 0
    assert not capsys.readouterr().err


def test_a_query_that_no_program_has_is_told(n2a, tmp_path, capsys):
    """A misspelled one filters nothing: all runs would be taken without a word."""
    filters = tmp_path / "filters.json"
    filters.write_text('{"T1": {"run": 1}, "anat": {"run": 2}, "BOLD": {"task": "rest"}, "T2w": {"run": 3}}')
    assert n2a("--dry-run", "--bids-filter-file", filters) == 0
    told = capsys.readouterr().err
    assert "hold 'T1', which is none of our queries" in told and "did you mean 't1w'?" in told
    assert "hold 'anat'" in told
    assert "BOLD" not in told and "'T2w'" not in told


@pytest.mark.parametrize(
    ("raw_like", "found"),
    [
        ("bids", "input directory"),
        ("bids/derivatives/raw", "input directory"),
        ("out", "output directory"),
        ("out/raw", "output directory"),
        ("work/raw", "work directory"),
        (".", "overlap"),
        ("link", "input directory"),
    ],
)
def test_raw_like_dataset_overlaps_with_no_other_folder(n2a, tmp_path, capsys, raw_like, found):
    """Its description and README would replace theirs."""
    (tmp_path / "link").symlink_to(tmp_path / "bids")
    before = files_below(tmp_path)
    for stage in ("--boilerplate-only", "--dry-run"):
        assert n2a("--emit-raw-like", raw_like, stage) == 2
        message = " ".join(capsys.readouterr().err.split())
        assert "--emit-raw-like" in message
        assert found in message
    assert files_below(tmp_path) == before


def test_raw_like_dataset_goes_to_a_folder_of_its_own(n2a, make_bids, tmp_path, capsys):
    """New, empty to the eye, or filled by this option before; never one that somebody else has filled."""
    (tmp_path / "datalad" / ".git").mkdir(parents=True)
    write_raw_like_files(tmp_path / "earlier", tmp_path / "bids")
    for good in ("new", "datalad", "earlier"):
        assert n2a("--dry-run", "--emit-raw-like", tmp_path / good) == 0
    make_bids({}, name="study")
    write_dataset_files(tmp_path / "derivative", tmp_path / "bids", {}, environ={})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "README.md").touch()
    (tmp_path / "file").touch()
    for bad in ("study", "derivative", "notes", "file"):
        assert n2a("--dry-run", "--emit-raw-like", tmp_path / bad) == 2
        assert f"--emit-raw-like {tmp_path / bad}" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "new").exists()


def test_raw_like_dataset_that_cannot_be_written_is_refused(n2a, tmp_path, monkeypatch, capsys):
    """Before hours of work."""

    def fail(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("n2a_bids.app.participant.check_output_dir", lambda *folders: None)
    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    assert n2a("--dry-run", "--emit-raw-like", tmp_path / "raw") == 2
    assert "Read-only file system" in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def finished(tmp_path) -> Path:
    """What two runs have left of a participant; the first of them failed."""
    logs = tmp_path / "out" / "sub-01" / "log"
    for name in ("20260101-000000_a", "20260102-000000_b"):
        (logs / name).mkdir(parents=True)
    crash = "Node: n2a.sub_01.unit.denoise\nTraceback (most recent call last):\nValueError: upside down\n"
    (logs / "20260101-000000_a" / "crash-1.txt").write_text(crash)
    return logs


def test_report_written_again_is_no_success_of_denoising(n2a, finished, tmp_path, capsys):
    """It has an outcome of its own."""
    assert n2a("--reports-only") == 0
    table = capsys.readouterr().out
    assert "1 participant: 1 report written" in table
    assert "20260102-000000_b" in table
    assert (tmp_path / "out" / "sub-01.html").is_file()


def test_report_of_a_failed_run_stays_a_failure(n2a, finished, tmp_path, capsys):
    """The crashes of the last run count, which is named; the page is written all the same."""
    crash = finished / "20260101-000000_a" / "crash-1.txt"
    crash.rename(finished / "20260102-000000_b" / crash.name)
    assert n2a("--reports-only") == 1
    told = capsys.readouterr().out
    assert "unit.denoise: ValueError: upside down" in " ".join(told.split())
    assert "as in the run 20260102-000000_b, whose report was written again" in " ".join(told.split())
    page = tmp_path / "out" / "sub-01.html"
    assert page.is_file() and f"report: {page}" in told


def test_report_of_an_image_that_cannot_be_used_is_a_failure(n2a, finished, tmp_path, capsys):
    """As in the run itself; without an earlier run there is nothing to report on."""
    sidecar = tmp_path / "bids" / "sub-01" / "anat" / "sub-01_run-1_T1w.json"
    sidecar.write_text("{")
    assert n2a("--reports-only") == 1
    assert sidecar.name in " ".join(capsys.readouterr().out.split())
    sidecar.unlink()
    assert n2a("--reports-only", out=tmp_path / "other") == 70
    assert "no earlier run" in capsys.readouterr().out
