"""What a strategy is given beside the images: device, random numbers, progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from n2a_bids.algorithms.nn.cuda_graphs import Recorder


@dataclass(frozen=True, slots=True)
class Context:
    """What a strategy may use: nothing else is read from the outside world."""

    generator: torch.Generator
    """CPU generator: the only source of randomness."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    memory_gb: float = 6.0
    """Memory that blocks and activations may take."""
    report: Callable[[str], None] = lambda message: None
    """Receives one-line progress messages."""
    clock: Callable[[], float] = time.perf_counter
    """Seconds, for the durations in the record."""
    recorder: Recorder | None = None
    """Records training steps to replay them: `record_cuda_graph`, on a CUDA device only."""


class EpochReport:
    """Tells the context epoch, loss and time left."""

    def __init__(self, phase: str, n_epochs: int, context: Context):
        self._phase, self._n_epochs, self._context = phase, n_epochs, context
        self._started = context.clock()

    def __call__(self, epoch: int, loss: float) -> None:
        """Report one finished epoch."""
        spent = self._context.clock() - self._started
        left = spent / (epoch + 1) * (self._n_epochs - epoch - 1)
        self._context.report(
            f"{self._phase} epoch {epoch + 1}/{self._n_epochs}, loss {loss:.4f}, {left:.0f} s left"
        )


class Stopwatch:
    """Seconds of each phase.

    Examples
    --------
    >>> times = iter([0.0, 1.5, 2.0, 4.0])
    >>> watch = Stopwatch(lambda: next(times))
    >>> watch.lap("risk"), watch.lap("predict"), watch.lap("risk")
    (None, None, None)
    >>> watch.seconds()
    {'risk': 3.5, 'predict': 0.5, 'total': 4.0}
    """

    def __init__(self, clock: Callable[[], float]):
        self._clock, self._last = clock, clock()
        self._seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """Count the time since the last lap to a phase."""
        now = self._clock()
        self._seconds[phase] = round(self._seconds.get(phase, 0.0) + now - self._last, 2)
        self._last = now

    def seconds(self) -> dict[str, float]:
        """Seconds by phase, and their total."""
        return self._seconds | {"total": round(sum(self._seconds.values()), 2)}
