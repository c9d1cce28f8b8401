"""2D images to pretrain micrograph networks on: drawings, brain slices, counting noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.dataset_training.steps import TrainingBatch
from n2a_bids.algorithms.nn.planar_inference import predict_plane
from n2a_bids.errors import ConfigError
from n2a_bids.lab.pretraining.blocks import TrainingHead
from n2a_bids.lab.simulation.drawings import draw_image, smooth_plane
from n2a_bids.lab.simulation.random_fields import coloured_noise

Plane = NDArray[np.float32]

_EDGE = 256
"""Of a drawing, pixels."""
_SLICES_PER_BRAIN = 6
_LEAST_BRAIN = 96
"""Pixels that a slice needs on both axes."""


@dataclass(frozen=True, slots=True)
class ImagePretraining:
    """The recipe of a 2D network; the model card gives what was used."""

    block_edge: int = 64
    batch_size: int = 16
    noise_sd: tuple[float, float] = (0.05, 3.0)
    """Range of noise levels, in SDs of the image; drawn log-uniformly."""
    counting_share: float = 0.35
    """Part of the blocks with stabilised counts in place of Gaussian noise."""
    coloured_share: float = 0.12
    """Part of the other blocks whose noise is correlated as interpolation leaves it."""
    varying_share: float = 0.3
    """Part of the other blocks whose noise level varies in space."""
    brain_share: float = 0.15
    """Part of the blocks from slices of brains, where there are any."""


@dataclass(frozen=True, slots=True)
class ImageBank:
    """Clean images between 0 and 1."""

    drawings: tuple[NDArray[np.float16], ...]
    slices: tuple[NDArray[np.float16], ...] = ()


def check_edge(block_edge: int) -> None:
    """Refuse blocks that are larger than the drawings.

    Raises
    ------
    ConfigError
        Names the option.
    """
    if block_edge > _EDGE:
        raise ConfigError(
            f"--block-edge {block_edge}: expected at most {_EDGE}, the edge of the drawings that 2D networks "
            "learn from; give a smaller one"
        )


def make_bank(n_drawings: int, heads: Sequence[TrainingHead], seed: int) -> ImageBank:
    """Draw images, and cut slices of three orientations out of brains.

    Parameters
    ----------
    heads : sequence of TrainingHead
        May be empty.
    """
    rng = np.random.default_rng(seed)
    drawings = tuple(draw_image(rng, _EDGE).astype(np.float16) for _ in range(n_drawings))
    slices = []
    for head in heads:
        for index in range(_SLICES_PER_BRAIN):
            axis = index % 3
            planes = np.flatnonzero(head.brain.any(axis=tuple(other for other in range(3) if other != axis)))
            low, high = np.percentile(planes, (20, 80)).astype(int)
            plane = np.take(head.image, rng.integers(low, high + 1), axis=axis).astype(np.float32)
            if min(plane.shape) >= _LEAST_BRAIN:
                slices.append((plane / plane.max()).astype(np.float16))
    return ImageBank(drawings, tuple(slices))


def draw_image_batch(bank: ImageBank, config: ImagePretraining, rng: np.random.Generator) -> TrainingBatch:
    """Noisy blocks, their noise maps and clean targets, in units of the SD of their images.

    The weight falls with the noise SD about as the error that can be reached rises, so that no level rules.
    """
    rows = []
    for _ in range(config.batch_size):
        clean = _draw_block(bank, config, rng)
        level = float(np.exp(rng.uniform(*np.log(config.noise_sd))))
        make = _add_counts if rng.random() < config.counting_share else _add_gaussian
        noisy, noise_sd, clean = make(clean, level, config, rng)
        weight = np.full_like(clean, (level / (1 + 0.3 * level)) ** -1.3)
        rows.append(np.stack((noisy, noise_sd, clean, weight)).astype(np.float32))
    noisy, noise_sd, target, weight = torch.from_numpy(np.stack(rows)).split(1, dim=1)
    return TrainingBatch((noisy, noise_sd), target, weight)


def _draw_block(bank: ImageBank, config: ImagePretraining, rng: np.random.Generator) -> Plane:
    """A block of an image in z-scores of all of it, in a random orientation."""
    from_brain = bool(bank.slices) and rng.random() < config.brain_share
    images = bank.slices if from_brain else bank.drawings
    image = images[rng.integers(len(images))]
    if min(image.shape) < config.block_edge:
        # A slice that is too small for such blocks: all drawings are large enough.
        image = bank.drawings[rng.integers(len(bank.drawings))]
    low = [rng.integers(size - config.block_edge + 1) for size in image.shape]
    block = image[tuple(slice(start, start + config.block_edge) for start in low)].astype(np.float32)
    whole = image[::4, ::4].astype(np.float32)
    block = np.rot90(block, rng.integers(4))
    block = block.T if rng.random() < 0.5 else block
    return np.ascontiguousarray((block - whole.mean()) / max(whole.std(), 1e-3))


def _add_gaussian(
    clean: Plane, level: float, config: ImagePretraining, rng: np.random.Generator
) -> tuple[Plane, Plane, Plane]:
    noise_sd = np.full(clean.shape, level, np.float32)
    if rng.random() < config.varying_share:
        noise_sd *= np.exp(0.35 * smooth_plane(rng, len(clean), int(rng.integers(2, 5))))
    coupling = rng.uniform(-0.05, 0.2, 2) if rng.random() < config.coloured_share else None
    return clean + noise_sd * coloured_noise(rng, clean.shape, coupling), noise_sd, clean


def _add_counts(
    clean: Plane, level: float, config: ImagePretraining, rng: np.random.Generator
) -> tuple[Plane, Plane, Plane]:
    """Poisson counts through Anscombe's transform, averaged over some exposures, at about a noise level."""
    n_exposures = int(rng.choice([1, 2, 4]))
    signal = clean - clean.min() + np.float32(rng.uniform(0, 2))
    # Stabilised, one SD of the signal spans about 1 / sqrt(mean) noise SDs per count.
    dose = max(signal.mean(), 0.3) / (level**2 * n_exposures)
    expected = np.clip(signal * dose, 0.05, 1e5)
    counts = rng.poisson(expected, (n_exposures, *clean.shape))
    stable = 2 * np.sqrt(counts.astype(np.float32) + 0.375)
    unit = 2 * np.sqrt(dose / max(signal.mean(), 0.3))
    target = mean_stabilised(expected) / unit
    offset = target.mean()
    noise_sd = np.full(clean.shape, 1 / (unit * np.sqrt(n_exposures)), np.float32)
    return stable.mean(axis=0) / unit - offset, noise_sd, target - offset


def mean_stabilised(expected: NDArray[np.floating]) -> Plane:
    """Expectation of ``2 sqrt(N + 3/8)`` for Poisson counts N, from a table below 60 and its series above."""
    knots = np.linspace(np.sqrt(0.04), np.sqrt(60), 600) ** 2
    counts = np.arange(160)
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(counts[1:]))))
    chances = np.exp(counts * np.log(knots)[:, None] - knots[:, None] - log_factorial)
    table = chances @ (2 * np.sqrt(counts + 0.375))
    series = 2 * np.sqrt(expected + 0.375) - 0.25 * expected**-0.5
    return np.where(expected < 55, np.interp(expected, knots, table), series).astype(np.float32)


def validate_images(network: nn.Module, bank: ImageBank, device: torch.device) -> dict[str, float]:
    """PSNR of images with Gaussian noise, denoised at the true level.

    Returns
    -------
    psnr_db : dict
        Noise SD, as ``psnr_0.2``, to the mean PSNR over the images of `bank`, whose range is 1.
    """
    result = {}
    for level in (0.2, 0.6, 1.5):
        values = []
        for index, image in enumerate(bank.drawings + bank.slices):
            clean = image.astype(np.float32)
            rng, noise_sd = np.random.default_rng(100 + index), np.float32(level * clean.std())
            noisy = clean + noise_sd * rng.standard_normal(clean.shape, np.float32)
            estimate = predict_plane(network, noisy - clean.mean(), noise_sd, device=device) + clean.mean()
            values.append(-10 * np.log10(np.mean((estimate - clean) ** 2)))
        result[f"psnr_{level}"] = round(float(np.mean(values)), 3)
    return result
