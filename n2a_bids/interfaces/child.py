"""Run a module of the package in a process of its own.

ANTs reads its thread count once per process, torch must never touch CUDA in the process that nipype forks
from, and memory that a child took is given back when it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import n2a_bids


def child_environment(threads: int, *, hide_gpu: bool = True) -> dict[str, str]:
    """Variables for a child: thread counts, and the package where this process found it.

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
    variables = {"PYTHONPATH": os.pathsep.join(search)}
    for name in ("OMP", "MKL", "OPENBLAS"):
        variables[f"{name}_NUM_THREADS"] = str(threads)
    variables["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    if hide_gpu:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    return variables


def run_module(module: str, arguments: Sequence[object], *, threads: int = 1) -> None:
    """Run ``python -m module arguments...`` and wait for it.

    Parameters
    ----------
    module : str
        Full name of a module.
    arguments : sequence
        Turned into text.
    threads : int
        See `child_environment`.

    Raises
    ------
    RuntimeError
        If the child fails: with the end of what it wrote.
    MemoryError
        If something killed it: it could not say a word itself.
    """
    environment: Mapping[str, str] = {**os.environ, **child_environment(threads)}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if child.returncode == -signal.SIGKILL:
        raise MemoryError(
            f"{module} was killed, most likely because memory ran out: ask for more memory, or give a "
            "smaller --mem or fewer --nprocs; the same command resumes"
        )
    if child.returncode:
        said = "\n".join((child.stdout + child.stderr).strip().splitlines()[-15:])
        raise RuntimeError(f"{module} ended with status {child.returncode}; it wrote:\n{said}")
