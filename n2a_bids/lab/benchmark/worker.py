"""Runs one benchmark method in a process of its own, for its time and memory."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from n2a_bids.errors import DenoisingError
from n2a_bids.record.typed_json import JsonObject

# Loaded once in the fork server: children start at once, and the imports are in nobody's time.
_PRELOADED = ["numpy", "scipy.ndimage", "torch", "n2a_bids.lab.benchmark.anat.methods"]

Work = Callable[[], tuple[NDArray[np.float32], JsonObject]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a method gave and what it took."""

    image: NDArray[np.float32]
    """(X, Y, Z) result."""
    seconds: float
    """Wall time without imports and without the copying of data."""
    peak_memory_mb: float
    """Largest resident memory of the process, imported libraries included."""
    metrics: JsonObject = field(default_factory=dict)
    """Record of the method."""


def run_in_child(work: Work) -> Outcome:
    """Run `work` in a fresh process and measure it.

    Parameters
    ----------
    work : callable
        Picklable, such as a `functools.partial` of a module's function; returns an image and a record.

    Raises
    ------
    DenoisingError
        If the work raised, or its process died (killed for memory, say).
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, sender))
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        process.join()
        raise DenoisingError(f"the process of the method ended with exit code {process.exitcode}") from None
    except BaseException:
        process.terminate()  # interrupted: nobody waits for the result any more
        raise
    process.join()
    if isinstance(answer, str):
        raise DenoisingError(answer)
    return answer


def peak_memory_mb() -> float:
    """Largest resident memory that this process, or one that it started, has had, in MB (1e6 bytes)."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _child(work: Work, sender: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        start = time.perf_counter()
        image, metrics = work()
        sender.send(Outcome(image, time.perf_counter() - start, peak_memory_mb(), metrics))
    except Exception as error:  # whatever went wrong is the answer: the row of this method says so
        sender.send(f"{type(error).__name__}: {error}")
    finally:
        sender.close()


def _end_with_parent() -> None:
    """End this process when the benchmark has died (SIGTERM, SIGKILL): nobody reads the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
