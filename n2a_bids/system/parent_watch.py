"""Ends child processes when the process that started them ends, even if it is killed.

As a program, ``python -m n2a_bids.system.parent_watch MODULE ARGUMENTS...`` runs a module under this watch.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import select
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

import psutil

VARIABLE = "N2A_PARENT"
"""Environment variable of a child: number and start of the process that it ends with."""
_PR_SET_PDEATHSIG = 1
_POLL_S = 1.0
_SAME_START_S = 10.0
"""The clock may be set between two looks at the start of one process."""


def parent_variable() -> dict[str, str]:
    """The variable by which a child knows this process."""
    this = psutil.Process()
    return {VARIABLE: f"{this.pid}:{this.create_time()}"}


def end_with_parent(environ: Mapping[str, str] = os.environ) -> None:
    """End this process, and all that it started, as soon as the one that started it is gone.

    A process that the kernel ends at once, being a child without a shell between, ends alone.

    Parameters
    ----------
    environ : mapping
        Environment; nothing is done where it names no parent, as in a command typed by a user.
    """
    pid, _, start = environ.get(VARIABLE, "").partition(":")
    if not (pid.isdecimal() and start):
        return
    parent = int(pid)
    if os.getppid() == parent:
        # The kernel needs no turn of Python, which a library may keep for minutes; not every system has it.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if not _lives(parent, float(start)):
        _end()
    # A shell may stand between the two, whose death the kernel would wait for.
    threading.Thread(target=_wait_and_end, args=(parent, float(start)), daemon=True).start()


def _wait_and_end(parent: int, start: float) -> None:
    # Where the kernel tells of the end of a process there is no need to look every second.
    with suppress(OSError, AttributeError):
        descriptor = os.pidfd_open(parent)
        if _lives(parent, start):
            select.select([descriptor], [], [])
    while _lives(parent, start):
        time.sleep(_POLL_S)
    _end()


def _lives(pid: int, start: float) -> bool:
    try:
        process = psutil.Process(pid)
        is_same = abs(process.create_time() - start) < _SAME_START_S
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def _end() -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def _run_watched(module: str) -> None:
    end_with_parent()
    del sys.argv[0]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run_watched(sys.argv[1])
