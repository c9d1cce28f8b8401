"""How many threads the libraries of a process start, and that these sleep while they wait for work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

_COUNTS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "OPENBLAS_THREAD_TIMEOUT": "4"}
"""By default, threads without work keep their processors busy for a while, in case that more comes. Where
others need these processors, a thread that all wait for is then put off by one that waits: on two busy cores
a training step of two threads took 1.5 times as long, and twice the processor time."""


def thread_variables(threads: int, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment variables that bound the threads of a process: read when libraries are loaded.

    Parameters
    ----------
    threads : int
        For OpenMP (torch), BLAS (numpy, scipy) and ITK (ANTs) each.
    environ : mapping
        The environment; how threads wait is left as it says, if it does.

    Returns
    -------
    variables : dict
        To be added to the environment.
    """
    return dict.fromkeys(_COUNTS, str(threads)) | _waiting_variables(environ)


def variables_asked_for(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Those of a command line, which is looked at before the libraries are loaded that they are for.

    Parameters
    ----------
    arguments : sequence of str
        Of a command that takes ``--omp-nthreads N``; what is no number is left to its parser.
    environ : mapping
        As for `thread_variables`.

    Returns
    -------
    variables : dict
        Without counts where the command line gives none.

    Examples
    --------
    >>> variables_asked_for(["denoise", "--omp-nthreads=3"], {})["OPENBLAS_NUM_THREADS"]
    '3'
    """
    words = [part for word in arguments for part in word.split("=", 1)]
    given = [after for word, after in zip(words, words[1:]) if word == "--omp-nthreads"]
    if given and given[-1].isdecimal() and int(given[-1]) > 0:
        return thread_variables(int(given[-1]), environ)
    return _waiting_variables(environ)


def _waiting_variables(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in _WAITING.items() if name not in environ}
