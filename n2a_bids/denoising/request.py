"""Options of the denoising process and its start: aligned files in, denoised file and record out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from n2a_bids.config.options import Option
from n2a_bids.denoising.brain import find_series_brain
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.denoising.micrographs.command import denoise_micrographs, takes_micrographs
from n2a_bids.denoising.outputs import check_new_names, write_outputs
from n2a_bids.denoising.record import with_earlier_warnings
from n2a_bids.denoising.run import denoise_files
from n2a_bids.errors import ConfigError
from n2a_bids.strategy_table import check_recipe
from n2a_bids.system.progress import ProgressReport


@dataclass(frozen=True, slots=True)
class DenoiseFiles:
    """Files that ``n2a-tools denoise`` writes."""

    out_file: Annotated[
        Path,
        Option("denoised image, named as the runs are; .json beside it", flags=("--out",), metavar="OUT"),
    ]
    out_mean: Annotated[Path | None, Option("plain mean of the repetitions", metavar="FILE")] = None
    out_residual: Annotated[Path | None, Option("plain mean minus denoised image", metavar="FILE")] = None
    out_noise_sd: Annotated[Path | None, Option("noise SD of one repetition", metavar="FILE")] = None
    out_uncertainty: Annotated[
        Path | None,
        Option(
            "expected error (SD) of the denoised image in every voxel of the brain, where the strategy tells "
            "it (auto, mean)",
            metavar="FILE",
        ),
    ] = None
    out_repetitions: Annotated[tuple[Path, ...], Option("each repetition denoised", metavar="FILE")] = ()

    @property
    def maps(self) -> dict[str, Path | None]:
        """File of each map that can be written; None for a map that was not asked for."""
        return {
            "mean": self.out_mean,
            "residual": self.out_residual,
            "noise_sd": self.out_noise_sd,
            "uncertainty": self.out_uncertainty,
        }


@dataclass(frozen=True, slots=True)
class DenoiseRequest:
    """The command line of ``n2a-tools denoise``."""

    job: DenoiseJob
    files: DenoiseFiles
    quiet: Annotated[bool, Option("no progress on standard error", flags=("-q", "--quiet"))] = False


def run_denoise(request: DenoiseRequest, sources: Sequence[Path] = (), warnings: Sequence[str] = ()) -> None:
    """Denoise files that lie on one grid.

    Parameters
    ----------
    sources : sequence of Path
        What the record calls the runs, where they were made from other files; by default their own names.
    warnings : sequence of str
        Of the steps before, for the record.
    """
    job, files = request.job, request.files
    if takes_micrographs(job):
        if files.out_repetitions:
            raise ConfigError(
                "--out-repetitions: exposures of a microscope are not written one by one; leave it out"
            )
        denoise_micrographs(job, files.out_file, files.maps, reporter(request))
        return
    if not job.runs:
        raise ConfigError("expected repetitions to denoise, found none; name their files, or give --pairs")
    check_request(job, files)
    with tempfile.TemporaryDirectory(prefix="n2a_") as folder:
        if job.mask is None and job.bvals is None:
            raise ConfigError("--mask: expected a brain mask of images on one grid, found none; give one")
        if job.mask is None:
            brain = find_series_brain(job, Path(folder))
            for warning in brain.warnings:
                reporter(request)(f"WARNING: {warning}")
            job, warnings = replace(job, mask=brain.mask_file), (*warnings, *brain.warnings)
        _denoise_and_write(replace(request, job=job), sources, warnings)


def reporter(request: DenoiseRequest) -> Callable[[str], None]:
    """What receives one-line messages of progress: standard error, or nothing."""
    return (lambda message: None) if request.quiet else ProgressReport.from_environment()


def _denoise_and_write(request: DenoiseRequest, sources: Sequence[Path], warnings: Sequence[str]) -> None:
    job, files = request.job, request.files
    report = reporter(request)
    result = denoise_files(job, report)
    for warning in result.record.warnings:  # the earlier ones were told when they came up
        report(f"WARNING: {warning}")
    result = replace(result, record=with_earlier_warnings(result.record, warnings))
    if sources:
        rows = zip(result.record.repetitions, sources, strict=True)
        named = tuple(replace(row, file=str(path)) for row, path in rows)
        result = replace(result, record=replace(result.record, repetitions=named))
    skull_strip = job.denoise.skull_strip
    write_outputs(result, files.out_file, files.maps, files.out_repetitions, skull_strip=skull_strip)
    report(f"wrote {files.out_file}")


def check_request(job: DenoiseJob, files: DenoiseFiles) -> None:
    """Refuse before the work what would fail after it, or overwrite what went in.

    Raises
    ------
    ConfigError
        If names of outputs cannot be used together, or a gradient table is half given.
    BIDSDataError
        If a folder cannot be written.
    """
    if not files.out_file.name.endswith(".nii.gz"):
        raise ConfigError(
            f"{files.out_file}: the output should end in .nii.gz; its record goes into .json beside it"
        )
    check_recipe(job.denoise.strategy, job.denoise.recipe)
    if files.out_repetitions and len(files.out_repetitions) != len(job.runs):
        raise ConfigError(
            f"--out-repetitions names {len(files.out_repetitions)} files for {len(job.runs)} runs"
        )
    if (job.bvals is None) != (job.bvecs is None):
        raise ConfigError(
            "a gradient table needs both --bvals and --bvecs, found one of them; give the other"
        )
    others = (*filter(None, files.maps.values()), *files.out_repetitions)
    for path in (files.out_file, *others):
        if not path.name.endswith((".nii", ".nii.gz")):
            raise ConfigError(f"{path}: expected the name of an image to write, .nii.gz or .nii; correct it")
    check_new_names(files.out_file, others, (*job.runs, *filter(None, [job.mask])))
