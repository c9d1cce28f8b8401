"""`Context`: device, random numbers, progress and network training that every strategy is handed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from n2a_bids.algorithms.nn.cuda_graphs import Recorder
from n2a_bids.algorithms.nn.training import Batch, Schedule, fit
from n2a_bids.algorithms.nn.weights import PretrainedWeights, place_network

Network = TypeVar("Network", bound=nn.Module)


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

    def draw_seed(self) -> int:
        """Draw a seed for a method that has random numbers of its own; the next call gives another."""
        return int(torch.randint(2**31 - 1, (), generator=self.generator))

    def new_network(self, name: str, weights: PretrainedWeights | None, seed: int | None = None) -> nn.Module:
        """A network on the device, pretrained where weights are given, with random weights otherwise.

        Parameters
        ----------
        name : str
            Of `n2a_bids.algorithms.nn.weights.NETWORKS`.
        seed : int, optional
            Of the random weights; drawn here by default.
        """
        build = partial(place_network, name, weights, self.device)
        return self.make_network(build, self.draw_seed() if seed is None else seed)

    def make_network(self, build: Callable[[], Network], seed: int) -> Network:
        """A network on the device, its random weights drawn from a seed.

        Layers draw from torch's global generator, which is given back untouched.

        Parameters
        ----------
        build : callable
            Makes the network.
        seed : int
            See `draw_seed`.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build().to(self.device)

    def train(
        self, network: nn.Module, batches: Callable[[], Batch], schedule: Schedule, phase: str
    ) -> list[float]:
        """Train a network in place on the device, with reports of progress; see `fit`.

        Parameters
        ----------
        network : nn.Module
            Modified.
        batches : callable
            Returns the next batch.
        phase : str
            Name in the reports.

        Returns
        -------
        losses : list of float
            Mean loss of each epoch.
        """
        report = EpochReport(phase, schedule.n_epochs, self)
        return fit(network, batches, schedule, device=self.device, on_epoch=report, recorder=self.recorder)


class EpochReport:
    """Tells the context epoch and loss."""

    def __init__(self, phase: str, n_epochs: int, context: Context):
        self._phase, self._n_epochs, self._context = phase, n_epochs, context

    def __call__(self, epoch: int, loss: float) -> None:
        """Report one finished epoch."""
        self._context.report(f"{self._phase} epoch {epoch + 1}/{self._n_epochs}, loss {loss:.4f}")


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
