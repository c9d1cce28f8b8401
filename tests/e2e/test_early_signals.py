"""A time limit may strike while n2a still starts or looks through the dataset: it ends as documented."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

TIME_LIMIT_S = 120


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Many runs without content, so that it takes a while to look through them."""
    for subject in range(300):
        folder = tmp_path / "bids" / f"sub-{subject:03}" / "anat"
        folder.mkdir(parents=True)
        for run in (1, 2):
            (folder / f"sub-{subject:03}_run-{run}_T1w.nii.gz").touch()
    description = {"Name": "empty", "BIDSVersion": "1.10.0"}
    (tmp_path / "bids" / "dataset_description.json").write_text(json.dumps(description))
    return tmp_path / "bids"


@pytest.fixture
def start(dataset, tmp_path) -> Iterator:
    """Start a listing of the dataset in a process of its own."""
    processes = []

    def launch(*options: object) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "n2a_bids", dataset, tmp_path / "out", "participant", "--dry-run"]
        command = [str(word) for word in (*words, "-w", tmp_path / "work", *options)]
        # Tests that are started by nohup would hand its deafness on.
        listening = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        processes.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        signal.signal(signal.SIGHUP, listening)
        return processes[-1]

    yield launch
    for process in processes:
        process.kill()
        process.wait()


def open_when_read(pipe: Path, process: subprocess.Popen[str]) -> int:
    """Wait until the process is about to read, and hold it there."""
    deadline = time.monotonic() + TIME_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        # Without a reader there is nobody to open for.
        with suppress(OSError):
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.05)
    raise AssertionError(f"{pipe} was not read")


def wait_for_index(process: subprocess.Popen[str]) -> None:
    """Wait until the process has loaded what it lists files with."""
    deadline = time.monotonic() + TIME_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        # It comes with pybids. Of sqlite3 alone, a measurement of coverage would have loaded as much before.
        if "/sqlalchemy/" in Path(f"/proc/{process.pid}/maps").read_text():
            return
        time.sleep(0.02)
    raise AssertionError("the dataset was not looked through")


# A pipe stops the process at the moment of reading the settings, before anything else.
@pytest.mark.parametrize("moment", ["reading the settings", "looking through the dataset"])
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 75), (signal.SIGHUP, 75), (signal.SIGINT, 130)]
)
def test_signal_before_the_work_has_its_exit_code(start, dataset, tmp_path, moment, number, status):
    """75 after SIGTERM and SIGHUP, 130 after Ctrl-C, with the sentence that says how to go on."""
    pipe, writing_end = tmp_path / "settings.toml", None
    if moment == "reading the settings":
        os.mkfifo(pipe)
        process = start("--config-file", pipe)
        writing_end = open_when_read(pipe, process)
    else:
        process = start()
        wait_for_index(process)
    process.send_signal(number)
    _, said = process.communicate(timeout=TIME_LIMIT_S)
    if writing_end is not None:
        os.close(writing_end)
    assert process.returncode == status
    assert "the same command resumes" in said
    assert "Traceback" not in said


def test_handlers_come_before_the_heavy_imports():
    """What the command imports before it listens is the standard library and little of its own."""
    code = "import sys, n2a_bids.cli.main as m; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    own = {name for name in loaded if name.startswith("n2a_bids.")}
    assert own <= {
        "n2a_bids.cli", "n2a_bids.cli.main", "n2a_bids.cli.failures",
        "n2a_bids.system", "n2a_bids.system.signals", "n2a_bids.errors",
    }  # fmt: skip
    assert not {"numpy", "argparse", "bids", "nipype", "torch"} & set(loaded)
