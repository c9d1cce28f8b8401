"""The loop (`fit`) that trains a network on one subject, SAN2N's aside: learning rate, loss, divergence."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from n2a_bids.algorithms.nn.cuda_graphs import RecordedStep, Recorder, side_stream
from n2a_bids.algorithms.nn.precision import training_precision


def cosine_decay(progress: float) -> float:
    """Learning rate over its peak, from 1 to 0.01, by the part of the training that is done."""
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


@dataclass(frozen=True, slots=True)
class Batch:
    """Blocks to learn from, in z-scores; all (N, 1, X, Y, Z) tensors on the device."""

    noisy: Tensor
    noise_sd: Tensor
    target: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn."""

    n_epochs: int
    steps_per_epoch: int
    learning_rate: float
    decay: bool = True
    """Cosine decay to a hundredth of the rate; ``False`` keeps it constant."""

    def rate(self, step: int) -> float:
        """Learning rate of a step.

        Examples
        --------
        >>> Schedule(2, 10, 1.0).rate(0), round(Schedule(2, 10, 1.0).rate(20), 2)
        (1.0, 0.01)
        """
        if not self.decay:
            return self.learning_rate
        progress = step / (self.n_epochs * self.steps_per_epoch)
        return self.learning_rate * cosine_decay(progress)


def fit(
    network: nn.Module,
    batches: Callable[[], Batch],
    schedule: Schedule,
    *,
    device: torch.device,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
    recorder: Recorder | None = None,
) -> list[float]:
    """Train a network in place to predict ``target - noisy``.

    Parameters
    ----------
    network : nn.Module
        Called as ``network(noisy, noise_sd)``; modified.
    batches : callable
        Returns the next batch; the source of randomness.
    on_epoch : callable
        Told the index and mean loss of each finished epoch.
    recorder : callable, optional
        Records one step, which is then replayed: `record_cuda_graph` on a CUDA device.

    Returns
    -------
    losses : list of float
        Mean loss of each epoch.

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    network.train()
    with side_stream() if recorder and device.type == "cuda" else nullcontext():
        history = _train(_Learner(network, schedule, device, recorder), batches, schedule, on_epoch)
    network.zero_grad(set_to_none=True)
    network.eval()
    return history


def _train(
    learner: _Learner,
    batches: Callable[[], Batch],
    schedule: Schedule,
    on_epoch: Callable[[int, float], None],
) -> list[float]:
    history: list[float] = []
    for epoch in range(schedule.n_epochs):
        for index in range(schedule.steps_per_epoch):
            learner.take_step(batches(), schedule.rate(epoch * schedule.steps_per_epoch + index))
        history.append(learner.pop_loss() / schedule.steps_per_epoch)
        if not math.isfinite(history[-1]):
            raise FloatingPointError(f"the training loss of epoch {epoch + 1} is {history[-1]}")
        on_epoch(epoch, history[-1])
    return history


class _Learner:
    """A network with its optimiser, and the sum of the losses since it was last asked for."""

    def __init__(
        self, network: nn.Module, schedule: Schedule, device: torch.device, recorder: Recorder | None
    ):
        self._network = network
        self._device = device
        rate: float | Tensor = schedule.learning_rate
        if recorder:
            # What is recorded reads the rate where it lies on the device.
            rate = torch.tensor(rate, device=device)
        self._optimizer = torch.optim.Adam(
            network.parameters(), lr=rate, fused=True, capturable=recorder is not None
        )
        self._loss_sum = torch.zeros((), device=device)
        self._learn: Callable[..., None] = (
            RecordedStep(self._update, self._forget, recorder) if recorder else self._update_anew
        )

    def take_step(self, batch: Batch, rate: float) -> None:
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self._learn(batch.noisy, batch.noise_sd, batch.target, batch.weight)

    def pop_loss(self) -> float:
        loss = float(self._loss_sum)  # the one host-device sync of an epoch
        self._loss_sum.zero_()
        return loss

    def _forget(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)

    def _update_anew(self, *tensors: Tensor) -> None:
        self._forget()
        self._update(*tensors)

    def _update(self, noisy: Tensor, noise_sd: Tensor, target: Tensor, weight: Tensor) -> None:
        precision = training_precision(self._device, noisy.shape[2])
        # Weights are cast once in a step, so that a cache of casts would only be in the way of recording.
        with torch.autocast(
            self._device.type, precision, enabled=precision != torch.float32, cache_enabled=False
        ):
            residual = self._network(noisy, noise_sd)
        loss = masked_mse(residual.float(), target - noisy, weight)
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimizer.step()
        self._loss_sum += loss.detach()


def masked_mse(estimate: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error over weighted voxels.

    Parameters
    ----------
    estimate, target : (N, C, X, Y, Z) tensor
    weight : tensor that broadcasts to `estimate`
        Zero where a voxel does not count.

    Returns
    -------
    loss : scalar tensor
        Zero where no voxel counts.
    """
    weight = weight.expand_as(estimate)
    return ((estimate - target) ** 2 * weight).sum() / weight.sum().clamp(min=1)
