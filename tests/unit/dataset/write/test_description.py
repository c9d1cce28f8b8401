"""The files at the top of the output dataset: description, labels, README, .bidsignore."""

from __future__ import annotations

import json
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from constant_images import save_ones
from valid_dataset import assert_valid

from n2a_bids import __version__
from n2a_bids.dataset.names import derivative_path
from n2a_bids.dataset.write.description import DESCRIPTIONS, write_dataset_files
from n2a_bids.errors import BIDSDataError


@pytest.fixture
def bids_dir(make_bids) -> Path:
    root = make_bids({"sub-01/anat/sub-01_T1w.nii.gz": None}, name="study")
    description = {"Name": "Study", "BIDSVersion": "1.8.0", "License": "CC0", "DatasetDOI": "doi:10.1/abc"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    return root


def description_of(output_dir: Path) -> dict:
    return json.loads((output_dir / "dataset_description.json").read_text())


def test_description_says_where_it_comes_from(bids_dir, tmp_path):
    """Generator with version, links, licence and DOI of the source."""
    out = tmp_path / "out"
    assert write_dataset_files(out, bids_dir, {"smriprep": tmp_path}, environ={}) == ()
    content = description_of(out)
    assert content["DatasetType"] == "derivative"
    assert content["GeneratedBy"][0]["Name"] == "n2a"
    assert content["GeneratedBy"][0]["Version"] == __version__
    assert "Container" not in content["GeneratedBy"][0]
    assert content["DatasetLinks"]["raw"] == bids_dir.as_uri()
    assert content["SourceDatasets"] == [{"URL": "https://doi.org/10.1/abc", "DOI": "doi:10.1/abc"}]
    assert content["License"] == "CC0"


def test_links_inside_the_dataset_are_relative(bids_dir):
    """The study can be moved with its derivatives."""
    out = bids_dir / "derivatives" / "n2a"
    write_dataset_files(out, bids_dir, {}, environ={})
    assert description_of(out)["DatasetLinks"] == {"raw": "../../"}


@pytest.mark.parametrize(
    ("environ", "container"),
    [
        ({"N2A_DOCKER_TAG": "0.1.0"}, {"Type": "docker", "Tag": "n2a:0.1.0"}),
        ({"N2A_DOCKER_TAG": "lab/n2a:1"}, {"Type": "docker", "Tag": "lab/n2a:1"}),
        ({"N2A_APPTAINER_URL": "docker://n2a:1"}, {"Type": "apptainer", "URI": "docker://n2a:1"}),
        ({"APPTAINER_CONTAINER": "/n2a.sif", "N2A_DOCKER_TAG": "1"}, {"Type": "apptainer", "Tag": "n2a:1"}),
        ({"SINGULARITY_CONTAINER": "/n2a.sif"}, {"Type": "apptainer"}),
    ],
)
def test_the_container_is_recorded(bids_dir, tmp_path, environ, container):
    """From the environment that the images set."""
    write_dataset_files(tmp_path / "out", bids_dir, {}, environ=environ)
    assert description_of(tmp_path / "out")["GeneratedBy"][0]["Container"] == container


def test_links_of_an_earlier_run_are_kept(bids_dir, tmp_path):
    """Another participant was masked with other derivatives."""
    write_dataset_files(tmp_path / "out", bids_dir, {"smriprep": tmp_path}, environ={})
    write_dataset_files(tmp_path / "out", bids_dir, {"fmriprep": tmp_path}, environ={})
    assert set(description_of(tmp_path / "out")["DatasetLinks"]) == {"raw", "smriprep", "fmriprep"}


def test_results_of_another_dataset_are_told(bids_dir, make_bids, tmp_path):
    """Both would stand under the same labels; one that was moved, or renamed where it is, is the same."""
    out = tmp_path / "out"
    write_dataset_files(out, bids_dir, {}, environ={})
    moved = bids_dir.rename(tmp_path / "moved")
    assert write_dataset_files(out, moved, {}, environ={}) == ()
    described = json.loads((moved / "dataset_description.json").read_text())
    (moved / "dataset_description.json").write_text(json.dumps({**described, "Name": "Renamed"}))
    assert write_dataset_files(out, moved, {}, environ={}) == ()
    (problem,) = write_dataset_files(out, make_bids({}, name="second"), {}, environ={})
    assert f"another dataset, {moved.as_uri()} (Renamed: denoised" in problem


def test_a_file_that_cannot_be_renewed_is_a_warning(bids_dir, tmp_path, monkeypatch):
    """Somebody else owns it: the run goes on. A missing one is an error."""
    write_dataset_files(tmp_path / "out", bids_dir, {}, environ={})

    def fail(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("n2a_bids.dataset.write.description.whole_file", fail)
    assert write_dataset_files(tmp_path / "out", bids_dir, {}, environ={}) == ()
    (problem,) = write_dataset_files(tmp_path / "out", bids_dir, {"new": tmp_path}, environ={})
    assert "dataset_description.json could not be renewed (Permission denied)" in problem
    with pytest.raises(BIDSDataError, match="expected a folder that can be written"):
        write_dataset_files(tmp_path / "new", bids_dir, {}, environ={})


@pytest.mark.parametrize(
    ("work", "line"), [("my [1] /n2a", r"my\ \[1\]\ "), ("work", "work"), ("../other", "..")]
)
def test_a_work_folder_in_the_output_is_no_part_of_the_dataset(bids_dir, tmp_path, work, line):
    """Whatever its name: the validator complained of every file in it."""
    out = tmp_path / "out"
    write_dataset_files(out, bids_dir, {}, environ={}, work_dir=out / work)
    before = set((out / ".bidsignore").read_text().splitlines())
    write_dataset_files(out, bids_dir, {}, environ={})
    assert (line in before) == (line != "..")
    assert set((out / ".bidsignore").read_text().splitlines()) == before


@pytest.mark.parametrize("readme", [b"# My notes\n", "# M\u00fcller\n".encode("latin-1")])
def test_what_others_wrote_is_kept(bids_dir, tmp_path, readme):
    """A README without our signature, in whatever encoding, and lines of .bidsignore."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_bytes(readme)
    (out / ".bidsignore").write_bytes(b"extra\n*_\xe9\nfigures\n")
    for _ in range(2):
        assert write_dataset_files(out, bids_dir, {}, environ={}) == ()
    assert (out / "README.md").read_bytes() == readme
    lines = (out / ".bidsignore").read_bytes().splitlines()
    assert {b"extra", b"*_\xe9", b"figures", b"*.html"} <= set(lines)
    assert len(lines) == len(set(lines))


def test_our_own_readme_is_renewed(bids_dir, tmp_path):
    """That of an earlier version does not stay."""
    write_dataset_files(tmp_path, bids_dir, {}, environ={})
    current = (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text(current.replace(__version__, "0.0.1"))
    write_dataset_files(tmp_path, bids_dir, {}, environ={})
    assert (tmp_path / "README.md").read_text() == current


def _write_often(output_dir: Path, bids_dir: Path, name: str) -> None:
    until = time.monotonic() + 1
    while time.monotonic() < until:
        write_dataset_files(output_dir, bids_dir, {name: bids_dir}, environ={})


def test_parallel_writers_never_show_half_a_file(bids_dir, tmp_path):
    """Two processes write while a third reads."""
    out = tmp_path / "out"
    write_dataset_files(out, bids_dir, {}, environ={})
    context = get_context("fork")
    writers = [context.Process(target=_write_often, args=(out, bids_dir, name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert description_of(out)["Name"].startswith("Study")
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert {path.name for path in out.iterdir()} == {
        *("dataset_description.json", "descriptions.tsv", ".bidsignore", "README.md")
    }


def test_the_validator_accepts_the_dataset(bids_dir, tmp_path):
    """Names, labels and ignored files of all kinds of derivatives."""
    out = tmp_path / "out"
    write_dataset_files(out, bids_dir, {}, environ={"N2A_DOCKER_TAG": "1"})
    run = {"sub": "01", "acq": "hi", "run": "1"}
    for entities, suffix, desc in (
        *(({"sub": "01"}, "T1w", label) for label in DESCRIPTIONS if label != "brain"),
        *((entities, "mask", "brain") for entities in ({"sub": "01"}, run)),
        ({**run, "echo": "1", "part": "mag", "ce": "g", "rec": "n", "task": "still"}, "T1w", "denoised"),
        (run, "T1w", "denoised"),
    ):
        path = save_ones(derivative_path(out, entities, suffix, desc=desc), dtype="float32")
        sidecar = {"Type": "Brain"} if suffix == "mask" else {"SkullStripped": False}
        Path(str(path).replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    transform = {**run, "from": "orig", "to": "T1w", "mode": "image"}
    for path in (
        derivative_path(out, transform, "xfm", extension=".txt"),
        derivative_path(out, {"sub": "01"}, "figures", desc="denoised", extension=".json"),
        derivative_path(out, {"sub": "01"}, "T1w", desc="denoised", extension=".svg", datatype="figures"),
        out / "sub-01.html",
        out / "logs" / "CITATION.md",
        out / "sub-01" / "log" / "20260101" / "n2a.toml",
        out / "group_T1w.tsv",
        out / "group_columns.json",
        out / "work" / "n2a_0_1_0" / "sub_01" / "check" / "result_check.pklz",
        out / "work" / "cache" / "matplotlib" / "fontlist.json",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n")
    assert_valid(out)
