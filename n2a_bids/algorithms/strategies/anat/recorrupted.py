"""Strategy ``recorrupted`` for T1w: a network fine-tuned on recorrupted averages; how long, by recipe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.nn.batches import BatchSettings, recorrupted_batches
from n2a_bids.algorithms.nn.blocks import BlockSampler
from n2a_bids.algorithms.nn.inference import FLIPS, predict
from n2a_bids.algorithms.nn.training import Schedule
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.preparation.repetitions import Prepared, prepare, restore
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.record.denoising import Choice, Epoch, StrategyRecord, list_epochs

_AIR_WEIGHT = 0.1
"""Air counts less in the loss: it is most of the volume and holds no anatomy."""


@dataclass(frozen=True, slots=True)
class RecorruptedConfig:
    """Settings of the fine-tuning."""

    weights: PretrainedWeights | None
    schedule: Schedule
    batch_size: int = 2
    block_edge: int = 48
    n_flips: int = 2
    """Mirror images that the final prediction averages over."""
    keep_noise_floor: bool = False
    """Leave the Rician bias in the targets, also where the air shows magnitudes."""


_STEPS = {"zero-shot": 0, "fast": 60, "default": 120, "thorough": 600, "faithful": 120}
"""Fine-tuning steps. What they bring follows the number of voxels seen, however these are parted into steps
and at whatever rate: each doubling 0.03 dB of estimated gain on a real pair, and 0.01 dB in simulations."""
_STEPS_FROM_SCRATCH = {"fast": 150, "default": 600, "thorough": 2400, "faithful": 600}


def config(recipe: str, weights: PretrainedWeights | None = None) -> RecorruptedConfig:
    """Settings of a recipe; ``faithful`` is ``default``, and ``zero-shot`` trains nothing."""
    steps = (_STEPS if weights else _STEPS_FROM_SCRATCH)[recipe]
    rate = 4e-4 if weights else 6e-4
    return RecorruptedConfig(
        weights=weights,
        schedule=Schedule(n_epochs=10 if steps else 0, steps_per_epoch=steps // 10, learning_rate=rate),
        n_flips={"zero-shot": 1, "fast": 1, "default": 2, "thorough": 8, "faithful": 2}[recipe],
    )


def denoise(repetitions: Repetitions, config: RecorruptedConfig, context: Context) -> DenoisedImage:
    """Fine-tune on recorrupted averages of all voxels and denoise the average.

    Parameters
    ----------
    repetitions : Repetitions
        At least two repetitions of one signal, one channel.
    """
    started = context.clock()
    prepared = prepare(repetitions, keep_noise_floor=config.keep_noise_floor)
    network = context.new_network("resunet-t1w", config.weights)
    noise_sd = prepared.average_noise_sd
    bias: NDArray[np.float32] | float = 0.0
    if config.weights is not None:
        first = predict(
            network, prepared.average, noise_sd, device=context.device, memory_gb=context.memory_gb
        )
        bias = prepared.estimated_bias(first, prepared.repetition_noise_sd)
    history = fine_tune(network, prepared, config, context, bias=bias)
    result = predict(
        network,
        prepared.average,
        noise_sd,
        device=context.device,
        memory_gb=context.memory_gb,
        flips=FLIPS[: config.n_flips],
    )
    seconds = context.clock() - started
    description = "network fine-tuned on recorrupted averages"
    return finish_plain("recorrupted", description, prepared, result, history, seconds)


def finish_plain(
    name: str,
    description: str,
    prepared: Prepared,
    estimate: NDArray[np.float32],
    history: tuple[Epoch, ...],
    seconds: float,
) -> DenoisedImage:
    """What a strategy without a choice by risk returns, in the intensities of the first repetition.

    Parameters
    ----------
    name, description : str
        What the report says was chosen.
    estimate : (X, Y, Z) float32 array
        In z-scores.
    history : tuple of Epoch
        Losses.
    """
    chosen = Choice(name, description)
    record = StrategyRecord(chosen=chosen, history=history, seconds={"total": round(seconds, 2)})
    return restore(prepared, estimate, record)


def loss_weight(prepared: Prepared) -> NDArray[np.float32]:
    """(X, Y, Z) weight of every voxel: 1 in the head, little in the air, none where a repetition has gaps."""
    weight = np.where(prepared.head, np.float32(1), np.float32(_AIR_WEIGHT))
    if prepared.n_measured is not None:
        weight[prepared.n_measured < len(prepared.images)] = 0
    return weight


def fine_tune(
    network: nn.Module,
    prepared: Prepared,
    config: RecorruptedConfig,
    context: Context,
    *,
    bias: NDArray[np.float32] | float = 0.0,
    noise_factor: float = 1.0,
    held_out: NDArray[np.bool_] | None = None,
) -> tuple[Epoch, ...]:
    """Train `network` in place on recorrupted averages.

    Parameters
    ----------
    network : nn.Module
        Modified.
    bias : (X, Y, Z) float array or 0.0
        Rician bias of the repetitions.
    noise_factor : float
        Factor on the noise-level map.
    held_out : (X, Y, Z) bool array, optional
        Voxels that must not be learned from.
    """
    weight = loss_weight(prepared)
    if held_out is not None:
        weight[held_out] = 0
    sampler = BlockSampler.over(prepared.mask, config.block_edge, context.generator, network.stride)
    settings = BatchSettings(config.batch_size, context.generator, context.device)
    batches = recorrupted_batches(prepared, weight, bias, noise_factor, sampler, settings)
    return list_epochs("recorrupted", context.train(network, batches, config.schedule, "fine-tuning"))
