"""Runs a strategy on loaded images: device, free memory, retries when memory ends."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.diffusion.shells import angular_groups
from n2a_bids.algorithms.nn.cuda_graphs import record_cuda_graph
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.strategies import Strategy, get_strategy
from n2a_bids.algorithms.strategies.dwi.auto import MAX_VOLUMES
from n2a_bids.algorithms.strategies.dwi.surroundings import denoise_surroundings
from n2a_bids.algorithms.strategies.mean import average_matched
from n2a_bids.denoising.companion import with_companion
from n2a_bids.denoising.inputs import DenoiseJob, load_repetitions
from n2a_bids.denoising.measures import find_error_map
from n2a_bids.denoising.plausibility import check_distance
from n2a_bids.denoising.record import add_findings, complete, describe_run, find_noise_map
from n2a_bids.denoising.volume_checks import check_series
from n2a_bids.denoising.warnings import refuse_stack, shared_noise_warnings, spoiled_warnings
from n2a_bids.errors import ConfigError, DenoisingError
from n2a_bids.io.images import mask_in_world
from n2a_bids.io.weights import load_all_weights, load_weights
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.system.environment import named_weights_dir
from n2a_bids.system.resources import available_cpus, free_memory_gb

Report = Callable[[str], None]

_MOST_THREADS = 8
_ATTEMPTS = 4
_SHARE_OF_FREE_MEMORY = 0.6
"""For blocks, when nothing is said."""
_CPU_OUT_OF_MEMORY = "can't allocate memory"


@dataclass(frozen=True, slots=True)
class DenoiseResult:
    """Images on the grid of the first run, and the record of how they came about."""

    job: DenoiseJob
    denoised: NDArray[np.float32]
    """(X, Y, Z, C), whole head, unit of the first run; so are the others."""
    mean: NDArray[np.float32]
    noise_sd: NDArray[np.float32] | None
    uncertainty: NDArray[np.float32] | None
    """Expected error (SD), 0 outside of the brain."""
    repetitions: NDArray[np.float32] | None
    """(R, X, Y, Z, C), each in its own unit."""
    mask: NDArray[np.bool_]
    record: DenoisingRecord


def denoise_files(
    job: DenoiseJob, report: Report, loaded: tuple[Repetitions, NDArray[np.bool_]] | None = None
) -> DenoiseResult:
    """Load the images of a job, denoise them, and measure what that did.

    Parameters
    ----------
    report : callable
        Receives one-line progress messages.
    loaded : Repetitions and (X, Y, Z) bool array, optional
        What the files hold, and where it counts, where that was read before.

    Raises
    ------
    BIDSDataError
        If a file is unusable or the grids differ.
    ConfigError
        If CUDA is asked for and there is none.
    DenoisingError
        If the strategy cannot take the data, memory is not enough, or the result is not finite.
    """
    started = time.perf_counter()
    if job.denoise.weights_dir is None:
        job = replace(job, denoise=replace(job.denoise, weights_dir=named_weights_dir()))
    torch.set_num_threads(job.omp_nthreads or min(available_cpus(), _MOST_THREADS))
    device = choose_device(job.denoise.device)
    if job.denoise.cuda_graphs and device.type != "cuda":
        raise ConfigError("--cuda-graphs: expected a CUDA device, found the CPU; leave the option out")
    specks: list[str] = []
    repetitions, mask = loaded or (load_repetitions(job, specks.append), mask_in_world(job.mask, job.runs[0]))
    strategy = get_strategy(job.denoise.strategy, repetitions.modality)
    repetitions, alone = _beside(repetitions, job, strategy, report)
    compares = not (job.allow_shared_noise or repetitions.micrograph)
    checks = (shared_noise_warnings, check_series, spoiled_warnings) if compares else ()
    unusual = [warning for check in checks for warning in check(job.runs, repetitions)]
    unusual += specks if compares else []  # of runs that were prepared, the steps before told
    _check_fit(strategy, repetitions, job)
    weights = load_all_weights(strategy.facts.weights_of(job.denoise.recipe), job.denoise.weights_dir)
    report(
        f"{strategy.facts.name}, recipe {job.denoise.recipe}, on {device_name(device)}, "
        f"{torch.get_num_threads()} threads"
    )
    denoised = denoise_with_retries(strategy, repetitions, weights, job, device, report)
    _check_finite(denoised, strategy)
    if job.whole_image:
        report("denoising what lies around the brain")
        denoised = with_surroundings(repetitions, denoised)
    denoised = keep_empty(repetitions, denoised)
    report("measuring the result")
    mean = _with_empty(repetitions, average_matched(repetitions))
    noise_sd = find_noise_map(repetitions, denoised)
    facts = strategy.facts
    far = check_distance(facts, repetitions, mean, denoised.data, noise_sd, denoised.record.n_coils)
    record = describe_run(job, device, strategy, weights, repetitions, denoised, device_name(device))
    record = replace(record, warnings=(*record.warnings, *unusual, *alone, *far))
    record = complete(add_findings(record, job, repetitions, mean, denoised, noise_sd), started)
    uncertainty = find_error_map(repetitions, denoised, noise_sd, mask) if facts.tells_error else None
    return DenoiseResult(job, denoised.data, mean, noise_sd, uncertainty, denoised.repetitions, mask, record)


def _beside(
    repetitions: Repetitions, job: DenoiseJob, strategy: Strategy, report: Report
) -> tuple[Repetitions, tuple[str, ...]]:
    """The series with its companion, where one is named; and why it has none, where that cannot be used."""
    if job.companion is None:
        return repetitions, ()
    if not strategy.facts.learns_from_another:
        reason = f"{strategy.facts.name} takes each series by itself; use --strategy auto"
        return repetitions, (f"{job.companion.name} was not learned from: {reason}",)
    repetitions, problem = with_companion(repetitions, job.runs[0], job.companion, report)
    return repetitions, (problem,) if problem else ()


def with_surroundings(repetitions: Repetitions, denoised: DenoisedImage) -> DenoisedImage:
    """The denoised series with what lies around the brain denoised too, unless the series was kept as it is.

    Parameters
    ----------
    repetitions : Repetitions
        One diffusion series.

    Returns
    -------
    denoised : DenoisedImage
        The same object where the mean won, or where there is more than one series.
    """
    gradients = repetitions.gradients
    if gradients is None or repetitions.n_repetitions > 1 or denoised.record.chosen.mean_won:
        return denoised
    groups = angular_groups(gradients, MAX_VOLUMES)
    series, mask = repetitions.data[0], repetitions.mask
    whole, noise_sd = denoise_surroundings(series, denoised.data, mask, groups)
    if denoised.noise_sd is not None:
        noise_sd = np.where(mask[..., None], denoised.noise_sd, noise_sd)
    return replace(denoised, data=whole, noise_sd=noise_sd if denoised.noise_sd is not None else None)


def keep_empty(repetitions: Repetitions, denoised: DenoisedImage) -> DenoisedImage:
    """The denoised image with the value of the first run where no run was measured: a removed face stays so.

    Returns
    -------
    denoised : DenoisedImage
        The same object where every voxel was measured.
    """
    if repetitions.n_measured is None:
        return denoised
    return replace(denoised, data=_with_empty(repetitions, denoised.data))


def _with_empty(repetitions: Repetitions, image: NDArray[np.float32]) -> NDArray[np.float32]:
    if repetitions.n_measured is None:
        return image
    return np.where((repetitions.n_measured == 0)[..., None], repetitions.data[0], image)


def choose_device(asked: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a torch device; ``cuda`` without a GPU is an error."""
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: expected a usable NVIDIA GPU, found none; in a container give 'docker run "
            "--gpus all' or 'apptainer run --nv', or use --device cpu ('n2a-tools doctor' tells more)"
        )
    return torch.device("cuda")


def device_name(device: torch.device) -> str:
    """Name of the GPU, or the kind of processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"


def denoise_with_retries(
    strategy: Strategy,
    repetitions: Repetitions,
    weights: Sequence[PretrainedWeights | None],
    job: DenoiseJob,
    device: torch.device,
    report: Report,
) -> DenoisedImage:
    """Run the strategy, with half the memory after each failure for want of it.

    Every attempt starts from the seed again, so that what comes out depends on the block size alone.

    Raises
    ------
    DenoisingError
        If the least memory is too much, or the strategy gives up.
    """
    free_gb = free_device_memory_gb(device)
    # What is asked for may be the memory of the host where a GPU computes, or taken by others meanwhile.
    memory_gb = min(job.memory_gb, free_gb) if job.memory_gb else _SHARE_OF_FREE_MEMORY * free_gb
    config = strategy.config(job.denoise.recipe, *weights)
    if job.denoise.keep_noise_floor and strategy.facts.removes_noise_floor:
        config = replace(config, keep_noise_floor=True)
    if strategy.facts.keeps_shipped and (shipped := _shipped_beside(weights)) is not None:
        config = replace(config, shipped=shipped)
    for _ in range(_ATTEMPTS):
        try:
            return strategy.denoise(repetitions, config, _new_context(job, device, memory_gb, report))
        except (torch.OutOfMemoryError, MemoryError) as error:
            shortage: Exception = error
        except RuntimeError as error:
            if _CPU_OUT_OF_MEMORY not in str(error):
                raise
            shortage = error
        except (ValueError, FloatingPointError) as error:
            raise DenoisingError(f"{job.runs[0]}: {strategy.facts.name} gave up: {error}") from error
        if device.type == "cuda":
            torch.cuda.empty_cache()
        memory_gb /= 2
        report(f"out of memory; again with blocks for {memory_gb:.2f} GB")
    instead = ", or use --device cpu" if device.type == "cuda" else ""
    raise DenoisingError(
        f"{job.runs[0]}: out of memory on {device_name(device)}, even with blocks for {2 * memory_gb:.2f} GB "
        f"({(str(shortage) or 'MemoryError').splitlines()[0]}); close other programs on it, or ask for "
        f"more memory{instead}"
    ) from shortage


def _shipped_beside(weights: Sequence[PretrainedWeights | None]) -> PretrainedWeights | None:
    """The weights of the package, where others are used in their place."""
    if not weights or weights[0] is None:
        return None
    shipped = load_weights(weights[0].name)
    return shipped if shipped is not None and shipped.sha256 != weights[0].sha256 else None


def _new_context(job: DenoiseJob, device: torch.device, memory_gb: float, report: Report) -> Context:
    # Networks are initialised from the global generator of torch.
    torch.manual_seed(job.denoise.random_seed)
    return Context(
        generator=torch.Generator().manual_seed(job.denoise.random_seed),
        device=device,
        memory_gb=memory_gb,
        report=report,
        recorder=record_cuda_graph if job.denoise.cuda_graphs else None,
    )


def free_device_memory_gb(device: torch.device) -> float:
    """Memory of the GPU, or of the machine, that nobody uses."""
    return torch.cuda.mem_get_info(device)[0] / 1e9 if device.type == "cuda" else free_memory_gb()


def _check_fit(strategy: Strategy, repetitions: Repetitions, job: DenoiseJob) -> None:
    if repetitions.n_repetitions < strategy.facts.min_repetitions:
        one = "exposure" if repetitions.micrograph else "run"
        raise DenoisingError(
            f"{strategy.facts.name} needs at least {strategy.facts.min_repetitions} {one}s, found "
            f"{repetitions.n_repetitions} ({job.runs[0]}); give another {one}"
        )
    if strategy.facts.needs_same_contrast and not repetitions.same_contrast:
        other = "auto or noise2average" if repetitions.gradients is None else "noise2average"
        raise DenoisingError(
            f"{strategy.facts.name} needs repetitions of one contrast, but these differ ({job.runs[0]} and "
            f"others); use --strategy {other}, which need not"
        )
    if strategy.facts.needs_gradients and repetitions.gradients is None:
        raise DenoisingError(f"{strategy.facts.name} needs gradient directions; give --bvals and --bvecs")
    refuse_stack(strategy.facts, repetitions, job.runs[0])


def _check_finite(denoised: DenoisedImage, strategy: Strategy) -> None:
    if not np.isfinite(denoised.data).all():
        raise DenoisingError(
            f"{strategy.facts.name} ended with NaN or infinite voxels, so nothing is written; try another "
            "--random-seed or --strategy mean, and report this with the output of 'n2a-tools doctor'"
        )
