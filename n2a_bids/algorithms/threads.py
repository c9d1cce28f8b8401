"""Threads of torch: independent pieces of work are done side by side, each by one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Piece, Result = TypeVar("Piece"), TypeVar("Result")


def map_side_by_side(
    device: torch.device, function: Callable[[Piece], Result], pieces: Iterable[Piece]
) -> list[Result]:
    """Apply a function to every piece of work; on a processor to as many at once as there are threads.

    Threads that share a small piece, such as a block of an image, wait for each other longer than they work.

    Parameters
    ----------
    device : torch.device
        Where it computes. A GPU takes one piece after the other.
    function : callable
        Changes nothing that another piece sees, and draws no random numbers.
    pieces : iterable

    Returns
    -------
    results : list
        In the order of the pieces; whatever the number of threads, the same.
    """
    n_threads = torch.get_num_threads()
    if device.type != "cpu" or n_threads == 1:
        return [function(piece) for piece in pieces]
    with one_thread(), ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(function, pieces))


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch has one thread for each piece of work, also in threads that begin meanwhile."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
