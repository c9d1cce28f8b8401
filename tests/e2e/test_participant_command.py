"""The app as users run it: real processes on a small dataset, on good days and on bad ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from small_dataset import describe, write_mask, write_participant

from n2a_bids.config.toml import read_settings

pytestmark = pytest.mark.slow

TIME_LIMIT_S = 600


@dataclass(frozen=True)
class Study:
    """A dataset, the masks beside it, and a work directory that all undisturbed runs share."""

    root: Path

    @property
    def bids(self) -> Path:
        return self.root / "bids"

    def command(self, out: Path, *options: object, work: Path | None = None) -> list[str]:
        words = [
            sys.executable, "-m", "n2a_bids", self.bids, out, "participant", "-w", work or self.root / "work",
            "-d", f"masks={self.root / 'masks'}", "--nprocs", 1, "--strategy", "mean", "--sloppy", *options,
        ]  # fmt: skip
        return [str(word) for word in words]

    def run(self, out: Path, *options: object, work: Path | None = None) -> subprocess.CompletedProcess[str]:
        environ = {key: value for key, value in os.environ.items() if key != "HOME"}
        return subprocess.run(
            self.command(out, *options, work=work),
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            env=environ,
            check=False,
            cwd=self.root,
        )


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Study:
    """Two participants with two runs, one with a single run, one with a run that is truncated."""
    study = Study(tmp_path_factory.mktemp("study"))
    describe(study.bids, "small", "raw")
    for seed, label in enumerate(("01", "02", "03", "04"), start=1):
        write_participant(study.bids, label, seed, broken=label == "04")
        write_mask(study.root / "masks", label)
    (study.bids / "sub-03" / "anat" / "sub-03_run-2_T1w.nii.gz").unlink()
    return study


@pytest.fixture(scope="session")
def finished(study) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The undisturbed run, and what it printed."""
    out = study.root / "out"
    return out, study.run(out)


def images_of(out: Path, label: str) -> dict[str, np.ndarray]:
    """Voxels, header and name of every image of a participant."""
    images = {path.name: nb.load(path) for path in sorted((out / f"sub-{label}").rglob("*.nii.gz"))}
    return {
        name: (image.header.binaryblock, np.asarray(image.dataobj).tobytes())
        for name, image in images.items()
    }


def hidden_files(out: Path) -> list[Path]:
    """Temporary files that a writer left behind."""
    return [path for path in out.rglob(".*") if path.name != ".bidsignore"]


def paragraph(child: subprocess.CompletedProcess[str]) -> str:
    """Standard error with its line breaks undone."""
    return " ".join(child.stderr.split())


def test_run_denoises_what_it_can_and_tells_the_rest(finished):
    """One line for each participant; the broken one makes the exit code 1 and harms no other."""
    out, child = finished
    assert child.returncode == 1, child.stderr
    rows = {line.split()[0]: line for line in child.stdout.splitlines() if line.startswith("sub-")}
    assert "denoised" in rows["sub-01"]
    assert "denoised" in rows["sub-02"]
    assert "nothing to do" in rows["sub-03"]
    assert "failed" in rows["sub-04"]
    assert "nothing to average" in child.stdout
    assert "sub-04_run-2_T1w.nii.gz" in child.stdout
    assert "4 participants: 2 denoised, 1 failed, 1 nothing to do" in child.stdout
    assert not list((out / "sub-04").rglob("*.nii.gz"))
    assert "Traceback" not in child.stdout + child.stderr


def test_run_leaves_a_whole_dataset(finished):
    """Derivatives, report, methods text and settings; nothing temporary, the reason alone for the third."""
    out, _ = finished
    for label in ("01", "02"):
        names = {path.name for path in (out / f"sub-{label}" / "anat").iterdir()}
        assert f"sub-{label}_desc-denoised_T1w.nii.gz" in names
        assert f"sub-{label}_desc-denoised_T1w.json" in names
        assert (out / f"sub-{label}.html").is_file()
    assert {path.name for path in (out / "logs").iterdir()} >= {
        f"CITATION.{kind}" for kind in ("md", "html", "tex", "bib")
    }
    assert not (out / "sub-03" / "anat").exists()
    assert "nothing to average" in (out / "sub-03.html").read_text()
    assert not hidden_files(out)


def test_run_leaves_settings_that_can_be_used_again(finished, study):
    """The TOML of a run reads back, and a listing with it works."""
    out, _ = finished
    (record,) = (out / "sub-01" / "log").glob("*/n2a.toml")
    steps = record.with_name("n2a.log").read_text().splitlines()
    assert any("sub-01 (1/" in line and "T1w: denoised, " in line for line in steps)
    assert not any("sub-02" in line for line in steps)
    settings = read_settings(record)
    assert settings["denoise"]["strategy"] == "mean"
    assert settings["derivatives"] == {"masks": study.root / "masks"}
    child = study.run(study.root / "other", "--config-file", record, "--dry-run")
    assert child.returncode == 0, child.stderr


def test_second_run_resumes_and_changes_nothing(finished, study):
    """The work directory answers: no image is computed again."""
    out, _ = finished
    before = images_of(out, "01")
    (computed,) = (study.root / "work").glob("*/sub_01/*/denoise/denoised.nii.gz")
    stamp = computed.stat().st_mtime_ns
    child = study.run(out, "--participant-label", "01")
    assert child.returncode == 0, child.stderr
    assert computed.stat().st_mtime_ns == stamp
    assert images_of(out, "01") == before


@dataclass
class Started:
    """A run in the background whose progress is read line by line."""

    process: subprocess.Popen[str]

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + TIME_LIMIT_S
        for line in self.process.stderr:
            if words in line:
                return
            assert time.monotonic() < deadline, f"waited too long for {words!r}"
        raise AssertionError(f"the run ended before {words!r}")

    def end(self) -> int:
        self.process.communicate(timeout=TIME_LIMIT_S)
        return self.process.returncode


@pytest.fixture
def start(study) -> Iterator:
    """Start runs; each in a process group of its own, so that nothing of it survives the test."""
    processes = []

    def launch(command: list[str]) -> Started:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=study.root,
        )
        processes.append(process)
        return Started(process)

    yield launch
    for process in processes:
        kill_group(process)


def kill_group(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def living_members(group: int) -> list[int]:
    """Processes of a group that still run, zombies apart."""
    members = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(process_group) == group and state != "Z":
            members.append(int(status.parent.name))
    return members


def test_stopped_by_sigterm_and_sigkill_then_resumed_gives_the_same_bits(finished, study, start, tmp_path):
    """SIGTERM ends with 75 and without orphans; SIGKILL at other moments; then the same result."""
    out, work = tmp_path / "out", tmp_path / "work"
    command = study.command(out, "--participant-label", "01", work=work)
    stopped = start(command)
    stopped.wait_for("registering the repetitions")
    stopped.process.send_signal(signal.SIGTERM)
    assert stopped.end() == 75
    assert not living_members(stopped.process.pid)
    generator = np.random.default_rng(int(os.environ.get("N2A_TEST_SEED", "0")))
    for step in ("registering the repetitions", "T1w: denoising"):
        killed = start(command)
        killed.wait_for(step)
        time.sleep(generator.uniform(0, 1.5))
        kill_group(killed.process)
    child = study.run(out, "--participant-label", "01", work=work)
    assert child.returncode == 0, child.stderr
    assert images_of(out, "01") == images_of(finished[0], "01")
    assert not hidden_files(out)


@pytest.mark.proof
def test_killed_at_random_points_then_resumed_gives_the_same_bits(finished, study, start, tmp_path):
    """Ten moments anywhere between start and end, however long this machine takes from one to the other."""
    undisturbed = time.monotonic()
    command = study.command(tmp_path / "whole", "--participant-label", "01", work=tmp_path / "whole-work")
    assert start(command).end() == 0
    longest_s = time.monotonic() - undisturbed
    out, work = tmp_path / "out", tmp_path / "work"
    generator = np.random.default_rng(int(os.environ.get("N2A_TEST_SEED", "1")))
    n_killed = 0
    for _ in range(30):
        run = start(study.command(out, "--participant-label", "01", work=work))
        try:
            run.process.communicate(timeout=generator.uniform(0, longest_s))
            # It came to its end: the next kill should find work again.
            shutil.rmtree(work)
        except subprocess.TimeoutExpired:
            kill_group(run.process)
            n_killed += 1
        if n_killed == 10:
            break
    assert n_killed == 10
    child = study.run(out, "--participant-label", "01", work=work)
    assert child.returncode == 0, child.stderr
    assert images_of(out, "01") == images_of(finished[0], "01")
    assert not hidden_files(out)


def test_two_processes_share_output_and_work_directory(finished, study, start, tmp_path):
    """Different participants at the same time: both complete, shared files whole, same bits."""
    out, work = tmp_path / "out", tmp_path / "work"
    runs = [start(study.command(out, "--participant-label", label, work=work)) for label in ("01", "02")]
    assert [run.end() for run in runs] == [0, 0]
    for label in ("01", "02"):
        assert images_of(out, label) == images_of(finished[0], label)
        assert (out / f"sub-{label}.html").is_file()
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    for name in ("descriptions.tsv", ".bidsignore"):
        assert (out / name).read_bytes() == (finished[0] / name).read_bytes()
    assert not hidden_files(out)


@pytest.mark.proof
def test_pool_of_processes_gives_the_same_bits(finished, study, tmp_path):
    """Two steps at a time instead of one."""
    options = ["--nprocs", 2, "--omp-nthreads", 1, "--participant-label", "02"]
    child = study.run(tmp_path / "out", *options, work=tmp_path / "work")
    assert child.returncode == 0, child.stderr
    assert images_of(tmp_path / "out", "02") == images_of(finished[0], "02")


def test_clean_workdir_only_after_success(finished, study, tmp_path):
    """Another output folder, a copy of the finished work: nothing is left of it."""
    work = tmp_path / "work"
    shutil.copytree(study.root / "work", work, symlinks=True)
    child = study.run(tmp_path / "out", "--clean-workdir", "--participant-label", "01", work=work)
    assert child.returncode == 0, child.stderr
    assert not list(work.glob("*/sub_01"))
    assert list(work.glob("*/sub_02"))


def test_corrupt_weights_fail_with_the_file(finished, study, tmp_path):
    """The step that needs them fails; its message reaches the table."""
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "resunet-t1w.safetensors").write_bytes(b"rubbish")
    (weights / "resunet-t1w.json").write_text('{"sha256": "0"}')
    options = ["--strategy", "recorrupted", "--weights-dir", weights, "--participant-label", "01"]
    child = study.run(tmp_path / "out", *options)
    assert child.returncode == 1
    assert "damaged" in " ".join(child.stdout.split())


def test_full_disk_fails_and_leaves_no_half_file(finished, study, tmp_path):
    """An output disk of 300 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root and the permission to mount")
    try:
        child = study.run(disk / "out", "--participant-label", "01")
        assert child.returncode == 1, child.stdout + child.stderr
        assert "No space left" in " ".join(child.stdout.split())
        assert not hidden_files(disk)
        for path in disk.rglob("*.nii.gz"):
            assert np.isfinite(nb.load(path).get_fdata()).all()
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_listing_names_groups_and_images_left_out(study, tmp_path):
    """--dry-run writes nothing, no work directory either."""
    child = study.run(tmp_path / "out", "--dry-run", work=tmp_path / "work")
    assert child.returncode == 0
    assert "sub-01_run-2_T1w.nii.gz" in child.stdout
    assert "nothing to average" in child.stdout
    assert not list(tmp_path.iterdir())


def test_reports_and_citations_alone(finished, study):
    """Both from what the run has left."""
    out, _ = finished
    page = out / "sub-01.html"
    page.unlink()
    child = study.run(out, "--reports-only", "--participant-label", "01")
    assert child.returncode == 0, child.stderr
    assert page.is_file()
    (out / "logs" / "CITATION.md").unlink()
    assert study.run(out, "--boilerplate-only", "--md-only-boilerplate").returncode == 0
    assert (out / "logs" / "CITATION.md").is_file()


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--participant-label", "03", "--modalities", "dwi"], 70, ""),
        (["--participant-label", "03", "--filter-t1w", "acq=none"], 70, ""),
        (["--participant-label", "99"], 70, "sub-99"),
        (["--device", "cuda"], 2, "--gpus all"),
        (["--config-file", "n2a.toml"], 2, "no setting called colour"),
    ],
)
def test_exit_codes_of_runs_that_do_not_start(study, tmp_path, options, status, words):
    """No image selected, an unknown participant, no GPU, a wrong settings file: each a paragraph."""
    if "cuda" in options and Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    (study.root / "n2a.toml").write_text("colour = 'blue'\n")
    child = study.run(tmp_path / "out", *options, work=tmp_path / "work")
    assert child.returncode == status, child.stderr
    assert words in paragraph(child)
    assert "Traceback" not in child.stderr
    assert words == "" or not list(tmp_path.iterdir())


def test_output_in_the_input_is_refused(study):
    """The dataset stays as it is."""
    before = sorted(path.relative_to(study.bids) for path in study.bids.rglob("*"))
    for out in (study.bids, study.bids / "sub-01" / "out"):
        child = study.run(out, "--participant-label", "01")
        assert child.returncode in (2, 70)
        assert "expected an output folder" in paragraph(child)
    assert sorted(path.relative_to(study.bids) for path in study.bids.rglob("*")) == before


def test_output_that_cannot_be_written_is_refused(study, tmp_path):
    """A folder below a file; where permissions count, a read-only folder, too."""
    (tmp_path / "file").touch()
    targets = [tmp_path / "file"]
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        targets.append(tmp_path / "locked")
    for out in targets:
        child = study.run(out, "--participant-label", "01")
        assert child.returncode in (2, 70)
        assert str(out) in paragraph(child)


def test_folder_without_description_is_no_dataset(study, tmp_path):
    """The message says what to give instead."""
    (tmp_path / "bids" / "sub-01").mkdir(parents=True)
    (tmp_path / "masks").mkdir()
    child = Study(tmp_path).run(tmp_path / "out", "--dry-run")
    assert child.returncode == 70
    assert "dataset_description.json" in paragraph(child)
