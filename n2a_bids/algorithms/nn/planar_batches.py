"""2D training batches: random squares of stabilised micrograph exposures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from n2a_bids.algorithms.averaging import RepetitionWeights
from n2a_bids.algorithms.nn.batches import BatchSettings, combine, recorrupt
from n2a_bids.algorithms.nn.training import Batch

Draw = Callable[[torch.Generator], tuple[NDArray[np.float64], NDArray[np.float64], float]]
"""Weights of the exposures in the input and in the target, and the noise SD of the input over that of one."""


def recorrupted_pairs(weighting: RepetitionWeights) -> Draw:
    """Pairs of recorrupted averages: input near the mean, target with independent noise."""

    def draw(generator: torch.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        inputs, targets, strength = recorrupt(weighting, generator)
        return inputs, targets, float(np.sqrt((1 + strength**2) * weighting.variance))

    return draw


def exposure_pairs(n_exposures: int) -> Draw:
    """Pairs of two exposures: each learns to predict each other one."""

    def draw(generator: torch.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        first, second = torch.randperm(n_exposures, generator=generator)[:2].tolist()
        return np.eye(n_exposures)[first], np.eye(n_exposures)[second], 1.0

    return draw


def square_batches(
    images: NDArray[np.float32],
    weight: NDArray[np.float32],
    noise_sd: float,
    draw_pair: Draw,
    settings: BatchSettings,
    *,
    edge: int,
    target: NDArray[np.float32] | None = None,
) -> Callable[[], Batch]:
    """Batches of random squares in random orientations.

    Parameters
    ----------
    images : (R, N, X, Y) float32 array
        Stabilised exposures.
    weight : (N, X, Y) float32 array
        Of every pixel in the loss: zero where it is held out, or does not count.
    noise_sd : float
        Of one exposure.
    draw_pair : callable
        Of what input and target are made.
    edge : int
        Of a square, in pixels; smaller in small images.
    target : (N, X, Y) float32 array, optional
        One target for all, in place of combinations of the exposures.

    Returns
    -------
    draw : callable
        Returns the next `Batch` of (N, 1, x, y) tensors.
    """
    generator, device = settings.generator, settings.device
    volumes = torch.from_numpy(images).to(device)
    fixed = torch.from_numpy(weight).to(device)
    goal = None if target is None else torch.from_numpy(target).to(device)
    shape = weight.shape
    size = max(min(edge, *shape[1:]) // 4 * 4, 4)

    def square() -> Tensor:
        low = [int(torch.randint(side - size + 1, (), generator=generator)) for side in shape[1:]]
        plane = int(torch.randint(shape[0], (), generator=generator))
        box = (plane, *(slice(start, start + size) for start in low))
        inputs, targets, factor = draw_pair(generator)
        noisy = combine(volumes, inputs, box)
        target = combine(volumes, targets, box) if goal is None else goal[box]
        level = torch.full_like(noisy, noise_sd * factor)
        return _orient(torch.stack((noisy, level, target, fixed[box])), generator)

    def draw() -> Batch:
        stacked = torch.stack([square() for _ in range(settings.batch_size)])
        channels = [part.contiguous(memory_format=torch.channels_last) for part in stacked.split(1, dim=1)]
        return Batch(*channels)

    return draw


def _orient(block: Tensor, generator: torch.Generator) -> Tensor:
    """One of the eight orientations of a square."""
    turns, mirrored = (
        int(torch.randint(4, (), generator=generator)),
        torch.rand((), generator=generator) < 0.5,
    )
    rotated = torch.rot90(block, turns, (-2, -1))
    return rotated.transpose(-2, -1) if mirrored else rotated
