"""Writes the results of ``n2a-tools denoise``: image like the first run, maps, record as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.dataset.write.folder_checks import check_writable
from n2a_bids.denoising.run import DenoiseResult
from n2a_bids.errors import ConfigError, DenoisingError
from n2a_bids.io.images import save_like
from n2a_bids.io.json import sidecar_path, write_record


def write_outputs(
    result: DenoiseResult,
    out_file: Path,
    maps: Mapping[str, Path | None],
    repetitions: Sequence[Path],
    *,
    skull_strip: bool = False,
) -> None:
    """Write the denoised image, the maps asked for, and the record last.

    Parameters
    ----------
    out_file : Path
        Ends in ``.nii.gz``; the record goes into ``.json`` beside it.
    maps : mapping
        Where ``mean``, ``residual``, ``noise_sd`` and ``uncertainty`` go; None for those not asked for.
    repetitions : sequence of Path
        Where the denoised repetitions go; empty when not asked for.
    skull_strip : bool
        Zero outside of the mask; otherwise the whole head is kept.

    Raises
    ------
    DenoisingError
        If something was asked for that the strategy does not give.
    """
    images, strategy = {out_file: result.denoised}, result.job.denoise.strategy
    if maps.get("mean"):
        images[maps["mean"]] = result.mean
    if maps.get("residual"):
        images[maps["residual"]] = result.mean - result.denoised
    if maps.get("noise_sd"):
        if result.noise_sd is None:
            raise DenoisingError(
                f"{strategy} estimates no noise map for these runs; leave --out-noise-sd out"
            )
        images[maps["noise_sd"]] = result.noise_sd
    if maps.get("uncertainty"):
        if result.uncertainty is None:
            raise DenoisingError(
                f"{strategy} does not tell the error to expect in each voxel of these runs; leave "
                "--out-uncertainty out, or use --strategy auto"
            )
        images[maps["uncertainty"]] = result.uncertainty
    if repetitions:
        if result.repetitions is None:
            raise DenoisingError(
                f"{strategy} denoises all repetitions into one image; leave --out-repetitions "
                "out, or use --strategy noise2average"
            )
        images.update(zip(repetitions, result.repetitions))
    for path, data in images.items():
        kept = np.where(result.mask[..., None], data, np.float32(0)) if skull_strip else data
        save_like(_without_single_channel(kept), result.job.runs[0], path)
    write_record(replace(result.record, skull_stripped=skull_strip), sidecar_path(out_file))


def _without_single_channel(data: NDArray[np.float32]) -> NDArray[np.float32]:
    return data[..., 0] if data.shape[-1] == 1 else data


def check_new_names(out_file: Path, others: Iterable[Path | None], inputs: Sequence[Path]) -> None:
    """Refuse before the work outputs that would replace an input, its sidecar, or another output.

    Parameters
    ----------
    out_file : Path
        Denoised image, beside which the record goes.
    others : iterable of Path or None
        Further images that are written.

    Raises
    ------
    ConfigError
        Names the output.
    BIDSDataError
        If a folder cannot be written.
    """
    taken = {path.resolve() for path in inputs}
    for path in filter(None, (out_file, *others)):
        if path.resolve() in taken:
            raise ConfigError(
                f"{path}: expected a new name for each image that is written, found one that is an input or "
                "given twice; choose another"
            )
        taken.add(path.resolve())
        check_writable(path.parent)
    if sidecar_path(out_file).resolve() in {sidecar_path(path).resolve() for path in inputs if path.name}:
        raise ConfigError(
            f"{out_file}: expected a name of its own, found that of an input, whose sidecar the record would "
            "replace; choose another"
        )
