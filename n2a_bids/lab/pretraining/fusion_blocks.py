"""Training blocks for `FusionUNet`: noise, first network and non-local Bayes applied to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.dataset_training.steps import TrainingBatch
from n2a_bids.algorithms.filters.nonlocal_bayes import BayesSettings, guided_nonlocal_bayes
from n2a_bids.algorithms.filters.patch_search import DEFAULT_SEARCH
from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.noise.covariance import covariance_from_power
from n2a_bids.algorithms.noise.rician import rician_bias
from n2a_bids.lab.pretraining.blocks import (
    BlockPretraining,
    TrainingHead,
    draw_clean,
    draw_level,
    draw_noise_sd,
)
from n2a_bids.lab.simulation.random_fields import noise_of_power, random_power

ROOM = 16
"""Voxels by which a block is longer than what one step trains on."""

_RIM = 4
"""Voxels at the faces of a crop that do not count: zero padding reaches them."""

_PASSES = 2
_RICIAN_SHARE = 0.75
_REPETITIONS = (1, 2, 2, 2, 4)


def draw_fusion_block(
    heads: list[TrainingHead], config: BlockPretraining, rng: np.random.Generator, network: nn.Module
) -> NDArray[np.float16]:
    """Simulate the mean of some repetitions, and denoise it as `auto` does without fine-tuning.

    Parameters
    ----------
    network : nn.Module
        Pretrained `ResidualUNet`, on the CPU, in eval mode.

    Returns
    -------
    volumes : (5, E, E, E) float16 array
        In z-scores: estimate of non-local Bayes, of the network, noisy mean
        less its Rician bias, noise SD, truth. E is 16 voxels more than the
        ``block_edge`` of `config`.
    """
    clean, mean, sd = draw_clean(heads, replace(config, block_edge=config.block_edge + ROOM), rng)
    clean = clean / np.float32(sd)
    zero = np.float32(-mean / sd)
    noise_sd = draw_noise_sd(clean.shape, config, rng, draw_level(config, rng))
    power = random_power(rng, clean.shape) if rng.random() < config.coloured_share else None
    correlation = (
        None if power is None else covariance_from_power(power).patch_correlation(DEFAULT_SEARCH.edge)
    )
    is_rician = rng.random() < _RICIAN_SHARE
    n_repetitions = int(rng.choice(_REPETITIONS)) if is_rician else 1
    repetition_sd = noise_sd * np.float32(np.sqrt(n_repetitions))

    def draw() -> NDArray[np.float32]:
        real = clean + repetition_sd * noise_of_power(rng, clean.shape, power)
        if not is_rician:
            return real
        return np.hypot(real, repetition_sd * noise_of_power(rng, clean.shape, power))

    def without_bias(guide: NDArray[np.float32]) -> NDArray[np.float32]:
        bias = rician_bias(guide - zero, repetition_sd) if is_rician else np.float32(0)
        return (noisy - bias).astype(np.float32)

    noisy = (np.mean([draw() for _ in range(n_repetitions)], axis=0) + zero).astype(np.float32)
    device = torch.device("cpu")
    estimate = patches = predict(network, noisy, noise_sd, device=device)
    everywhere = np.ones(clean.shape, bool)
    for _ in range(_PASSES):
        settings = BayesSettings(device, correlation=correlation)
        patches = guided_nonlocal_bayes(without_bias(patches), patches, noise_sd, everywhere, settings)
    volumes = (patches, estimate, without_bias(patches), noise_sd, clean + zero)
    return np.stack(volumes).astype(np.float16)


def draw_fusion_batch(
    blocks: Sequence[NDArray[np.float16]], config: BlockPretraining, rng: np.random.Generator
) -> TrainingBatch:
    """Crops of such blocks, turned and mirrored; the loss is weighted as for the first network.

    Parameters
    ----------
    blocks : sequence of (5, E, E, E) float16 arrays
        See `draw_fusion_block`.
    """
    edge, crops = config.block_edge, []
    for _ in range(config.batch_size):
        block = blocks[rng.integers(len(blocks))]
        corner = [int(rng.integers(size - edge + 1)) for size in block.shape[1:]]
        crop = block[(slice(None), *(slice(low, low + edge) for low in corner))]
        crop = crop.transpose(0, *(1 + rng.permutation(3)))
        flips = [axis for axis in (1, 2, 3) if rng.random() < 0.5]
        crops.append(np.ascontiguousarray(np.flip(crop, flips), np.float32))
    patches, estimate, noisy, noise_sd, clean = torch.from_numpy(np.stack(crops)).split(1, dim=1)
    weight = torch.zeros_like(clean)
    inner = (..., *(slice(_RIM, -_RIM),) * 3)
    weight[inner] = noise_sd.mean(dim=(1, 2, 3, 4), keepdim=True).expand_as(clean)[inner] ** -1.3
    return TrainingBatch((patches, estimate, noisy, noise_sd), clean, weight)
