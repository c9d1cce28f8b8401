"""What a run has started ends with it, even when nothing but the kernel could tell."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from n2a_bids.system.child import child_environment
from n2a_bids.system.parent_watch import VARIABLE

SLEEPER = """
import os, pathlib, subprocess, sys, time
from n2a_bids.system.parent_watch import end_with_parent
end_with_parent()
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {grandchild.pid}")
time.sleep(60)
"""
RUN = {
    "a child": "from n2a_bids.system.child import run_module; run_module('sleeper', [PIDS])",
    "behind a shell": (
        "import os, subprocess, sys; from n2a_bids.system.child import child_environment\n"
        "command = f'{sys.executable} -m sleeper {PIDS}; true'\n"
        "subprocess.run(command, shell=True, env=os.environ | child_environment(1))"
    ),
}


@pytest.mark.parametrize("how", RUN)
def test_children_end_with_a_run_that_is_killed(tmp_path, how):
    """Those it started itself, those behind a shell, and what they have started."""
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    pids = tmp_path / "pids"
    environ = {**os.environ, **child_environment(1)}
    environ["PYTHONPATH"] += os.pathsep + str(tmp_path)
    code = f"PIDS = {str(pids)!r}\n{RUN[how]}"
    run = subprocess.Popen([sys.executable, "-c", code], env=environ, start_new_session=True)
    started = [psutil.Process(int(pid)) for pid in wait_for(pids).split()]
    assert all(process.is_running() for process in started)
    run.kill()
    run.wait()
    child, grandchild = started
    assert not psutil.wait_procs([child], timeout=10)[1]
    if how == "behind a shell":
        assert not psutil.wait_procs([grandchild], timeout=10)[1]
    elif grandchild.is_running():
        grandchild.kill()


def wait_for(path: Path) -> str:
    for _ in range(600):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.1)
    raise AssertionError("the child has not started")


@pytest.mark.parametrize("module", ["n2a_bids.cli.tools", "n2a_bids.system.parent_watch"])
def test_a_child_whose_run_is_gone_does_not_begin(module):
    """Its start takes seconds, in which the run may have been killed; another process may have its number."""
    for parent in ("999999999:1.0", f"{os.getpid()}:1.0"):
        command = [sys.executable, "-m", module, "this"]
        done = subprocess.run(command, env={**os.environ, VARIABLE: parent}, capture_output=True, check=False)
        assert done.returncode == -9, done.stderr


def test_a_command_typed_by_a_user_ends_with_nobody():
    """Without the variable, or with one that makes no sense."""
    for value in ({}, {VARIABLE: ""}, {VARIABLE: "x"}):
        command = [sys.executable, "-m", "n2a_bids.cli.tools", "--version"]
        environ = {key: text for key, text in os.environ.items() if key != VARIABLE} | value
        assert subprocess.run(command, env=environ, capture_output=True, check=False).returncode == 0
