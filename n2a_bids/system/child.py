"""Runs a module of the package, or ANTs, in a child process.

ANTs reads its thread count once per process, torch must never touch CUDA in the process that nipype forks
from, and memory that a child took is given back when it ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import n2a_bids
from n2a_bids.errors import OUT_OF_MEMORY
from n2a_bids.system.environment import thread_variables
from n2a_bids.system.parent_watch import parent_variable


def child_environment(threads: int, *, hide_gpu: bool = True) -> dict[str, str]:
    """Variables for a child: thread counts, the package where this process found it, and this process.

    Parameters
    ----------
    threads : int
        For OpenMP, BLAS and ITK.
    hide_gpu : bool
        Make CUDA invisible.

    Returns
    -------
    variables : dict
        To be added to the environment.
    """
    package_folder = str(Path(n2a_bids.__file__).resolve().parents[1])
    search = [package_folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {"PYTHONPATH": os.pathsep.join(search), **parent_variable(), **thread_variables(threads)}
    if hide_gpu:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    return variables


def run_module(
    module: str,
    arguments: Sequence[object],
    *,
    threads: int = 1,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Run ``python -m module arguments...`` and wait for it; it ends with this process.

    Parameters
    ----------
    module : str
        Full name of a module.
    arguments : sequence
        Turned into text.
    threads : int
        See `child_environment`.
    variables : mapping of str to str
        Further variables of its environment.

    Raises
    ------
    RuntimeError
        If the child fails: with the end of what it wrote.
    MemoryError, ChildProcessError
        If something killed it, see `raise_if_killed`.
    """
    environment: Mapping[str, str] = {**os.environ, **child_environment(threads), **variables}
    command = [sys.executable, "-m", "n2a_bids.system.parent_watch", module, *map(str, arguments)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    raise_if_killed(module, child.returncode)
    if child.returncode:
        said = "\n".join((child.stdout + child.stderr).strip().splitlines()[-15:])
        raise RuntimeError(f"{module} ended with status {child.returncode}; it wrote:\n{said}")


def run_ants(task: str, arguments: Mapping[str, str], folder: Path, *, random_seed: int) -> None:
    """Run a task of `n2a_bids.external.ants` and wait for it.

    With one thread: ITK adds up what several threads found in the order in which they end, so that
    with more of them two runs differ in the last digits.

    Parameters
    ----------
    task : str
        Name of its function.
    arguments : mapping
        What the function is given, by name.
    folder : Path
        Where the task is written down.
    random_seed : int
        Seed of the registration by ANTs.
    """
    task_file = folder / "task.json"
    task_file.write_text(json.dumps({"task": task, "random_seed": random_seed, **arguments}))
    run_module("n2a_bids.external.ants", [task_file])


def raise_if_killed(name: str, status: int) -> None:
    """Say why a child ended that a signal has ended: it could not say a word itself.

    Parameters
    ----------
    name : str
        Of the child, as users know it.
    status : int
        Its exit status, negative or, from a shell, above 128 after a signal.

    Raises
    ------
    MemoryError
        After SIGKILL, which is what the kernel sends when memory runs out.
    ChildProcessError
        After SIGTERM, which is what a scheduler or a person sends, and after any other signal.
    """
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        raise MemoryError(f"{name} was killed (SIGKILL), most likely because {OUT_OF_MEMORY}")
    if status in (-signal.SIGTERM, 128 + signal.SIGTERM):
        raise ChildProcessError(
            f"{name} was stopped (SIGTERM), most likely by a time limit or because the job was cancelled: "
            "ask for more time; the same command resumes"
        )
    signal_number = -status if status < 0 else status - 128
    if signal_number in set(signal.Signals):
        raise ChildProcessError(
            f"{name} was ended by {signal.Signals(signal_number).name}: a fault of the program, of a library "
            "or of the machine; run again, and report it if it comes back"
        )
