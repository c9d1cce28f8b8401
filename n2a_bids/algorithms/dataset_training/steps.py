"""Training steps over many subjects: learning rate and its decay, state to resume from, several processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, distributed, nn

from n2a_bids.algorithms.nn.precision import training_precision
from n2a_bids.algorithms.nn.training import cosine_decay


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Blocks to learn from, in z-scores; all (N, 1, X, Y, Z) tensors."""

    inputs: tuple[Tensor, ...]
    """What the network takes; the first is what its residual is added to."""
    target: Tensor
    weight: Tensor


Loss = Callable[[Tensor, Tensor, TrainingBatch], Tensor]
"""Of the first input and of what the network makes of all of them, both in float32."""


def residual_loss(image: Tensor, output: Tensor, batch: TrainingBatch) -> Tensor:
    """Weighted squared error of the image plus the residual that the network predicts."""
    return (((image + output - batch.target) ** 2) * batch.weight).mean()


class Pace(Protocol):
    """How fast a network is to learn from a dataset."""

    @property
    def peak_rate(self) -> float:
        """Highest learning rate."""

    @property
    def warmup_steps(self) -> int:
        """Steps over which the rate rises to it."""

    @property
    def averaging(self) -> float:
        """Decay of the running average of weights."""


@dataclass(slots=True)
class TrainingState:
    """What a checkpoint holds; mutated by `train_steps`."""

    network: nn.Module
    averaged: nn.Module
    """Running average of the weights of `network`."""
    optimizer: torch.optim.Optimizer
    step: int = 0
    losses: list[float] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:  # torch has tensors and numbers in one
        """Everything that a later process needs to go on."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "losses": self.losses,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:  # as above
        """Take over a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.losses = int(state["step"]), list(state["losses"])


def new_state(build: Callable[[], nn.Module], device: torch.device, config: Pace) -> TrainingState:
    """Begin a training: a network, the running average of its weights, and the optimiser."""
    network, averaged = build(), build()
    for one in (network, averaged):
        one.to(device, memory_format=_layout(next(one.parameters())))
    averaged.load_state_dict(network.state_dict())
    averaged.eval()
    optimizer = torch.optim.Adam(network.parameters(), lr=config.peak_rate, fused=True)
    return TrainingState(network=network, averaged=averaged, optimizer=optimizer)


def learning_rate(config: Pace, step: int, progress: float) -> float:
    """Warm-up, then cosine decay over the planned part that is done.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> pace = SimpleNamespace(peak_rate=7e-4, warmup_steps=200, averaging=0.9995)
    >>> round(learning_rate(pace, step=1000, progress=0.5), 6)
    0.000353
    """
    warmup = min(1.0, (step + 1) / config.warmup_steps)
    return config.peak_rate * warmup * cosine_decay(progress)


def train_steps(
    state: TrainingState,
    draw: Callable[[np.random.Generator], TrainingBatch],
    config: Pace,
    *,
    seed: int,
    n_steps: int,
    progress: Callable[[int], float],
    loss_of: Loss = residual_loss,
) -> float:
    """Take some steps on the device of the network; processes that learn together draw other blocks each.

    Parameters
    ----------
    state : TrainingState
        Modified.
    draw : callable
        Next batch from a generator.
    seed : int
        With the step number it seeds the data, so that a resumed run draws new blocks.
    progress : callable
        Step number to the part of the plan that is done, 0 to 1.
    loss_of : callable
        What is minimised.

    Returns
    -------
    loss : float
        Mean over these steps; also appended to ``state.losses``.

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    rank, device = rank_of_process(), next(state.network.parameters()).device
    rng = np.random.default_rng([seed, state.step, rank] if rank else [seed, state.step])
    total = torch.zeros((), device=device)
    for _ in range(n_steps):
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(config, state.step, progress(state.step))
        batch = draw(rng)
        *inputs, target, weight = (
            tensor.to(device, memory_format=_layout(tensor))
            for tensor in (*batch.inputs, batch.target, batch.weight)
        )
        there = TrainingBatch(tuple(inputs), target, weight)
        precision = training_precision(device, inputs[0].shape[2])
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            output = state.network(*inputs)
        loss = loss_of(inputs[0], output.float(), there)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        mean_over_processes(state.network)
        nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
        state.optimizer.step()
        state.step += 1
        _average(state, config.averaging)
        total += loss.detach()
    mean_loss = float(total) / n_steps
    if not math.isfinite(mean_loss):
        raise FloatingPointError(f"the training loss is {mean_loss} at step {state.step}")
    state.losses.append(mean_loss)
    return mean_loss


def rank_of_process() -> int:
    """Number of this process among those that train together; 0 alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def mean_over_processes(network: nn.Module) -> None:
    """Replace the gradients of this process by their mean over all processes of the group.

    Parameters
    ----------
    network : nn.Module
        After ``backward``; its gradients are mutated. Nothing happens in a process of its own.
    """
    if not distributed.is_initialized():
        return
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    # One message for all of them.
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def _layout(tensor: Tensor) -> torch.memory_format:
    return torch.channels_last_3d if tensor.ndim == 5 else torch.channels_last


@torch.no_grad()
def _average(state: TrainingState, decay: float) -> None:
    """Running average, faster in the beginning."""
    rate = 1 - min(decay, 1 - 1 / (state.step / 10 + 1))
    averaged: list[Tensor] = list(state.averaged.parameters())
    for average, current in zip(averaged, state.network.parameters()):
        average.lerp_(current, rate)
