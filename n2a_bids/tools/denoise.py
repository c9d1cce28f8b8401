"""``n2a-tools denoise``: masks and aligns files without BIDS, and denoises them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from n2a_bids.config.options import Option
from n2a_bids.dataset.read.files import check_file, open_nifti
from n2a_bids.dataset.read.gradient_tables import read_header
from n2a_bids.dataset.read.image_checks import MOST_MISSING, content_problem, placement_notes
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.denoising.micrographs.command import takes_micrographs
from n2a_bids.denoising.request import DenoiseRequest, check_request, reporter, run_denoise
from n2a_bids.denoising.run import choose_device
from n2a_bids.denoising.unused_options import refuse_unused
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.external.t1w_brain import write_brain_mask
from n2a_bids.io.micrograph_pixels import OTHER_FORMATS, SUFFIXES
from n2a_bids.record.alignment import AlignedRepetition
from n2a_bids.strategy_table import find_strategy


@dataclass(frozen=True, slots=True)
class DenoiseCommand(DenoiseRequest):
    """The command line: what is denoised, and what happens before."""

    no_align: Annotated[
        bool,
        Option(
            "take the runs as they lie, on one grid, instead of registering them first; diffusion series "
            "always are; of exposures of a microscope the same as --as-they-lie"
        ),
    ] = False


def run_denoise_command(request: DenoiseCommand) -> None:
    """Mask and align anatomical runs, then denoise.

    Raises
    ------
    ConfigError, BIDSDataError, DenoisingError
        If options contradict each other, images cannot be used or do not fit together, or memory is short.
    """
    job = request.job
    refuse_unused(job)
    has_table = job.bvals is not None or job.bvecs is not None
    has_exposures = takes_micrographs(job) or bool(job.micrograph)
    if has_exposures or has_table or not job.runs:
        told: Sequence[str] = ()
        if has_table and not has_exposures:
            _refuse_unsound(job.runs)
            told = _placement_warnings(request)
        as_they_lie = job.exposures.as_they_lie or request.no_align
        exposures = replace(job.exposures, as_they_lie=as_they_lie)
        run_denoise(replace(request, job=replace(job, exposures=exposures)), warnings=told)
        return
    aligns = _check_heads(request) and _can_be_aligned(job) and not request.no_align
    if not aligns:  # the alignment checks what it takes
        _refuse_unsound(job.runs)
    warnings = _placement_warnings(request)
    if not aligns and job.mask is not None:
        run_denoise(request, warnings=warnings)
        return
    report = reporter(request)
    with tempfile.TemporaryDirectory(prefix="n2a_") as name:
        if aligns:
            job, sources, found = _aligned(request, Path(name), report)
            warnings = (*warnings, *found)
        else:
            report("finding the brain")
            mask = write_brain_mask(job.runs[0], Path(name) / "brain.nii.gz", max(job.omp_nthreads, 1))
            job, sources = replace(job, mask=mask), job.runs
        run_denoise(replace(request, job=job), sources, warnings)


def _check_heads(request: DenoiseCommand) -> bool:
    """Refuse what cannot be aligned or denoised; whether every image shows one head, no series."""
    job = request.job
    _refuse_other_pictures(job.runs)
    check_request(job, request.files)
    # Before minutes of alignment.
    find_strategy(job.denoise.strategy, "anat")
    choose_device(job.denoise.device)
    if job.mask is not None:
        check_file(job.mask)
    for path in job.runs:
        # Results are written like the first: of a pair of header and voxels, none could.
        open_nifti(path)
    series = next((path for path in job.runs if read_header(path)[0] != 1), None)
    if job.mask is None and series is not None:
        raise ConfigError(
            f"{series}: expected one head to find the brain in, found a series; give its gradient table, "
            "--bvals and --bvecs, or --mask"
        )
    return series is None


def _refuse_other_pictures(runs: Sequence[Path]) -> None:
    """Say which formats of pictures are taken, before the name of the result is judged as that of a head."""
    for path in runs:
        if path.suffix.lower() in OTHER_FORMATS:
            lossy = "; what JPEG took away stays lost" * path.suffix.lower().startswith(".jp")
            raise BIDSDataError(
                f"{path}: expected images of heads (NIfTI), or exposures of a microscope "
                f"({', '.join(SUFFIXES)}), found {path.suffix}; save it as TIFF without loss{lossy}"
            )


def _refuse_unsound(runs: Sequence[Path]) -> None:
    """Refuse images that cannot be read whole, or hold no image."""
    for problem in (content_problem(path, MOST_MISSING) for path in runs):
        if problem:
            raise BIDSDataError(problem)


def _placement_warnings(request: DenoiseRequest) -> tuple[str, ...]:
    """Tell, and keep for the record, whose header does not say where its voxels lie, or in which unit."""
    warnings = tuple(note for path in request.job.runs for note in placement_notes(path))
    for warning in warnings:
        reporter(request)(f"WARNING: {warning}")
    return warnings


def _can_be_aligned(job: DenoiseJob) -> bool:
    """Whether there are several images, of which nothing says that they lie on one grid."""
    return len(job.runs) > 1 and job.measured is None and not job.stored


def _aligned(
    request: DenoiseRequest, folder: Path, report: Callable[[str], None]
) -> tuple[DenoiseJob, Sequence[Path], Sequence[str]]:
    """The job with aligned runs and their common mask, which of the runs they are, and warnings."""
    # nipype takes a second to import, and the children of the app never align.
    from n2a_bids.api.aligned_files import AlignmentOptions, align_files

    job = request.job
    report("finding the brain in every run and registering the runs")
    how = AlignmentOptions(
        # Nodes work in folders of their own.
        job.mask and job.mask.absolute(),
        same_contrast=not job.different_contrast,
        random_seed=job.denoise.random_seed,
        threads=max(job.omp_nthreads, 1),
    )
    found = align_files([path.absolute() for path in job.runs], folder, how)
    told = {
        f"{path}: {_outcome(one)}": one for path, one in zip(job.runs, found.record.repetitions, strict=True)
    }
    for line in (*told, *(f"WARNING: {warning}" for warning in found.warnings)):
        report(line)
    sources = tuple(job.runs[index] for index in found.accepted)
    if request.files.out_repetitions and len(sources) < len(job.runs):
        other = next(path for path in job.runs if path not in sources)
        raise ConfigError(
            f"--out-repetitions: expected that all {len(job.runs)} runs can be used, but {other} is left "
            "out; leave it out of the command, too"
        )
    left_out = (line for line, one in told.items() if not one.accepted)
    return found.denoised_by(job), sources, (*left_out, *found.warnings)


def _outcome(one: AlignedRepetition) -> str:
    if not one.accepted:
        return f"left out: {one.reason}"
    if not one.translation_mm and not one.rotation_deg:
        return "stays where it is"
    return f"{one.translation_mm or 0:.1f} mm and {one.rotation_deg or 0:.1f} degrees from the reference"
