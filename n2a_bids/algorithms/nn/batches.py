"""3D training batches: random blocks of repetitions as noisy pairs or recorrupted averages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from n2a_bids.algorithms.averaging import RepetitionWeights
from n2a_bids.algorithms.nn.blocks import BlockSampler, draw_orientation, orient
from n2a_bids.algorithms.nn.training import Batch
from n2a_bids.algorithms.preparation.repetitions import Prepared
from n2a_bids.algorithms.risk.stacking import zero_sum_direction

_STRENGTHS = (0.5, 1.0)
"""Range of the recorruption; below 0.5 targets, whose noise grows as its inverse, teach little per step."""


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How many blocks a batch has, and with what they are drawn."""

    batch_size: int
    generator: torch.Generator
    """CPU generator."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where the volumes stay during training."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A noisy volume and its target, z-scores, each (X, Y, Z)."""

    noisy: NDArray[np.float32]
    noise_sd: NDArray[np.float32]
    target: NDArray[np.float32]
    weight: NDArray[np.float32]


def pair_batches(pairs: list[Pair], sampler: BlockSampler, settings: BatchSettings) -> Callable[[], Batch]:
    """Batches of random blocks in random orientations from fixed pairs.

    Parameters
    ----------
    pairs : list of Pair
        Arrays that several of them share are kept once.

    Returns
    -------
    draw : callable
        Returns the next `Batch`.
    """
    kept: dict[int, Tensor] = {}
    generator, device = settings.generator, settings.device

    def keep(array: NDArray[np.float32]) -> Tensor:
        if id(array) not in kept:
            kept[id(array)] = torch.from_numpy(np.require(array, requirements="CW")).to(device)
        return kept[id(array)]

    volumes = [[keep(a) for a in (pair.noisy, pair.noise_sd, pair.target, pair.weight)] for pair in pairs]

    def draw() -> Batch:
        blocks = []
        for _ in range(settings.batch_size):
            pick = int(torch.randint(len(volumes), (), generator=generator))
            box = sampler.draw(generator)
            block = torch.stack([volume[box] for volume in volumes[pick]])
            blocks.append(orient(block, *draw_orientation(generator)))
        return as_batch(torch.stack(blocks))

    return draw


def recorrupted_batches(
    prepared: Prepared,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | float,
    noise_scale: float,
    sampler: BlockSampler,
    settings: BatchSettings,
) -> Callable[[], Batch]:
    """Batches of recorrupted averages, a new random contrast of repetitions for every block.

    Parameters
    ----------
    weight : (X, Y, Z) float array
        Weight of every voxel in the loss; zero on held-out blocks.
    bias : (X, Y, Z) float array or 0.0
        Rician bias, subtracted from the targets.
    noise_scale : float
        Factor on the noise-level map, as the risk chose it.
    """
    generator, device = settings.generator, settings.device
    images, weighting = torch.from_numpy(prepared.images).to(device), prepared.weighting
    noise_sd = prepared.repetition_noise_sd * np.float32(weighting.noise_factor * noise_scale)
    fixed = np.stack((noise_sd, weight))
    fixed = torch.from_numpy(fixed).to(device)
    offset = torch.from_numpy(np.broadcast_to(np.float32(bias), prepared.mask.shape).copy()).to(device)

    def draw() -> Batch:
        blocks = []
        for _ in range(settings.batch_size):
            box = sampler.draw(generator)
            weights, others, strength = recorrupt(weighting, generator)
            noisy = combine(images, weights, box)
            target = combine(images, others, box) - offset[box]
            noise_sd = fixed[0][box] * float(np.sqrt(1 + strength**2))
            block = torch.stack((noisy, noise_sd, target, fixed[1][box]))
            blocks.append(orient(block, *draw_orientation(generator)))
        return as_batch(torch.stack(blocks))

    return draw


def draw_strength(generator: torch.Generator) -> float:
    """How much noise a recorruption adds, over that of the average."""
    low, high = _STRENGTHS
    return low + (high - low) * float(torch.rand((), generator=generator))


def recorrupt(
    weighting: RepetitionWeights, generator: torch.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Weights of two averages of the same signal and independent noise, the second for targets.

    Parameters
    ----------
    weighting : RepetitionWeights
        Of the repetitions in their average.

    Returns
    -------
    weights, target_weights : (R,) float arrays
    strength : float
        See `draw_strength`.
    """
    strength = draw_strength(generator)
    contrast = zero_sum_direction(weighting, generator)
    weights = weighting.weights
    return weights + strength * contrast, weights - contrast / strength, strength


def combine(images: Tensor, weights: NDArray[np.float64], box: Sequence[int | slice]) -> Tensor:
    """Weighted sum of (R, X, Y, Z) images within a block."""
    scale = torch.as_tensor(weights, dtype=images.dtype, device=images.device)
    return torch.tensordot(scale, images[(slice(None), *box)], dims=1)


def as_batch(blocks: Tensor) -> Batch:
    """(N, 4, X, Y, Z) stacked blocks to a `Batch`."""
    noisy, noise_sd, target, weight = (
        channel.contiguous(memory_format=torch.channels_last_3d) for channel in blocks.split(1, dim=1)
    )
    return Batch(noisy=noisy, noise_sd=noise_sd, target=target, weight=weight)
