"""``n2a-tools denoise`` for PNG and TIFF files: exposures of one field, or two folders of pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.dataset.write.folder_checks import check_writable
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.denoising.micrographs.drifted import NOT_DRIFTED, UNRELATED
from n2a_bids.denoising.micrographs.exposures import Exposures, load_exposures
from n2a_bids.denoising.micrographs.rounding import with_rounding
from n2a_bids.denoising.outputs import check_new_names
from n2a_bids.denoising.run import DenoiseResult, denoise_files
from n2a_bids.errors import BIDSDataError, ConfigError, DenoisingError
from n2a_bids.io.files import write_whole
from n2a_bids.io.images import load_mask
from n2a_bids.io.json import record_text, sidecar_path
from n2a_bids.io.micrographs import SUFFIXES, is_micrograph, no_png, read_micrograph, write_micrograph
from n2a_bids.strategy_table import check_recipe

Report = Callable[[str], None]


def takes_micrographs(job: DenoiseJob) -> bool:
    """Whether PNG or TIFF files are to be denoised."""
    return bool(job.exposures.pairs) or any(is_micrograph(path) for path in job.runs)


def denoise_micrographs(
    job: DenoiseJob, out_file: Path, maps: Mapping[str, Path | None], report: Report
) -> None:
    """Denoise exposures, or every pair of two folders, and write results with their records.

    Parameters
    ----------
    out_file : Path
        Denoised image, PNG or TIFF; for pairs the folder for them.
    maps : mapping
        Where ``mean``, ``residual`` and ``noise_sd`` go, None for those not asked for.
    report : callable
        Receives one-line progress messages.

    Raises
    ------
    ConfigError
        If options contradict each other.
    BIDSDataError
        If a file cannot be used. Of pairs, the others are denoised first.
    DenoisingError
        If denoising fails; of pairs as above.
    """
    check_recipe(job.denoise.strategy, job.denoise.recipe)
    if job.exposures.pairs:
        _denoise_pairs(job, out_file, maps, report)
        return
    others = [path for path in job.runs if not is_micrograph(path)]
    if others:
        raise ConfigError(
            f"{others[0]}: expected PNG or TIFF files like the others, found another; leave it out"
        )
    _check_outputs(job, out_file, maps)
    _denoise_group(job, out_file, maps, report)


def _denoise_pairs(job: DenoiseJob, folder: Path, maps: Mapping[str, Path | None], report: Report) -> None:
    """One result for each name that both folders hold."""
    if job.runs or any(maps.values()):
        raise ConfigError("--pairs: expected no runs and no further outputs, found some; leave them out")
    names = _matched_names(job.exposures.pairs)
    if folder.resolve() in {side.resolve() for side in job.exposures.pairs}:
        raise ConfigError(
            f"{folder}: expected another folder than those of --pairs, whose files the results would "
            "replace; choose another"
        )
    if job.exposures.as_float and (pngs := [name for name in names if name.lower().endswith(".png")]):
        raise ConfigError(
            f"--float: expected TIFF files, found {pngs[0]}, and PNG holds whole numbers; leave it out"
        )
    check_writable(folder)
    failed: list[BIDSDataError | DenoisingError] = []
    for number, name in enumerate(names, start=1):
        report(f"{name} ({number} of {len(names)})")
        runs = tuple(side / name for side in job.exposures.pairs)
        try:
            _denoise_group(replace(job, runs=runs), folder / name, {}, report)
        except (BIDSDataError, DenoisingError) as error:
            report(str(error))
            failed.append(error)
    if failed:
        more = f" ({len(failed) - 1} more pairs failed, see above)" if len(failed) > 1 else ""
        raise type(failed[0])(f"{failed[0]}{more}")


def _matched_names(folders: Sequence[Path]) -> list[str]:
    for folder in folders:
        if not folder.is_dir():
            raise BIDSDataError(f"{folder}: expected a folder of exposures, found none; correct --pairs")
    held = [{path.name for path in folder.iterdir() if is_micrograph(path)} for folder in folders]
    lonely = sorted(held[0] ^ held[1])
    if lonely:
        where = folders[1] if lonely[0] in held[0] else folders[0]
        raise BIDSDataError(
            f"{where / lonely[0]}: expected the partner of the file of this name in the other folder, found "
            f"none ({len(lonely)} names stand in one folder only); add it, or take the other away"
        )
    if not held[0]:
        raise BIDSDataError(f"{folders[0]}: expected PNG or TIFF files, found none; correct --pairs")
    names = sorted(held[0])
    for one, other in pairwise(sorted(names, key=lambda name: sidecar_path(Path(name)).name)):
        if sidecar_path(Path(one)) == sidecar_path(Path(other)):
            raise BIDSDataError(
                f"{folders[0] / other}: expected names that differ in more than their ending, since the "
                f"record of each stands in a .json of that name, found {one}; rename one"
            )
    return names


def _check_outputs(job: DenoiseJob, out_file: Path, maps: Mapping[str, Path | None]) -> None:
    """Refuse before the work what would fail after it, or overwrite what went in."""
    if maps.get("uncertainty"):
        raise ConfigError(
            "--out-uncertainty: the error of micrographs is not told pixel by pixel; leave it out"
        )
    inputs = (*job.runs, *filter(None, [job.mask]))
    for path in (out_file, *filter(None, maps.values())):
        if not is_micrograph(path):
            raise ConfigError(
                f"{path}: expected a name ending in {', '.join(SUFFIXES)}, as the runs; correct it"
            )
    check_new_names(out_file, maps.values(), inputs)
    if maps.get("noise_sd") and len(job.runs) < 2:
        raise ConfigError("--out-noise-sd: one exposure does not tell its noise; leave it out")
    for name in ("residual", "noise_sd"):
        path = maps.get(name)
        if path is not None and path.name.lower().endswith(".png"):
            raise ConfigError(f"{path}: holds floating-point values, which PNG cannot; name it .tif")
    pngs = [path for path in (out_file, maps.get("mean")) if path and path.name.lower().endswith(".png")]
    if pngs:
        like = read_micrograph(job.runs[0])
        problem = no_png(like.pixels.shape, like, as_float=job.exposures.as_float)
        if problem:
            raise ConfigError(f"{pngs[0]}: {problem}")


def _denoise_group(job: DenoiseJob, out_file: Path, maps: Mapping[str, Path | None], report: Report) -> None:
    try:
        found = load_exposures(job.runs, aligned=job.exposures.as_they_lie, report=report)
    except BIDSDataError as error:
        raise BIDSDataError(_with_option(str(error))) from error
    if job.mask is not None:
        found = _within(found, job.mask, job.runs[0])
    mask = found.repetitions.mask
    used = tuple(path for index, path in enumerate(job.runs) if index not in found.excluded)
    result = denoise_files(replace(job, runs=used, micrograph=True), report, (found.repetitions, mask))
    excluded = tuple(f"left out: {_with_option(found.excluded[index])}" for index in sorted(found.excluded))
    warnings = (*result.record.warnings, *excluded, *found.notes)
    record = replace(result.record, warnings=warnings)
    record, as_float = with_rounding(record, found.like, out_file, as_float=job.exposures.as_float)
    for warning in record.warnings:
        if warning not in excluded:  # told when it was left out
            report(f"WARNING: {warning}")
    _write(replace(result, record=record), found, out_file, maps, as_float=as_float)
    report(f"wrote {out_file}")


def _with_option(text: str) -> str:
    """A reason against an exposure, with the option by which this command takes it all the same."""
    for remedy, meant in ((UNRELATED, "that is meant so"), (NOT_DRIFTED, "they have not drifted")):
        text = text.replace(remedy, f"{remedy}, or give --as-they-lie if {meant}")
    return text


def _within(found: Exposures, mask_file: Path, reference: Path) -> Exposures:
    """Only the pixels of a mask count; it is a NIfTI image, or PNG or TIFF that is not 0 there."""
    if is_micrograph(mask_file):
        given = read_micrograph(mask_file).pixels.any(axis=-1)
    else:
        given = load_mask(mask_file, mask_file)
    mask = found.repetitions.mask
    if given.shape != mask.shape:
        raise BIDSDataError(
            f"{mask_file}: expected a mask of {mask.shape} pixels as {reference}, found {given.shape}"
        )
    if not (mask & given).any():
        raise BIDSDataError(f"{mask_file}: expected pixels that count, found none; leave --mask out")
    return replace(found, repetitions=replace(found.repetitions, mask=mask & given))


def _write(
    result: DenoiseResult,
    found: Exposures,
    out_file: Path,
    maps: Mapping[str, Path | None],
    *,
    as_float: bool,
) -> None:
    """The denoised image and maps in the format of the exposures, and the record last."""
    write_micrograph(out_file, result.denoised, found.like, as_float=as_float)
    images: dict[str, NDArray[np.float32] | None] = {
        "mean": result.mean,
        "residual": result.mean - result.denoised,
        "noise_sd": result.noise_sd,
    }
    for name, path in maps.items():
        image = images.get(name)
        if path is not None and image is not None:
            write_micrograph(path, image, found.like, as_float=as_float or name != "mean")
    write_whole(sidecar_path(out_file), record_text(result.record) + "\n")
