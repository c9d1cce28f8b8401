"""Strategies ``noise2average`` and ``noise2noise`` for diffusion, with the volumes as channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.nn.blocks import BlockSampler, plan_blocks
from n2a_bids.algorithms.nn.dwi_networks import RECEPTIVE_RADIUS, DiffusionMUNet, set_linear_map
from n2a_bids.algorithms.nn.precision import precision_for
from n2a_bids.algorithms.nn.training import Batch, Schedule
from n2a_bids.algorithms.normalization import with_equal_gain
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.record.denoising import Choice, Epoch, StrategyRecord, list_epochs

_CORE = 48
"""Edge of the blocks that prediction works on."""


@dataclass(frozen=True, slots=True)
class DWINetworkConfig:
    """Settings of a recipe of the networks for diffusion series."""

    schedule: Schedule = field(default_factory=lambda: Schedule(10, 30, 1e-3))
    """Of each iteration."""
    n_iterations: int = 2
    width: int = 64
    block_edge: int = 32
    batch_size: int = 2


_STEPS = {"fast": 60, "default": 300, "thorough": 1200, "faithful": 600}


def config(recipe: str, weights: object = None) -> DWINetworkConfig:
    """Settings of a recipe; ``faithful`` is as wide as the figure of the paper."""
    return DWINetworkConfig(
        schedule=Schedule(n_epochs=10, steps_per_epoch=_STEPS[recipe] // 10, learning_rate=1e-3),
        width={"fast": 32, "faithful": 192}.get(recipe, 64),
    )


def noise2noise_config(recipe: str, weights: object = None) -> DWINetworkConfig:
    """Settings of Noise2Noise, which has one iteration."""
    settings = config(recipe)
    return DWINetworkConfig(schedule=settings.schedule, n_iterations=1, width=settings.width)


def noise2average(repetitions: Repetitions, config: DWINetworkConfig, context: Context) -> DenoisedImage:
    """Learn to turn each series into the mean of all, then into the mean of the denoised ones.

    The weights start anew at each iteration, and the volumes are scaled to
    z-scores each, so that neither b0 nor weighted volumes drown the other.

    Parameters
    ----------
    repetitions : Repetitions
        At least two series.
    config : DWINetworkConfig
    context : Context

    Returns
    -------
    denoised : DenoisedImage
        Outside the mask the plain mean.
    """
    series = ScaledSeries(repetitions)
    history, targets = (), [series.values.mean(axis=0)] * len(series.values)
    for iteration in range(config.n_iterations):
        denoised, losses = _train_and_apply(series, targets, config, context, f"iteration {iteration + 1}")
        history += losses
        targets = [denoised.mean(axis=0)] * len(denoised)
    return _finish(series, denoised, history, "noise2average", "Noise2Average, volumes as channels")


def noise2noise(repetitions: Repetitions, config: DWINetworkConfig, context: Context) -> DenoisedImage:
    """Learn to predict each series from the others, and average the predictions.

    Parameters and result as for :func:`noise2average`.
    """
    series = ScaledSeries(repetitions)
    count = len(series.values)
    total = series.values.sum(axis=0)
    targets = [(total - own) / (count - 1) for own in series.values]
    denoised, history = _train_and_apply(series, targets, config, context, "noise2noise")
    return _finish(series, denoised, history, "noise2noise", "Noise2Noise, volumes as channels")


class ScaledSeries:
    """Series in z-scores of the mean's volumes, cropped to the mask with a margin."""

    def __init__(self, repetitions: Repetitions):
        matched = with_equal_gain(repetitions)
        self.box = bounding_box(ndimage.binary_dilation(repetitions.mask, iterations=2))
        self.whole_mean = matched.mean(axis=0)
        self.mask = repetitions.mask[self.box]
        data = matched[(slice(None), *self.box)]
        inside = data.mean(axis=0)[self.mask]
        self.offset = inside.mean(axis=0)
        self.gain = np.maximum(inside.std(axis=0), 1e-6 * np.abs(self.offset).max() + 1e-30)
        self.values = self.scaled(data)

    def scaled(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """Intensities of a series of the same volumes as z-scores."""
        return ((series - self.offset) / self.gain).astype(np.float32)

    def restored(self, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        """The whole grid: `scaled` inside the mask, the plain mean outside; magnitudes stay positive."""
        result = self.whole_mean.copy()
        inside = result[self.box]
        inside[self.mask] = (scaled * self.gain + self.offset)[self.mask]
        return np.maximum(result, min(0.0, float(self.whole_mean.min())))


@dataclass(frozen=True, slots=True)
class SeriesPairs:
    """What a network learns from."""

    values: NDArray[np.float32]
    """(R, X, Y, Z, C) series in z-scores."""
    targets: Sequence[NDArray[np.float32]]
    """An (X, Y, Z, C) array for each series."""
    mask: NDArray[np.bool_]
    """(X, Y, Z) voxels that count."""


def _train_and_apply(
    series: ScaledSeries, targets: list[NDArray], config: DWINetworkConfig, context: Context, phase: str
) -> tuple[NDArray[np.float32], tuple[Epoch, ...]]:
    """Denoised series of all repetitions, and the record of the training."""
    pairs = SeriesPairs(series.values, targets, series.mask)
    network, history = train_network(pairs, config, context, phase)
    return np.stack([apply_network(network, own, context) for own in series.values]), history


def train_network(
    pairs: SeriesPairs, config: DWINetworkConfig, context: Context, phase: str
) -> tuple[nn.Module, tuple[Epoch, ...]]:
    """Train a new network to turn series into targets.

    Parameters
    ----------
    pairs : SeriesPairs
    config : DWINetworkConfig
    context : Context
    phase : str
        Name in reports of progress.

    Returns
    -------
    network : nn.Module
        In eval mode.
    history : tuple of Epoch
    """
    build = partial(DiffusionMUNet, pairs.values.shape[-1], config.width)
    network = context.make_network(build, context.draw_seed())
    both = zip(pairs.values, pairs.targets, strict=True)
    set_linear_map(network.linear, ((own[pairs.mask], (target - own)[pairs.mask]) for own, target in both))
    batches = _batches(pairs, config, context)
    return network, list_epochs(phase, context.train(network, batches, config.schedule, phase))


def _batches(pairs: SeriesPairs, config: DWINetworkConfig, context: Context) -> Callable[[], Batch]:
    """Source of random blocks of random repetitions, mirrored at random."""
    noisy = torch.from_numpy(np.moveaxis(pairs.values, -1, 1).copy()).to(context.device)
    targets = torch.from_numpy(np.moveaxis(np.stack(pairs.targets), -1, 1).copy()).to(context.device)
    weight = torch.from_numpy(pairs.mask.astype(np.float32)).to(context.device)
    sampler = BlockSampler.over(pairs.mask, config.block_edge, context.generator, 1, cubes=False)

    def draw() -> Batch:
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for _ in range(config.batch_size):
            which = int(torch.randint(len(noisy), (), generator=context.generator))
            box = sampler.draw(context.generator)
            flips = [a for a in (1, 2, 3) if torch.rand((), generator=context.generator) < 0.5]
            block = (noisy[which][(slice(None), *box)], targets[which][(slice(None), *box)])
            parts.append((*(b.flip(flips) for b in block), weight[box][None].flip(flips)))
        inputs, outputs, weights = (torch.stack(column) for column in zip(*parts))
        return Batch(noisy=inputs, noise_sd=weights, target=outputs, weight=weights)

    return draw


@torch.no_grad()
def apply_network(network: nn.Module, series: NDArray[np.float32], context: Context) -> NDArray[np.float32]:
    """Denoise an (X, Y, Z, C) series in z-scores, block by block."""
    image = torch.from_numpy(np.moveaxis(series, -1, 0).copy())[None].to(context.device)
    precision = precision_for(context.device)
    denoised = torch.empty_like(image)
    for block in plan_blocks(tuple(image.shape[2:]), (_CORE,) * 3, RECEPTIVE_RADIUS, 1):
        with torch.autocast(context.device.type, precision, enabled=precision != torch.float32):
            residual = network(image[(..., *block.box)])
        inside = (..., *block.core)
        denoised[inside] = image[inside] + residual[(..., *block.core_in_box)].float()
    return np.moveaxis(denoised[0].cpu().numpy(), 0, -1)


def _finish(
    series: ScaledSeries, denoised: NDArray, history: tuple[Epoch, ...], name: str, description: str
) -> DenoisedImage:
    return DenoisedImage(
        data=series.restored(denoised.mean(axis=0)),
        repetitions=np.stack([series.restored(own) for own in denoised]),
        record=StrategyRecord(chosen=Choice(name, description), history=history),
    )
