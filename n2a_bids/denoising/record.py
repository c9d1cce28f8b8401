"""Completes the record of a denoising: settings used, numbers measured, noise model, memory and seconds."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids import __version__
from n2a_bids.algorithms.nn.precision import precision_for
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.noise.air import find_air
from n2a_bids.algorithms.noise.single_image import estimate_noise
from n2a_bids.algorithms.preparation.repetitions import find_head
from n2a_bids.algorithms.quality.mriqc import measure_quality
from n2a_bids.algorithms.quality.tissues import find_tissues
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.strategies import Strategy
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.denoising.measures import measure, measure_errors, micrograph_noise_map, noise_sd_map
from n2a_bids.denoising.noise_model import describe_noise
from n2a_bids.denoising.warnings import (
    alignment_warnings,
    filter_warnings,
    gap_warnings,
    residual_warnings,
)
from n2a_bids.record.denoising import DenoisingRecord, ImageQualityRecord, NetworkWeights, RepetitionRecord

_FROM_SCRATCH = "no pretrained weights were there: the network was trained from scratch"
Volumes = NDArray[np.float32]


def describe_run(
    job: DenoiseJob,
    device: torch.device,
    strategy: Strategy,
    weights: Sequence[PretrainedWeights | None],
    repetitions: Repetitions,
    denoised: DenoisedImage,
    device_name: str,
) -> DenoisingRecord:
    """What was asked for and used, with what the strategy itself tells.

    Parameters
    ----------
    weights : sequence of PretrainedWeights or None
        Those of the recipe, the first to be fine-tuned; None where there were none.

    Returns
    -------
    record : DenoisingRecord
        Without what is measured on the images, memory and time.
    """
    told = denoised.record
    first, further = _networks_used(weights, told.networks or ())
    untrained = first is None and bool(strategy.facts.weights_of(job.denoise.recipe))
    rows = told.repetitions or (RepetitionRecord(),) * len(job.runs)
    has_network = first is not None or bool(told.history)
    return DenoisingRecord(
        **{field.name: getattr(told, field.name) for field in dataclasses.fields(told)}
        | {
            "repetitions": tuple(replace(row, file=str(path)) for path, row in zip(job.runs, rows)),
            "warnings": (*told.warnings, *((_FROM_SCRATCH,) if untrained else ())),
        },
        precision=str(precision_for(device)).removeprefix("torch.") if has_network else None,
        n2a_version=__version__,
        strategy=strategy.facts.name,
        recipe=job.denoise.recipe,
        random_seed=job.denoise.random_seed,
        device=device.type,
        device_name=device_name,
        cuda_graphs=True if job.denoise.cuda_graphs else None,
        weights=first,
        further_weights=further or None,
        n_repetitions=repetitions.n_repetitions,
        same_contrast=repetitions.same_contrast,
    )


def _networks_used(
    weights: Sequence[PretrainedWeights | None], told: Sequence[str]
) -> tuple[NetworkWeights | None, tuple[NetworkWeights, ...]]:
    """The first network of the recipe, and which of the others the strategy took: it may not need them."""
    used = [NetworkWeights(one.name, one.sha256) if one else None for one in weights]
    return used[0] if used else None, tuple(one for one in used[1:] if one and one.name in told)


def with_earlier_warnings(record: DenoisingRecord, warnings: Sequence[str]) -> DenoisingRecord:
    """The record with what the steps before the denoising found: first, as they came first."""
    return replace(record, warnings=(*warnings, *record.warnings))


def complete(record: DenoisingRecord, started: float) -> DenoisingRecord:
    """The record with memory and time.

    Parameters
    ----------
    started : float
        Reading of `time.perf_counter` at the start.
    """
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gpu_bytes = torch.cuda.max_memory_allocated() if record.device == "cuda" else None
    return replace(
        record,
        peak_memory_mb=round(peak_kib * 1024 / 1e6, 1),
        peak_gpu_memory_mb=None if gpu_bytes is None else round(gpu_bytes / 1e6, 1),
        seconds={**record.seconds, "total": round(time.perf_counter() - started, 2)},
    )


def find_noise_map(repetitions: Repetitions, denoised: DenoisedImage) -> Volumes | None:
    """Noise SD of one repetition: as the strategy found it, or from the images; None where unknown."""
    if denoised.noise_sd is not None:
        return denoised.noise_sd
    if repetitions.micrograph:
        return micrograph_noise_map(repetitions)
    if repetitions.n_repetitions > 1 or repetitions.data.shape[-1] > 1:
        return noise_sd_map(repetitions)
    try:
        return estimate_noise(repetitions.data[0, ..., 0], repetitions.mask).noise_sd[..., None]
    except ValueError:  # a lone image without noise
        return None


def add_findings(
    record: DenoisingRecord,
    job: DenoiseJob,
    repetitions: Repetitions,
    mean: Volumes,
    denoised: DenoisedImage,
    noise_sd: Volumes | None,
) -> DenoisingRecord:
    """Complete a record by what the images show.

    Parameters
    ----------
    mean : (X, Y, Z, C) float array
        Plain mean.
    noise_sd : (X, Y, Z, C) float array or None
        Of one repetition.
    """
    if repetitions.micrograph:
        # Borders of tissue, k-space and brains are no matter of these.
        return replace(record, **measure_errors(repetitions, denoised, noise_sd))
    record = replace(record, **measure(repetitions, mean, denoised, noise_sd))
    record = replace(record, **_image_quality(repetitions, mean, denoised.data, noise_sd))
    record = replace(record, noise_model=describe_noise(repetitions, noise_sd, job.stored))
    warnings = [*alignment_warnings(repetitions, record), *residual_warnings(repetitions, record)]
    warnings += gap_warnings(repetitions) if job.measured is None else []
    warnings += filter_warnings(record)
    return replace(record, warnings=(*record.warnings, *warnings))


def _image_quality(
    repetitions: Repetitions, mean: Volumes, denoised: Volumes, noise_sd: Volumes | None
) -> dict[str, ImageQualityRecord]:
    """Quality of the plain mean and of the denoised image by the definitions of MRIQC, in the same voxels.

    Parameters
    ----------
    repetitions : Repetitions
        The input.
    mean, denoised : (X, Y, Z, C) float arrays
        In the unit of the first repetition.
    noise_sd : (X, Y, Z, C) float array or None
        Noise SD of one repetition, in that unit; air is not looked for without it.

    Returns
    -------
    quality : dict
        By the names of `DenoisingRecord`; empty for diffusion, which MRIQC measures by motion and outliers.
    """
    if repetitions.gradients is not None:
        return {}
    mask = repetitions.mask
    before, after = mean[..., 0], denoised[..., 0]
    tissues = find_tissues(after, mask, repetitions.voxel_size_mm)
    head, air = find_head(before, mask), np.zeros_like(mask)
    if noise_sd is not None:
        level = float(np.median(noise_sd[mask])) / np.sqrt(repetitions.n_repetitions)
        air = find_air(before[None], mask, level, repetitions.shared) & ~head
    return {
        name: measure_quality(image, tissues, head, air)
        for name, image in (("quality_mean", before), ("quality_denoised", after))
    }
