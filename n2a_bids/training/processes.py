"""Trains in several processes of one machine that share gradients, without torchrun."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from torch import multiprocessing

from n2a_bids.errors import BIDSDataError, ConfigError, DenoisingError

_KNOWN = {one.__name__: one for one in (ConfigError, BIDSDataError, DenoisingError)}


def train_together(train: Callable[[], object], n_processes: int) -> None:
    """Run a training in several processes, as ``torchrun --standalone`` would.

    Parameters
    ----------
    train : callable
        What each of them does; it must be picklable.

    Raises
    ------
    ConfigError, BIDSDataError, DenoisingError
        What the first process that failed raised.
    """
    context = multiprocessing.get_context("spawn")
    said = context.SimpleQueue()
    arguments = (train, n_processes, _free_port(), said)
    try:
        multiprocessing.spawn(_one_of_them, arguments, nprocs=n_processes)
    except multiprocessing.ProcessExitedException:
        if said.empty():
            raise
        kind, words = said.get()
        raise _KNOWN[kind](words) from None


def _one_of_them(
    rank: int, train: Callable[[], object], n_processes: int, port: int, said: multiprocessing.SimpleQueue
) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(n_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    try:
        train()
    except tuple(_KNOWN.values()) as error:
        said.put((type(error).__name__, str(error)))
        os._exit(1)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
