"""Strategy ``noise2average`` for T1w: networks learn residuals towards the average; then all are averaged.

Li et al., "Noise2Average: an iterative residual learning strategy for image
denoising without clean data", Imaging Neuroscience 4 (2026),
doi 10.1162/imag.a.1163.

An L2-trained network converges to the expectation of its target given its
input. The first target, the average of R repetitions, contains ``1/R`` of the
input's own noise, so the first iteration keeps that part of it, and every
further one multiplies what is kept by ``1/R`` again: strength is chosen by the
number of iterations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.masked_filters import without_rim
from n2a_bids.algorithms.nn.batches import BatchSettings, Pair, pair_batches
from n2a_bids.algorithms.nn.blocks import BlockSampler
from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.nn.training import Schedule
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.noise.estimate import difference_noise_sd, single_image_noise_sd
from n2a_bids.algorithms.normalization import LinearScale, Mask, apply_scales, match_scales, z_scales
from n2a_bids.algorithms.preparation.repetitions import find_head
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.risk.held_out import HeldOut, hold_out
from n2a_bids.algorithms.risk.stacking import average_blocks, list_rows
from n2a_bids.algorithms.strategies.anat.noise2average_blocks import cycled, grid_batches, predict_on_grid
from n2a_bids.record.denoising import Choice, Epoch, RepetitionRecord, StrategyRecord, list_epochs


@dataclass(frozen=True, slots=True)
class Noise2AverageConfig:
    """Settings of a recipe of Noise2Average."""

    network: str
    """``munet-t1w`` (the paper's) or ``resunet-t1w``."""
    weights: PretrainedWeights | None
    n_iterations: int
    """At most; fewer where the risk says so."""
    schedule: Schedule
    """Of each iteration. ``steps_per_epoch`` 0 means every block once."""
    block_edge: int
    faithful: bool
    """Start-code behaviour: blocks on a grid, left-right flips only, zero outside
    the mask, a fixed number of iterations."""
    batch_size: int = 2


def config(recipe: str, weights: PretrainedWeights | None = None) -> Noise2AverageConfig:
    """Settings of Noise2Average for a recipe.

    ``faithful`` is the schedule of the start code: 2 iterations of 20 epochs
    over blocks of 80 voxels and their left-right mirror images, Adam at 5e-5,
    weights reset at each iteration.
    """
    if recipe == "faithful":
        schedule = Schedule(n_epochs=20, steps_per_epoch=0, learning_rate=5e-5, decay=False)
        return Noise2AverageConfig(
            "munet-t1w", weights, 2, schedule, block_edge=80, faithful=True, batch_size=1
        )
    steps = {"fast": 60, "default": 150, "thorough": 600}[recipe] * (1 if weights else 3)
    rate = 1e-4 if weights else 6e-4
    schedule = Schedule(n_epochs=10, steps_per_epoch=steps // 10, learning_rate=rate)
    iterations = {"fast": 2, "default": 3, "thorough": 4}[recipe]
    return Noise2AverageConfig("resunet-t1w", weights, iterations, schedule, block_edge=48, faithful=False)


@dataclass(frozen=True, slots=True)
class _Repetitions:
    """Images in their own z-scores, with what training needs."""

    images: NDArray[np.float32]
    noise_sd: NDArray[np.float32]
    scales: list[LinearScale]
    mask: Mask
    weight: NDArray[np.float32]
    left_right_axis: int


def denoise(repetitions: Repetitions, config: Noise2AverageConfig, context: Context) -> DenoisedImage:
    """Denoise repetitions by Noise2Average: a network learns to turn each into the mean of all.

    Parameters
    ----------
    repetitions : Repetitions
        At least two repetitions, of one contrast or several.

    Returns
    -------
    denoised : DenoisedImage
        With every repetition in its own intensity scale.

    Raises
    ------
    FloatingPointError
        If training diverges.
    """
    started = context.clock()
    held_out = None
    if repetitions.same_contrast and not config.faithful:
        held_out = hold_out(repetitions.mask, context.generator)
    prepared = _prepare(repetitions, config, held_out)
    seed = context.draw_seed()
    target = prepared.images.mean(axis=0)
    results, risks, history = [], [], ()
    for iteration in range(config.n_iterations):
        network = context.new_network(config.network, config.weights, seed)
        history += _fit_iteration(network, prepared, target, config, context, iteration)
        denoised = _predict_all(network, prepared, config, context)
        results.append(denoised)
        target = denoised.mean(axis=0)
        if held_out is not None:
            risks.append(_cross_risks(denoised, prepared, held_out))
            if len(risks) > 1 and risks[-1].mean() > risks[-2].mean():
                break
    best = int(np.argmin([risk.mean() for risk in risks])) if risks else len(results) - 1
    record = _record(best, risks, config, history, context.clock() - started)
    return _finish(results[best], prepared, record)


def _prepare(repetitions: Repetitions, config: Noise2AverageConfig, held_out: HeldOut | None) -> _Repetitions:
    data, mask = repetitions.data[..., 0], repetitions.mask
    scales = (z_scales if config.faithful else match_scales)(data, mask)
    images = apply_scales(scales, data)
    if config.faithful:
        images = images * mask
        weight = mask.astype(np.float32)
    else:
        weight = np.where(find_head(images.mean(axis=0), mask), np.float32(1), np.float32(0.1))
        if held_out is not None:
            weight[held_out.mask] = 0
    if repetitions.shared is not None:
        weight = np.where(repetitions.shared, weight, np.float32(0))
    return _Repetitions(
        images=images,
        noise_sd=_noise_maps(images, mask, repetitions.same_contrast),
        scales=scales,
        mask=mask,
        weight=weight,
        left_right_axis=repetitions.left_right_axis,
    )


def _noise_maps(images: NDArray[np.float32], mask: Mask, same_contrast: bool) -> NDArray[np.float32]:
    """(R, X, Y, Z): from differences where the contrast is one, else one level per image."""
    if same_contrast:
        return np.broadcast_to(difference_noise_sd(images, mask), images.shape)
    inner = without_rim(mask)
    levels = [single_image_noise_sd(image, inner) for image in images]
    return np.stack([np.full(mask.shape, level, np.float32) for level in levels])


def _fit_iteration(
    network: nn.Module,
    repetitions: _Repetitions,
    target: NDArray[np.float32],
    config: Noise2AverageConfig,
    context: Context,
    iteration: int,
) -> tuple[Epoch, ...]:
    pairs = [
        Pair(image, noise_sd, target, repetitions.weight)
        for image, noise_sd in zip(repetitions.images, repetitions.noise_sd)
    ]
    schedule = config.schedule
    if config.faithful:
        blocks = grid_batches(
            pairs, repetitions.mask, config.block_edge, repetitions.left_right_axis, context.device
        )
        schedule = Schedule(schedule.n_epochs, len(blocks), schedule.learning_rate, schedule.decay)
        batches = cycled(blocks, context.generator)
    else:
        sampler = BlockSampler.over(repetitions.mask, config.block_edge, context.generator, network.stride)
        settings = BatchSettings(config.batch_size, context.generator, context.device)
        batches = pair_batches(pairs, sampler, settings)
    phase = f"noise2average iteration {iteration + 1}"
    return list_epochs(phase, context.train(network, batches, schedule, phase))


def _predict_all(
    network: nn.Module, repetitions: _Repetitions, config: Noise2AverageConfig, context: Context
) -> NDArray[np.float32]:
    """Denoise every repetition, averaged with its left-right mirror image."""
    denoised = []
    flips = ((), (repetitions.left_right_axis,))
    for image, noise_sd in zip(repetitions.images, repetitions.noise_sd):
        if config.faithful:
            blocks = predict_on_grid(
                network, image, repetitions.mask, config.block_edge, repetitions.left_right_axis, context
            )
            denoised.append(blocks)
            continue
        denoised.append(
            predict(network, image, noise_sd, device=context.device, memory_gb=context.memory_gb, flips=flips)
        )
    return np.stack(denoised)


def _cross_risks(
    denoised: NDArray[np.float32], repetitions: _Repetitions, held_out: HeldOut
) -> NDArray[np.float64]:
    """Squared error of the mean of the denoised repetitions on each held-out block, up to a constant.

    What came out of a repetition knows nothing of the noise of the others, so that its product with
    them is, on average, the one with the clean signal.
    """
    risks = []
    for core in held_out.cores:
        counted = repetitions.mask[core]
        values, noisy = (
            images[(slice(None), *core)][:, counted] for images in (denoised, repetitions.images)
        )
        others = (noisy.sum(axis=0) - noisy) / (len(noisy) - 1)
        risks.append(np.mean(values.mean(axis=0) ** 2) - 2 * np.mean(values * others))
    return np.array(risks, np.float64)


def _record(
    best: int,
    risks: list[NDArray[np.float64]],
    config: Noise2AverageConfig,
    history: tuple[Epoch, ...],
    seconds: float,
) -> StrategyRecord:
    how = "chosen by risk on held-out blocks" if risks else "fixed"
    record = StrategyRecord(
        chosen=Choice(
            f"noise2average, iteration {best + 1}",
            f"Noise2Average with {config.network}, {best + 1} iterations ({how})",
        ),
        history=history,
        seconds={"total": round(seconds, 2)},
    )
    if risks:
        blocks = np.stack(risks, axis=1)
        block_weights = np.full(len(blocks), 1 / len(blocks))
        averages, errors = average_blocks(blocks - blocks[:, :1], block_weights)
        names = [f"noise2average, iteration {index + 1}" for index in range(len(risks))]
        record = replace(record, candidates=list_rows(names, averages, errors))
    return record


def _finish(
    denoised: NDArray[np.float32], repetitions: _Repetitions, record: StrategyRecord
) -> DenoisedImage:
    scales = repetitions.scales
    own = np.stack([scale.invert(image) for scale, image in zip(scales, denoised)])
    combined = scales[0].invert(denoised.mean(axis=0))
    noise_sd = np.sqrt((repetitions.noise_sd**2).mean(axis=0)) * np.float32(scales[0].gain)
    weight = 1 / len(scales)
    rows = tuple(RepetitionRecord(gain=s.gain, offset=s.offset, weight=weight) for s in scales)
    return DenoisedImage(
        data=combined[..., None],
        repetitions=own[..., None],
        noise_sd=noise_sd[..., None],
        record=replace(record, repetitions=rows),
    )
