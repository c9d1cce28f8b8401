"""Records a training step as a CUDA graph and replays it, which saves the launches on a GPU.

With small blocks a GPU waits for the host that launches its kernels one by one. What is recorded
always works on the same memory, so every batch is copied to where the recorded one was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

Work = Callable[[], None]
Recorder = Callable[[Work], Work]
"""Takes work, and returns what repeats it; recording itself does not count as doing it."""

_WARM_UP_STEPS = 3
"""Before recording: libraries choose their kernels, and the optimiser makes its state."""


class RecordedStep:
    """A training step that is taken plainly a few times, then recorded, then only replayed.

    Batches of another shape than the recorded one are learned from plainly.

    Parameters
    ----------
    learn : callable
        Learns from tensors. It must not look at values on the host, and must add to
        gradients that `forget` has set to ``None``, so that a replay writes them anew.
    forget : callable
        Sets the gradients to ``None``.
    record : callable
        `record_cuda_graph`, but for tests.
    """

    def __init__(self, learn: Callable[..., None], forget: Work, record: Recorder):
        self._learn = learn
        self._forget = forget
        self._record = record
        self._n_warm_ups = 0
        self._static: tuple[Tensor, ...] = ()
        self._replay: Work | None = None

    def __call__(self, *batch: Tensor) -> None:
        """Take one step.

        Parameters
        ----------
        *batch : Tensors
            Not modified.
        """
        if self._n_warm_ups < _WARM_UP_STEPS:
            self._n_warm_ups += 1
            self._learn_plainly(batch)
            return
        if self._replay is None:
            self._static = tuple(torch.empty_like(tensor) for tensor in batch)
            self._forget()
            self._replay = self._record(lambda: self._learn(*self._static))
        if any(static.shape != tensor.shape for static, tensor in zip(self._static, batch, strict=True)):
            self._learn_plainly(batch)
            return
        for static, tensor in zip(self._static, batch, strict=True):
            static.copy_(tensor)
        self._replay()

    def _learn_plainly(self, batch: tuple[Tensor, ...]) -> None:
        self._forget()
        self._learn(*batch)


def record_cuda_graph(work: Work) -> Work:
    """Record the kernels of some work on the current GPU, without running them.

    Parameters
    ----------
    work : callable
        Done plainly before, in the same `side_stream`.

    Returns
    -------
    replay : callable
        Runs the kernels again, on the same memory.

    Raises
    ------
    RuntimeError
        If the work does what cannot be recorded.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        work()
    return graph.replay


@contextmanager
def side_stream() -> Iterator[None]:
    """Work in a stream of its own, as CUDA asks of work that is to be recorded."""
    before, stream = torch.cuda.current_stream(), torch.cuda.Stream()
    stream.wait_stream(before)
    with torch.cuda.stream(stream):
        yield
    before.wait_stream(stream)
