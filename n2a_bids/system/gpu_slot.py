"""Locks one GPU for each denoising process, so that no two share it unasked.

nipype counts GPU slots but gives nobody a particular GPU: without this, every process would take the
first one. A slot is a locked file, so it is free again as soon as its process ends, however it ends, and
two runs of the app on one machine keep off each other's GPUs.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import IO

_POLL_S = 1.0


def visible_gpus(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Name the GPUs that this process may use, without touching CUDA.

    Parameters
    ----------
    root : Path
        Where ``dev`` is looked for; another folder only in tests.
    environ : mapping
        Environment: ``CUDA_VISIBLE_DEVICES`` counts where it is set, as Slurm does.

    Returns
    -------
    devices : tuple of str
        Numbers or identifiers, as ``CUDA_VISIBLE_DEVICES`` takes them.

    Examples
    --------
    >>> visible_gpus(environ={"CUDA_VISIBLE_DEVICES": "2,5"})
    ('2', '5')
    >>> visible_gpus(environ={"CUDA_VISIBLE_DEVICES": "-1"})
    ()
    """
    named = environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        devices: list[str] = []
        for device in named.replace(" ", "").split(","):
            # CUDA stops reading at the first entry that names no device.
            if not re.fullmatch(r"\d+|(GPU|MIG)-[\w/-]+", device):
                break
            devices.append(device)
        return tuple(devices)
    nodes = (re.fullmatch(r"nvidia(\d+)", path.name) for path in (root / "dev").glob("nvidia*"))
    # CUDA numbers what it sees from 0, whatever the device files are called.
    return tuple(str(index) for index in range(sum(match is not None for match in nodes)))


@contextmanager
def gpu_slot(
    devices: tuple[str, ...],
    n_slots: int = 0,
    *,
    folder: Path | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Hold one GPU while the block runs; waits until one is free.

    Parameters
    ----------
    devices : tuple of str
        See `visible_gpus`; not empty.
    n_slots : int
        Processes that may run on all of them together. Up to the number of GPUs, each has its own;
        beyond that they share, as evenly as can be.
    folder : Path or None
        Where the lock files are; None takes one of this user in the temporary folder.
    wait : callable
        Told the seconds until the next try.

    Yields
    ------
    device : str
        For ``CUDA_VISIBLE_DEVICES`` of the child process.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"n2a_gpus_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    sharers = max(1, -(-n_slots // len(devices)))
    while True:
        # All GPUs once before any is shared.
        for sharer, device in product(range(sharers), devices):
            lock = _try_lock(folder / f"{device.replace('/', '_')}.{sharer}.lock")
            if lock is not None:
                with lock:
                    yield device
                return
        wait(_POLL_S)


def _try_lock(path: Path) -> IO[str] | None:
    """The locked file, or None when another process holds it; closing it frees it."""
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
