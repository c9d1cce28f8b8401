"""Training batches drawn from many subjects: recorrupted averages, pairs, recorrupted single images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Literal

import numpy as np
import torch

from n2a_bids.algorithms.dataset_training.exposures import ExposureGroup, exposure_source
from n2a_bids.algorithms.dataset_training.groups import TrainingGroup
from n2a_bids.algorithms.dataset_training.steps import TrainingBatch
from n2a_bids.algorithms.nn.batches import (
    BatchSettings,
    Pair,
    as_batch,
    draw_strength,
    pair_batches,
    recorrupted_batches,
)
from n2a_bids.algorithms.nn.blocks import BlockSampler, draw_orientation, orient
from n2a_bids.algorithms.nn.training import Batch
from n2a_bids.algorithms.noise.covariance import colour_noise
from n2a_bids.algorithms.strategies.anat.recorrupted import loss_weight

Targets = Literal["recorrupted", "noise2noise"]

_LEVEL_POWER = -1.3
"""Weight of a subject by its noise SD: about the inverse of the error in reach, as in pretraining."""


def batches_of_groups(
    groups: Sequence[TrainingGroup | ExposureGroup],
    targets: Targets,
    batch_size: int,
    block_edge: int,
    stride: int,
) -> Callable[[np.random.Generator], TrainingBatch]:
    """Random blocks of random subjects.

    Parameters
    ----------
    groups : sequence of TrainingGroup or of ExposureGroup
        Every subject is drawn equally often, however many groups it has.
    targets : {'recorrupted', 'noise2noise'}
        What repetitions learn: averages from independent averages, or each repetition from another one. One
        image alone is always recorrupted, by noise of its estimated level.
    batch_size : int
        Blocks in a batch.
    block_edge : int
        In voxels or pixels; less where the smallest volume or plane is smaller.
    stride : int
        Of the network: edges are multiples of it.

    Returns
    -------
    draw : callable
        Takes a generator, the only source of randomness, and returns the next batch.
    """
    edge = min(block_edge, *(one.least_edge // stride * stride for one in groups))
    generator = torch.Generator()
    typical = float(np.exp(np.mean([np.log(one.noise_sd) for one in groups])))
    sources: dict[str, list[Callable[[], Batch]]] = {}
    for one in groups:
        level_weight = (one.noise_sd / typical) ** _LEVEL_POWER
        if isinstance(one, ExposureGroup):
            source = exposure_source(one, targets, level_weight, edge, generator)
        else:
            weight = loss_weight(one.prepared) * np.float32(level_weight)
            sampler = BlockSampler.over(one.prepared.mask, edge, generator.manual_seed(0), stride)
            source = _source(one, targets, weight, sampler, generator)
        sources.setdefault(one.subject, []).append(source)
    subjects = sorted(sources)

    def draw(rng: np.random.Generator) -> TrainingBatch:
        generator.manual_seed(int(rng.integers(2**62)))
        blocks = []
        for _ in range(batch_size):
            own = sources[subjects[rng.integers(len(subjects))]]
            blocks.append(own[rng.integers(len(own))]())
        parts = ("noisy", "noise_sd", "target", "weight")
        noisy, noise_sd, target, weight = (torch.cat([getattr(b, part) for b in blocks]) for part in parts)
        return TrainingBatch((noisy, noise_sd), target, weight)

    return draw


def _source(
    group: TrainingGroup,
    targets: Targets,
    weight: np.ndarray,
    sampler: BlockSampler,
    generator: torch.Generator,
) -> Callable[[], Batch]:
    """One block at a time of one group."""
    prepared, bias, one_block = group.prepared, group.bias, BatchSettings(1, generator)
    if group.is_alone:
        return _recorrupted_alone(group, weight, sampler, generator)
    if targets == "recorrupted":
        return recorrupted_batches(prepared, weight, bias, 1.0, sampler, one_block)
    noise = [
        prepared.repetition_noise_sd * np.float32(np.sqrt(ratio))
        for ratio in prepared.weighting.variance_ratio
    ]
    clean = [(image - bias).astype(np.float32) for image in prepared.images]
    pairs = [
        Pair(prepared.images[first], noise[first], clean[second], weight)
        for first, second in permutations(range(len(clean)), 2)
    ]
    return pair_batches(pairs, sampler, one_block)


def _recorrupted_alone(
    group: TrainingGroup, weight: np.ndarray, sampler: BlockSampler, generator: torch.Generator
) -> Callable[[], Batch]:
    """One image with simulated noise of its level added, and its target with the same noise taken away."""
    prepared = group.prepared
    offset = np.broadcast_to(np.float32(group.bias), prepared.mask.shape)
    volumes = np.stack((prepared.images[0], prepared.repetition_noise_sd, offset, weight))
    image, noise_sd, bias, counted = torch.from_numpy(volumes.astype(np.float32))

    def draw() -> Batch:
        box = sampler.draw(generator)
        strength = draw_strength(generator)
        drawn = torch.randn(image[box].shape, generator=generator)
        if prepared.covariance is not None:
            drawn = torch.from_numpy(colour_noise(drawn.numpy(), prepared.covariance))
        noise = drawn * noise_sd[box]
        noisy, target = image[box] + strength * noise, image[box] - bias[box] - noise / strength
        louder = noise_sd[box] * float(np.sqrt(1 + strength**2))
        block = orient(torch.stack((noisy, louder, target, counted[box])), *draw_orientation(generator))
        return as_batch(block[None])

    return draw
