"""Shared by micrograph strategies: channels stabilised, denoised, put together; epochs of each recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.averaging import RepetitionWeights
from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.micrographs.planes import TileEstimate, denoise_planes
from n2a_bids.algorithms.micrographs.stabilised import StableFields, StableScale, stable_channels
from n2a_bids.algorithms.nn.batches import BatchSettings
from n2a_bids.algorithms.nn.networks import receptive_radius
from n2a_bids.algorithms.nn.planar_batches import Draw, recorrupted_pairs, square_batches
from n2a_bids.algorithms.nn.planar_inference import FLIPS, predict_plane
from n2a_bids.algorithms.nn.training import Schedule
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.quality.gain import Gain
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.strategies.micr.saturated import saturated_by_noise
from n2a_bids.record.denoising import (
    CandidateRisk,
    Choice,
    CountingNoiseRecord,
    Epoch,
    RepetitionRecord,
    RingCorrelationRecord,
    StrategyRecord,
    list_epochs,
)

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How a 2D network is trained on the exposures."""

    weights: PretrainedWeights | None
    schedule: Schedule
    n_flips: int = 1
    """Mirror images, each on a grid moved by some pixels, that the final prediction averages over."""
    edge: int = 64
    batch_size: int = 16


_STEPS = {"zero-shot": 0, "fast": 60, "default": 120, "thorough": 600, "faithful": 240}
_STEPS_FROM_SCRATCH = {"fast": 200, "default": 500, "thorough": 2400, "faithful": 1000}


def training_config(recipe: str, weights: PretrainedWeights | None) -> TrainingConfig:
    """Steps, rate and mirror images of a recipe."""
    steps = (_STEPS if weights else _STEPS_FROM_SCRATCH)[recipe]
    return TrainingConfig(
        weights=weights,
        schedule=Schedule(
            n_epochs=10 if steps else 0,
            steps_per_epoch=steps // 10,
            learning_rate=2e-4 if weights else 1e-3,
        ),
        n_flips=1 if recipe == "faithful" else 4,
    )


@dataclass(frozen=True, slots=True)
class DenoisedChannel:
    """What a strategy makes of one channel."""

    image: NDArray[np.float32]
    """(X, Y, Z) intensities."""
    chosen: Choice
    scale: StableScale
    weighting: RepetitionWeights
    history: tuple[Epoch, ...] = ()
    candidates: tuple[CandidateRisk, ...] | None = None
    gain: Gain | None = None
    rings: RingCorrelationRecord | None = None


def train_network(
    network: nn.Module,
    fields: StableFields,
    config: TrainingConfig,
    context: Context,
    *,
    draw_pair: Draw | None = None,
    held_out: NDArray[np.bool_] | None = None,
    target: NDArray[np.float32] | None = None,
    phase: str = "recorrupted",
) -> tuple[Epoch, ...]:
    """Train a network in place on squares of the exposures.

    Parameters
    ----------
    network : nn.Module
        Modified.
    draw_pair : callable, optional
        Of what inputs and targets are made; recorrupted averages by default.
    held_out : (N, X, Y) bool array, optional
        Pixels that must not be learned from.
    target : (N, X, Y) float32 array, optional
        One target for all.
    phase : str
        Name in the reports.
    """
    weight = fields.counted.astype(np.float32)
    if held_out is not None:
        weight[held_out] = 0
    batches = square_batches(
        fields.images,
        weight,
        fields.noise_sd,
        draw_pair or recorrupted_pairs(fields.weighting),
        BatchSettings(config.batch_size, context.generator, context.device),
        edge=config.edge,
        target=target,
    )
    return list_epochs(phase, context.train(network, batches, config.schedule, phase))


def network_estimate(
    network: nn.Module, noise_sd: float, context: Context, flips: tuple[tuple[int, ...], ...] = ((),)
) -> TileEstimate:
    """A network as an estimate of tiles; `noise_sd` is that of what is denoised."""

    def estimate(tile: Image, noise_factor: Image | float = 1.0) -> Image:
        level = np.asarray(noise_factor * noise_sd, np.float32)
        return predict_plane(network, tile, level, device=context.device, flips=flips)

    return TileEstimate(estimate, receptive_radius(network))


def denoise_with_network(
    exposures: NDArray[np.float32],
    fields: StableFields,
    network: nn.Module,
    n_flips: int,
    context: Context,
    *,
    each: bool,
) -> NDArray[np.float32]:
    """Denoise the exposures of a channel by a trained network.

    Parameters
    ----------
    exposures : (R, X, Y, Z) float32 array
        Intensities.
    fields : StableFields
        The same, stabilised.
    n_flips : int
        Mirror images that predictions are averaged over.
    each : bool
        Every exposure by itself, averaged afterwards; otherwise their average.

    Returns
    -------
    image : (X, Y, Z) float32 array
        Intensities.
    """
    noise_sd = fields.noise_sd if each else fields.average_noise_sd
    method = network_estimate(network, noise_sd, context, FLIPS[:n_flips])
    return denoise_whole(exposures, fields, method, context, each=each)


def denoise_whole(
    exposures: NDArray[np.float32],
    fields: StableFields,
    method: TileEstimate,
    context: Context,
    *,
    each: bool,
) -> NDArray[np.float32]:
    """Denoise the exposures of a channel by any method.

    Parameters and result as of `denoise_with_network`; the method is told the noise SD of what it is given
    where all exposures were measured.
    """
    return denoise_planes(
        exposures,
        fields.scale,
        method,
        fields.weighting,
        n_measured=fields.n_measured,
        each=each,
        memory_gb=context.memory_gb,
        report=context.report,
    )


def denoise_channels(
    repetitions: Repetitions,
    context: Context,
    denoise_channel: Callable[[NDArray[np.float32], StableFields], DenoisedChannel],
) -> DenoisedImage:
    """Denoise every channel by itself and put them together.

    Saturated pixels, outside the mask where all exposures were measured, keep their mean, but for single ones
    that noise alone saturated. So do areas where all exposures hold the same values.

    Parameters
    ----------
    repetitions : Repetitions
        Aligned exposures.
    denoise_channel : callable
        Of the (R, X, Y, Z) exposures of a channel, and the same stabilised.
    """
    started = context.clock()
    shared, n_channels = repetitions.shared, repetitions.data.shape[-1]
    saturated = ~repetitions.mask if shared is None else ~repetitions.mask & shared
    parts, noise_maps = [], []
    for number, channel in enumerate(stable_channels(repetitions, context.generator), start=1):
        if n_channels > 1:
            context.report(f"channel {number} of {n_channels}")
        part = denoise_channel(channel.exposures, channel.fields)
        noise_sd = np.sqrt(part.scale.noise.variance(part.image)).astype(np.float32)
        by_noise = saturated_by_noise(saturated, channel.exposures, part.image, noise_sd)
        kept = (saturated & ~by_noise) | channel.void
        if kept.any():
            part.image[kept] = channel.exposures[:, kept].mean(axis=0)
            noise_sd[kept] = np.sqrt(part.scale.noise.variance(part.image[kept]))
        parts.append(part)
        noise_maps.append(noise_sd)
    return DenoisedImage(
        data=np.stack([part.image for part in parts], axis=-1),
        noise_sd=np.stack(noise_maps, axis=-1),
        gain=_mean_gain([part.gain for part in parts]),
        record=_record(parts, noise_maps, repetitions, context.clock() - started),
    )


def _mean_gain(gains: list[Gain | None]) -> Gain | None:
    """Of all channels together, which weigh alike."""
    known = [gain for gain in gains if gain is not None]
    if not known:
        return None
    weighting = len(known) / sum(1 / gain.weighting for gain in known)
    both = len(known) / sum(1 / (gain.weighting * gain.denoising) for gain in known)
    return Gain(weighting=weighting, denoising=both / weighting)


def _record(
    parts: list[DenoisedChannel], noise_maps: list[Image], repetitions: Repetitions, seconds: float
) -> StrategyRecord:
    """The record of the first channel, with the noise of all."""
    first = parts[0]
    noise_sd = float(np.median([np.median(part[repetitions.mask]) for part in noise_maps]))
    rows = tuple(
        RepetitionRecord(weight=float(weight), noise_sd=noise_sd * float(np.sqrt(ratio)))
        for weight, ratio in zip(first.weighting.weights, first.weighting.variance_ratio, strict=True)
    )
    return StrategyRecord(
        chosen=first.chosen,
        candidates=first.candidates,
        history=first.history or None,
        repetitions=rows,
        counting_noise=tuple(
            CountingNoiseRecord(part.scale.noise.gain, part.scale.noise.offset) for part in parts
        ),
        ring_correlation=first.rings,
        seconds={"total": round(seconds, 2)},
    )
