"""Decides whether results can be whole numbers as the exposures are, or rounding outweighs their error."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from n2a_bids.io.micrographs import Micrograph
from n2a_bids.record.denoising import DenoisingRecord

_LEAST_ERROR = 0.4
"""Grey values, of a result that is rounded: its variance grows by half."""
_ROUNDING_VARIANCE = 1 / 12
"""Of whole numbers, in squared grey values."""


def with_rounding(
    record: DenoisingRecord, like: Micrograph, path: Path, *, as_float: bool
) -> tuple[DenoisingRecord, bool]:
    """Whether a result is written in single precision, and its record, whose error holds the rounding.

    Parameters
    ----------
    record : DenoisingRecord
        Its errors are those before rounding.
    like : Micrograph
        What the result is written like.
    path : Path
        Its ending says whether it can hold single precision.
    as_float : bool
        Whether single precision was asked for.

    Returns
    -------
    record : DenoisingRecord
        With a warning where rounding would outweigh the error of the result.
    as_float : bool
    """
    error = record.error_denoised if record.error_denoised is not None else record.noise_sd_mean
    if as_float or not like.is_integer or error is None:
        return record, as_float
    told = f"the result is known to {error:.2g} grey values, finer than whole numbers (few counts)"
    is_fine, is_png = error < _LEAST_ERROR, path.name.lower().endswith(".png")
    if is_fine and not is_png:
        kept = f"denoised image and mean are written in single precision, and not as {like.pixels.dtype}"
        return _with_warning(record, f"{told}: {kept}"), True
    if is_fine:
        record = _with_warning(
            record,
            f"{told}, which is all that PNG holds: most of what was gained is lost by rounding; name the "
            "result .tif, or give TIFF exposures",
        )
    if record.error_denoised is not None:
        rounded = math.sqrt(record.error_denoised**2 + _ROUNDING_VARIANCE)
        record = replace(record, error_denoised=rounded)
    return record, False


def _with_warning(record: DenoisingRecord, warning: str) -> DenoisingRecord:
    return replace(record, warnings=(*record.warnings, warning))
