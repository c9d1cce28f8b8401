"""Strategy ``noise2noise`` for T1w: every repetition learns to predict every other one.

Lehtinen et al., "Noise2Noise: learning image restoration without clean data",
ICML 2018. The output is the mean over the denoised repetitions, each predicted
as it is and mirrored left-right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.nn.batches import BatchSettings, Pair, pair_batches
from n2a_bids.algorithms.nn.blocks import BlockSampler
from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.nn.training import Schedule
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.preparation.repetitions import prepare
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.strategies.anat.recorrupted import finish_plain, loss_weight
from n2a_bids.record.denoising import list_epochs


@dataclass(frozen=True, slots=True)
class Noise2NoiseConfig:
    """Settings of a recipe of Noise2Noise."""

    weights: PretrainedWeights | None
    schedule: Schedule
    batch_size: int = 2
    block_edge: int = 48


def config(recipe: str, weights: PretrainedWeights | None = None) -> Noise2NoiseConfig:
    """Settings of a recipe; the same steps as the other strategies take."""
    steps = {"fast": 60, "default": 150, "thorough": 800, "faithful": 400}[recipe] * (1 if weights else 4)
    return Noise2NoiseConfig(
        weights=weights,
        schedule=Schedule(n_epochs=10, steps_per_epoch=steps // 10, learning_rate=1e-4 if weights else 6e-4),
    )


def denoise(repetitions: Repetitions, config: Noise2NoiseConfig, context: Context) -> DenoisedImage:
    """Denoise repetitions by Noise2Noise: a network learns to predict one from another.

    Parameters
    ----------
    repetitions : Repetitions
        At least two repetitions of one signal, one channel.
    """
    started = context.clock()
    prepared = prepare(repetitions)
    network = context.new_network("resunet-t1w", config.weights)
    weight = loss_weight(prepared)
    noise_sd = prepared.repetition_noise_sd
    pairs = [Pair(a, noise_sd, b, weight) for a, b in permutations(prepared.images, 2)]
    sampler = BlockSampler.over(prepared.mask, config.block_edge, context.generator, network.stride)
    settings = BatchSettings(config.batch_size, context.generator, context.device)
    batches = pair_batches(pairs, sampler, settings)
    losses = context.train(network, batches, config.schedule, "noise2noise")
    denoised = np.stack(
        [
            predict(
                network,
                image,
                noise_sd,
                device=context.device,
                memory_gb=context.memory_gb,
                flips=((), (repetitions.left_right_axis,)),
            )
            for image in prepared.images
        ]
    )
    history = list_epochs("noise2noise", losses)
    seconds = context.clock() - started
    combined = finish_plain("noise2noise", "Noise2Noise", prepared, denoised.mean(axis=0), history, seconds)
    own = np.stack([scale.invert(image) for scale, image in zip(prepared.scales, denoised)])
    return replace(combined, repetitions=own[..., None])
