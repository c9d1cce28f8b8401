"""What ``n2a-tools denoise`` knows of its run: what the strategy tells, and what was asked for and used."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from n2a_bids import __version__
from n2a_bids.algorithms.nn.precision import precision_for
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.strategies import Strategy
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.record.denoising import DenoisingRecord, NetworkWeights, RepetitionRecord

_FROM_SCRATCH = "no pretrained weights were there: the network was trained from scratch"


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
    job : DenoiseJob
    device : torch.device
    strategy : Strategy
    weights : sequence of PretrainedWeights or None
        Those of the recipe, the first to be fine-tuned; None where there were none.
    repetitions : Repetitions
    denoised : DenoisedImage
    device_name : str

    Returns
    -------
    record : DenoisingRecord
        Without what is measured on the images, memory and time.
    """
    told = denoised.record
    used = [NetworkWeights(one.name, one.sha256) if one else None for one in weights]
    first = used[0] if used else None
    # A strategy names the networks that it took besides; it may not have needed them.
    further = tuple(one for one in used[1:] if one and one.name in (told.networks or ()))
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


def complete(record: DenoisingRecord, started: float) -> DenoisingRecord:
    """The record with memory and time.

    Parameters
    ----------
    record : DenoisingRecord
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
