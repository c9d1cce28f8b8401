"""The one training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from n2a_bids.algorithms.losses import masked_mse


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
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


def precision_for(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor multiplies it natively, else float32.

    Emulated bfloat16 is slower than float32, so plain AVX2 processors keep float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capability = torch.backends.cpu.get_cpu_capability()
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native and capability.startswith("AVX512") else torch.float32


def fit(
    network: nn.Module,
    batches: Callable[[], Batch],
    schedule: Schedule,
    *,
    device: torch.device,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> list[float]:
    """Train a network in place to predict ``target - noisy``.

    Parameters
    ----------
    network : nn.Module
        Called as ``network(noisy, noise_sd)``; modified.
    batches : callable
        Returns the next batch; the source of randomness.
    schedule : Schedule
    device : torch.device
    on_epoch : callable
        Told the index and mean loss of each finished epoch.

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
    optimizer = torch.optim.Adam(network.parameters(), lr=schedule.learning_rate, fused=True)
    precision = precision_for(device)
    history: list[float] = []
    for epoch in range(schedule.n_epochs):
        total = torch.zeros((), device=device)
        for index in range(schedule.steps_per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(epoch * schedule.steps_per_epoch + index)
            batch = batches()
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                residual = network(batch.noisy, batch.noise_sd)
            loss = masked_mse(residual.float(), batch.target - batch.noisy, batch.weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            total += loss.detach()
        history.append(float(total) / schedule.steps_per_epoch)  # the one host-device sync of an epoch
        if not math.isfinite(history[-1]):
            raise FloatingPointError(f"the training loss of epoch {epoch + 1} is {history[-1]}")
        on_epoch(epoch, history[-1])
    network.eval()
    return history
