"""3D blocks to pretrain on: clean images in randomised contrasts, with simulated noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.dataset_training.steps import TrainingBatch
from n2a_bids.lab.simulation.random_anatomy import acquire_coarser, add_lesions, draw_coarseness
from n2a_bids.lab.simulation.random_fields import (
    coloured_noise,
    dead_leaves,
    head_shells,
    random_contrast,
    smooth_field,
)


@dataclass(frozen=True, slots=True)
class TrainingHead:
    """One subject to learn from."""

    name: str
    image: NDArray[np.floating]
    """(X, Y, Z) intensities over their in-brain SD; zero in the air."""
    brain: NDArray[np.bool_]
    distance: NDArray[np.float32] | None = None
    """(X, Y, Z) distance to the brain in voxels where the image is a stripped brain
    that may get simulated shells; ``None`` for a whole head."""
    share: float = 1.0
    """Relative frequency."""
    centres: NDArray[np.int64] = field(init=False)
    """Flat indices of brain voxels around which blocks are drawn."""
    sample: NDArray[np.float32] = field(init=False)
    """Intensities of some brain voxels: their mean and SD normalise a block."""

    def __post_init__(self) -> None:
        inside = np.flatnonzero(self.brain)
        chosen = np.random.default_rng(0).choice(inside, min(len(inside), 60_000), replace=False)
        object.__setattr__(self, "centres", chosen)
        object.__setattr__(self, "sample", self.image.reshape(-1)[chosen[:4000]].astype(np.float32))


@dataclass(frozen=True, slots=True)
class BlockPretraining:
    """The recipe; model cards give the command that used it."""

    block_edge: int = 48
    batch_size: int = 2
    peak_rate: float = 7e-4
    warmup_steps: int = 200
    noise_sd: tuple[float, float] = (0.04, 0.8)
    """Range of noise levels, in in-brain SDs; drawn log-uniformly."""
    leaves_share: float = 0.06
    """Part of the blocks that hold ellipsoids in place of anatomy."""
    contrast_share: float = 0.6
    """Part of the blocks whose contrast is changed."""
    shells_share: float = 0.6
    """Part of the blocks of stripped brains that get a simulated skull and scalp."""
    coloured_share: float = 0.35
    """Part of the blocks with noise that is correlated as interpolation leaves it."""
    varying_share: float = 0.45
    """Part of the blocks whose noise level varies in space."""
    coarse_share: float = 0.4
    """Part of the blocks that are scanned in fewer voxels along one or two axes, as before zero-filling."""
    lesions_share: float = 0.4
    """Part of the blocks with small lesions."""
    averaging: float = 0.9995
    """Decay of the running average of weights, which is what ships."""

    def with_less_randomisation(self, factor: float) -> BlockPretraining:
        """The same recipe with every randomised share multiplied: 0 leaves anatomy and white noise.

        Examples
        --------
        >>> round(BlockPretraining().with_less_randomisation(0.5).contrast_share, 2)
        0.3
        """
        names = [name for name in self.__slots__ if name.endswith("_share")]
        return replace(self, **{name: factor * getattr(self, name) for name in names})


def distance_to_brain(brain: NDArray[np.bool_]) -> NDArray[np.float16]:
    """(X, Y, Z) distance of every voxel to the brain, in voxels."""
    return ndimage.distance_transform_edt(~brain).astype(np.float16)


def check_size(head: TrainingHead, least_voxels: int) -> None:
    """Raise ValueError unless the head is at least so long along every axis.

    Examples
    --------
    >>> slab = np.ones((20, 20, 6), np.float32)
    >>> check_size(TrainingHead("slab", slab, slab > 0), 16)
    Traceback (most recent call last):
    ValueError: slab: expected at least 16 voxels along every axis, as many as a block has, found (20, 20, 6)
    """
    if min(head.image.shape) < least_voxels:
        raise ValueError(
            f"{head.name}: expected at least {least_voxels} voxels along every axis, as many as a block has, "
            f"found {head.image.shape}"
        )


def draw_clean(
    heads: list[TrainingHead], config: BlockPretraining, rng: np.random.Generator
) -> tuple[NDArray[np.float32], float, float]:
    """A clean block with randomised contrast, shading, resolution and orientation.

    Returns
    -------
    block : (E, E, E) float32 array
        Non-negative intensities.
    mean, sd : float
        Of the brain (not of the block).

    Raises
    ------
    ValueError
        If the head that was drawn is smaller than a block.
    """
    edge = config.block_edge
    if rng.random() < config.leaves_share:
        leaves = dead_leaves(rng, edge)
        return leaves, float(leaves.mean()), float(max(leaves.std(), 0.2))
    weights = np.array([head.share for head in heads])
    head = heads[rng.choice(len(heads), p=weights / weights.sum())]
    check_size(head, edge)
    read = _shape_to_read(head, config, rng)
    block, values = _cut(head, read, config.shells_share, rng)
    typical = float(np.median(values))
    if rng.random() < config.contrast_share:
        curve = random_contrast(rng)
        block, values = curve(block, typical), curve(values, typical)
    mean, sd = float(values.mean()), float(max(values.std(), 0.05 * values.mean() + 1e-3))
    if len(set(read)) > 1:
        block = acquire_coarser(block, (edge,) * 3)
    elif read[0] != edge:
        tensor = torch.from_numpy(np.ascontiguousarray(block))[None, None]
        block = F.interpolate(tensor, size=(edge,) * 3, mode="trilinear", align_corners=False)[0, 0].numpy()
    if rng.random() < config.lesions_share:
        block = add_lesions(block, sd, rng)
    if rng.random() < 0.5:
        block = block * np.exp(smooth_field(rng, block.shape, 3, 0.2))
    block = np.transpose(block, rng.permutation(3))
    flips = [axis for axis in range(3) if rng.random() < 0.5]
    return np.ascontiguousarray(np.flip(block, flips)), mean, sd


def _shape_to_read(head: TrainingHead, config: BlockPretraining, rng: np.random.Generator) -> tuple[int, ...]:
    """Voxels of the head that become a block: as many, more along all axes, or more along one or two."""
    if rng.random() < config.coarse_share:
        factors = draw_coarseness(rng)
    else:
        factors = (1.0 if rng.random() < 0.7 else rng.uniform(1, 1.6),) * 3
    most = head.image.shape if len(set(factors)) > 1 else (min(head.image.shape),) * 3
    return tuple(min(round(config.block_edge * factor), size) for factor, size in zip(factors, most))


def _cut(
    head: TrainingHead, read: tuple[int, ...], shells_share: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A block of a head, most often near the brain, perhaps with simulated shells."""
    shape = np.array(head.image.shape)
    if rng.random() < 0.85:
        centre = np.array(np.unravel_index(rng.choice(head.centres), shape)) + rng.integers(-10, 11, 3)
    else:
        centre = rng.integers(0, shape)
    low = np.clip(centre - np.array(read) // 2, 0, shape - read)
    box = tuple(slice(start, start + size) for start, size in zip(low, read))
    block = head.image[box].astype(np.float32)
    if head.distance is not None and rng.random() < shells_share:
        shells = head_shells(rng, head.distance[box]) * np.float32(np.median(head.sample))
        block = np.where(block > 0, block, shells)
    return block, head.sample


def add_noise(
    clean: NDArray[np.float32],
    noise_sd: NDArray[np.float32],
    rng: np.random.Generator,
    coloured_share: float = 0.35,
) -> NDArray[np.float32]:
    """An average of repetitions whose noise SD is given: Gaussian, or Rician before averaging.

    Parameters
    ----------
    clean : (X, Y, Z) float32 array
        Non-negative signal.
    noise_sd : (X, Y, Z) float32 array
        Noise SD of the average.
    coloured_share : float
        Probability that the noise is correlated between neighbours.

    Returns
    -------
    noisy : (X, Y, Z) float32 array
    """
    coupling = rng.uniform(-0.08, 0.25, 3) if rng.random() < coloured_share else None
    if rng.random() < 0.45:
        return clean + noise_sd * coloured_noise(rng, clean.shape, coupling)
    n_repetitions = int(rng.choice([1, 2, 2, 4]))
    weights = np.full(n_repetitions, 1 / n_repetitions)
    if n_repetitions > 1 and rng.random() < 0.5:
        contrast = rng.standard_normal(n_repetitions)
        contrast -= contrast.mean()
        contrast /= np.linalg.norm(contrast)
        weights = weights + rng.uniform(0, 0.6) * contrast / math.sqrt(n_repetitions)
    single_sd = noise_sd / np.float32(np.linalg.norm(weights))
    noisy = np.zeros_like(clean)
    for weight in weights:
        real = clean + single_sd * coloured_noise(rng, clean.shape, coupling)
        imaginary = single_sd * coloured_noise(rng, clean.shape, coupling)
        noisy += np.float32(weight) * np.sqrt(real**2 + imaginary**2)
    return noisy


def draw_level(config: BlockPretraining, rng: np.random.Generator) -> float:
    """A noise level of the range, log-uniform."""
    return float(np.exp(rng.uniform(*np.log(config.noise_sd))))


def draw_noise_sd(
    shape: tuple[int, ...], config: BlockPretraining, rng: np.random.Generator, noise_sd_mean: float
) -> NDArray[np.float32]:
    """Noise SD of every voxel: constant, or in a part of the blocks varying in space around the level."""
    noise_sd = np.full(shape, noise_sd_mean, np.float32)
    if rng.random() < config.varying_share:
        noise_sd *= np.exp(smooth_field(rng, shape, int(rng.integers(2, 5)), 0.35))
    return noise_sd


def draw_batch(
    heads: list[TrainingHead], config: BlockPretraining, rng: np.random.Generator
) -> TrainingBatch:
    """Noisy blocks, their noise maps and clean targets, in z-scores of the brain.

    The weight is the noise SD to the power -1.3, about the inverse of the error
    that can be reached, so that no noise level rules the loss.
    """
    rows = []
    for _ in range(config.batch_size):
        clean, mean, sd = draw_clean(heads, config, rng)
        clean = clean / np.float32(sd)
        noise_sd_mean = draw_level(config, rng)
        noise_sd = draw_noise_sd(clean.shape, config, rng, noise_sd_mean)
        noisy = add_noise(clean, noise_sd, rng, config.coloured_share)
        weight = np.full_like(clean, noise_sd_mean**-1.3)
        rows.append(np.stack((noisy - mean / sd, noise_sd, clean - mean / sd, weight)).astype(np.float32))
    noisy, noise_sd, target, weight = torch.from_numpy(np.stack(rows)).split(1, dim=1)
    return TrainingBatch((noisy, noise_sd), target, weight)
