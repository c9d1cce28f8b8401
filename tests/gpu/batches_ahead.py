"""Draws training batches ahead in other processes, so that a fast GPU does not wait for the programme.

``n2a-tools pretrain`` draws in its own process instead: which worker is ready first is chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from n2a_bids.algorithms.dataset_training.steps import TrainingBatch

Draw = Callable[[np.random.Generator], TrainingBatch]


class _Batches(IterableDataset):
    """Without end; each worker has a seed of its own."""

    def __init__(self, draw: Draw, seed: list[int]):
        self._draw, self._seed = draw, seed

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        worker = get_worker_info()
        rng = np.random.default_rng([*self._seed, worker.id if worker else 0])
        while True:
            batch = self._draw(rng)
            yield (*batch.inputs, batch.target, batch.weight)


def draw_ahead(draw: Draw, seed: int, first_step: int, n_workers: int) -> Draw:
    """Let worker processes draw.

    Parameters
    ----------
    draw : callable
        Next batch from a generator; it must be fit for pickling.
    seed : int
        With the step and the number of the worker it seeds the data.
    first_step : int
        Where training begins or goes on.
    n_workers : int
        Processes; 0 draws in this one.

    Returns
    -------
    draw : callable
        Takes what is ready. Its generator is not used: which worker is ready first is chance, so that
        runs differ.
    """
    loader = DataLoader(
        _Batches(draw, [seed, first_step]),
        batch_size=None,
        num_workers=n_workers,
        pin_memory=n_workers > 0 and torch.cuda.is_available(),
        prefetch_factor=4 if n_workers else None,
    )
    ready = iter(loader)

    def take(rng: np.random.Generator) -> TrainingBatch:
        *inputs, target, weight = next(ready)
        return TrainingBatch(tuple(inputs), target, weight)

    return take
