"""Strategy ``san2n`` for one diffusion series: learns from neighbouring voxels and directions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from n2a_bids.algorithms.context import Context, EpochReport
from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.shells import angular_groups, nearest_neighbours
from n2a_bids.algorithms.filters.local_pca import estimate_noise_sd
from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.nn.dwi_networks import SpatioAngularNet, set_linear_map
from n2a_bids.algorithms.nn.san2n_loss import san2n_loss
from n2a_bids.algorithms.noise.volume_noise import noise_covariance
from n2a_bids.algorithms.normalization import with_equal_gain
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.record.denoising import Choice, Epoch, StrategyRecord, list_epochs


@dataclass(frozen=True, slots=True)
class SAN2NConfig:
    """Settings of a recipe of SAN2N."""

    n_epochs: int = 100
    steps_per_epoch: int = 4
    learning_rate: float = 5e-4
    batch_size: int = 16
    block_edge: int = 16
    width: int = 64
    max_volumes: int = 64


def config(recipe: str, weights: object = None) -> SAN2NConfig:
    """Settings of a recipe; ``faithful`` sees as many blocks as a grid of stride 8 over a brain holds."""
    steps = {"fast": 2, "default": 4, "thorough": 40, "faithful": 60}[recipe]
    return SAN2NConfig(steps_per_epoch=steps)


def denoise(repetitions: Repetitions, config: SAN2NConfig, context: Context) -> DenoisedImage:
    """Train on the series itself and apply to it.

    Parameters
    ----------
    repetitions : Repetitions
        With gradients; of several repetitions the mean is taken.
    config : SAN2NConfig
    context : Context

    Returns
    -------
    denoised : DenoisedImage
        Outside the mask the series as it was.
    """
    gradients = repetitions.gradients
    if gradients is None:
        raise ValueError("san2n needs a gradient table")
    mean = with_equal_gain(repetitions).mean(axis=0)
    box = bounding_box(repetitions.mask)
    mask, history = repetitions.mask[box], ()
    noise_map = np.zeros_like(mean)
    for volumes in angular_groups(gradients, config.max_volumes):
        series = np.ascontiguousarray(mean[box][..., volumes])
        sd_map = estimate_noise_sd(series, mask, covariance=noise_covariance(series, mask))
        table = gradients.subset(volumes)
        estimate, losses = _train_and_apply(series, mask, sd_map, table, config, context)
        inside = mean[box]
        inside[..., volumes] = np.where(mask[..., None], estimate, series)
        noise_map[(*box, volumes)] = sd_map[..., None]
        history += losses
    chosen = Choice("san2n", "Spatio-Angular Noise2Noise on the series itself")
    noise_map *= np.float32(math.sqrt(repetitions.n_repetitions))
    return DenoisedImage(data=mean, noise_sd=noise_map, record=StrategyRecord(chosen=chosen, history=history))


def _train_and_apply(
    series: NDArray[np.float32],
    mask: NDArray[np.bool_],
    sd_map: NDArray[np.float32],
    table: Gradients,
    config: SAN2NConfig,
    context: Context,
) -> tuple[NDArray[np.float32], tuple[Epoch, ...]]:
    unit = np.float32(np.percentile(series[mask], 99))
    build = partial(SpatioAngularNet, series.shape[-1], config.width)
    network = context.make_network(build, context.draw_seed())
    set_linear_map(network.linear, _adjacent_voxels(series / unit, mask))
    volumes = torch.from_numpy(np.moveaxis(series / unit, -1, 0).copy()).to(context.device)
    noise_sd = torch.full((series.shape[-1],), float(np.median(sd_map[mask]) / unit), device=context.device)
    neighbours = torch.from_numpy(nearest_neighbours(table)).to(context.device)
    losses = _train(network, volumes, mask, neighbours, noise_sd, config, context)
    with torch.no_grad():
        estimate = network(volumes[None])[0]
    history = list_epochs("san2n", losses)
    # Magnitudes stay positive; real-valued series keep their sign.
    lowest = min(0.0, float(series.min()))
    return np.maximum(np.moveaxis(estimate.cpu().numpy(), 0, -1) * unit, lowest), history


def _adjacent_voxels(
    series: NDArray[np.float32], mask: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """(N, C) volumes of mask voxels and of a neighbour in the mask, axis by axis, every pair both ways."""
    for axis in range(3):
        here = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        there = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        both = mask[here] & mask[there]
        first, second = series[here][both], series[there][both]
        yield first, second
        yield second, first


def _train(
    network: nn.Module,
    volumes: Tensor,
    mask: NDArray[np.bool_],
    neighbours: Tensor,
    noise_sd: Tensor,
    config: SAN2NConfig,
    context: Context,
) -> list[float]:
    """Loss of each epoch. The loss needs the network at two resolutions, unlike that of the other loops."""
    generator = context.generator
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    milestones = [int(share * config.n_epochs) for share in (0.5, 0.7, 0.9)]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.5)
    edges = [min(config.block_edge, size // 2 * 2) for size in mask.shape]
    centres = np.argwhere(mask)
    report = EpochReport("training", config.n_epochs, context)
    history = []
    for epoch in range(config.n_epochs):
        total = torch.zeros((), device=volumes.device)
        for _ in range(config.steps_per_epoch):
            picks = torch.randint(len(centres), (config.batch_size,), generator=generator)
            blocks = torch.stack([_block(volumes, centres[pick], edges) for pick in picks.tolist()])
            loss = san2n_loss(network, blocks, neighbours, noise_sd, epoch / config.n_epochs, generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        scheduler.step()
        history.append(float(total) / config.steps_per_epoch)
        if not math.isfinite(history[-1]):
            raise FloatingPointError(f"the training loss of epoch {epoch + 1} is {history[-1]}")
        report(epoch, history[-1])
    return history


def _block(volumes: Tensor, centre: NDArray[np.intp], edges: list[int]) -> Tensor:
    low = [
        min(max(int(c) - edge // 2, 0), size - edge)
        for c, edge, size in zip(centre, edges, volumes.shape[1:])
    ]
    return volumes[(slice(None), *(slice(start, start + edge) for start, edge in zip(low, edges)))]
