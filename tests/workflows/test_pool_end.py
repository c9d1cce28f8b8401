"""However a run ends, none of its processes goes on computing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

pytestmark = pytest.mark.slow

TIME_LIMIT_S = 60
RUN = """
import os, subprocess, sys, time
from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.base import BaseInterface, BaseInterfaceInputSpec, TraitedSpec

from n2a_bids.cli.failures import status_of
from n2a_bids.app.execution import run_workflow
from n2a_bids.system.signals import interruptible
from n2a_bids.app.nipype_settings import configure_nipype
from n2a_bids.config import Config, DebugConfig, ResourceConfig

FOLDER = Path(__file__).parent


class Endless(BaseInterface):
    input_spec = BaseInterfaceInputSpec
    output_spec = TraitedSpec

    def _run_interface(self, runtime):
        child = subprocess.Popen(["sleep", "600"])
        (FOLDER / f"pid-{os.getpid()}").touch()
        (FOLDER / f"pid-{child.pid}").touch()
        time.sleep(600)


def run(interruption):
    configure_nipype(DebugConfig())
    workflow = Workflow("top", base_dir=str(FOLDER / "work"))
    workflow.add_nodes([Node(Endless(), name=name) for name in ("first", "second")])
    resources = ResourceConfig(n_procs=2, omp_nthreads=1, memory_gb=8)
    run_workflow(workflow, Config(FOLDER, FOLDER, FOLDER, "uuid", resources=resources), interruption)


if __name__ == "__main__":
    with interruptible() as interruption:
        status = status_of("n2a", lambda: run(interruption))
    sys.exit(status)
"""


@pytest.fixture
def endless(tmp_path) -> Iterator[tuple[subprocess.Popen, list[psutil.Process]]]:
    """A run of two steps that never end, in a pool; and its processes, those of the steps among them."""
    (tmp_path / "run.py").write_text(RUN)
    listening = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # A session of its own: what is left of it can be found and ended.
    run = subprocess.Popen([sys.executable, tmp_path / "run.py"], start_new_session=True)
    signal.signal(signal.SIGHUP, listening)
    deadline = time.monotonic() + TIME_LIMIT_S
    while len(list(tmp_path.glob("pid-*"))) < 4:
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    steps = {int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")}
    processes = psutil.Process(run.pid).children(recursive=True)
    assert steps <= {process.pid for process in processes}
    yield run, processes
    for process in (run, *processes):
        process.kill() if isinstance(process, subprocess.Popen) else kill(process)
    run.wait()


def kill(process: psutil.Process) -> None:
    if process.is_running():
        process.kill()


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGHUP, 75), (signal.SIGTERM, 75), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_no_process_of_the_pool_outlives_the_run(endless, number, status):
    """A lost terminal, a time limit, the killer of the kernel: steps and what they started end, too."""
    run, processes = endless
    os.kill(run.pid, number)
    assert run.wait(timeout=TIME_LIMIT_S) == status
    _, alive = psutil.wait_procs(processes, timeout=TIME_LIMIT_S / 4)
    # Where nobody collects orphans they stay as zombies.
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
