"""Measures how fast networks and filters run on this machine, to predict the time of a denoising."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from n2a_bids.algorithms.filters.nonlocal_bayes import BayesSettings, guided_nonlocal_bayes
from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.nn.networks import FusionUNet, ResidualUNet
from n2a_bids.algorithms.nn.precision import precision_for
from n2a_bids.algorithms.nn.training import Batch, Schedule, fit

_BLOCK_EDGE, _BATCH_SIZE, _N_STEPS = 40, 2, 2
_PREDICTION_EDGE = 56
"""Of a volume that networks see without a margin, which hardly counts in whole heads."""
_FILTER_EDGE = 32


@dataclass(frozen=True, slots=True)
class Rates:
    """Voxels per second of what takes the time of ``auto``, with the threads of this process."""

    device: str
    precision: str
    training: float
    """Of blocks that the residual U-Net learns from: forward, backward, and the step."""
    prediction: float
    """Of a volume to which the residual U-Net is applied."""
    fusion: float
    """Of a volume to which the fusion network is applied."""
    nonlocal_bayes: float
    """Of a head, for each pass."""


def measure_rates(device: torch.device) -> Rates:
    """Time a few training steps, predictions and one pass of non-local Bayes on noise.

    Takes about two seconds with tile units (AMX), ten without.
    """
    learns, follows = (
        network.to(device, memory_format=torch.channels_last_3d)
        for network in (_seeded(ResidualUNet), _seeded(FusionUNet))
    )
    generator = np.random.default_rng(0)
    volume = generator.standard_normal((_PREDICTION_EDGE,) * 3).astype(np.float32)
    training = _train(learns, device, generator)
    learns, follows = learns.eval(), follows.eval()
    small = volume[(slice(_FILTER_EDGE),) * 3]
    everywhere, noise_sd = np.ones(small.shape, bool), np.ones_like(small)
    whole = {"device": device, "margin_voxels": 0}
    settings = BayesSettings(device)
    return Rates(
        device=device.type,
        precision=str(precision_for(device)).removeprefix("torch."),
        training=training,
        prediction=_rate(volume.size, lambda: predict(learns, volume, volume, **whole)),
        fusion=_rate(volume.size, lambda: predict(follows, *[volume] * 4, **whole)),
        nonlocal_bayes=_rate(
            small.size, lambda: guided_nonlocal_bayes(small, small, noise_sd, everywhere, settings)
        ),
    )


def _seeded(make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def _train(network: torch.nn.Module, device: torch.device, generator: np.random.Generator) -> float:
    shape = (_BATCH_SIZE, 1, *[_BLOCK_EDGE] * 3)
    noisy, target = (
        torch.from_numpy(generator.standard_normal(shape).astype(np.float32)).to(device) for _ in range(2)
    )
    batch = Batch(noisy, torch.ones_like(noisy), target, torch.ones_like(noisy))
    ends: list[float] = []
    fit(
        network,
        lambda: batch,
        Schedule(n_epochs=2, steps_per_epoch=_N_STEPS, learning_rate=1e-6),
        device=device,
        on_epoch=lambda epoch, loss: ends.append(time.perf_counter()),
    )
    return _N_STEPS * noisy.numel() / (ends[1] - ends[0])


def _rate(n_voxels: int, work: Callable[[], object]) -> float:
    """Voxels per second of the second call: the first one chooses kernels. Results come back to the host."""
    work()
    started = time.perf_counter()
    work()
    return n_voxels / (time.perf_counter() - started)
