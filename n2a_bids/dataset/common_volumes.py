"""The volumes that several DWI series have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nb
import numpy as np

from n2a_bids.algorithms.gradients import match_tables
from n2a_bids.dataset.gradient_tables import Series
from n2a_bids.images import UNREADABLE

_MIN_FRACTION = 0.5


@dataclass(frozen=True, slots=True)
class CommonPart:
    """Volumes of several series that measure the same thing."""

    volumes: tuple[tuple[int, ...], ...]
    """For each series, indices from 0 in corresponding order; empty if all volumes correspond in order."""
    n_weighted: int
    """Diffusion-weighted volumes per series."""
    has_b0: bool
    """Whether a b0 volume is among them."""
    summary: str
    """Half a sentence for the reason of a unit."""
    notes: tuple[str, ...]
    """Volumes without a partner, and the notes of the series."""


def common_part(series: Sequence[Series]) -> CommonPart | None:
    """Find the volumes that all series share.

    Parameters
    ----------
    series : sequence of Series
        Two or more.

    Returns
    -------
    common : CommonPart or None
        None where the series share no diffusion-weighted volume, or fewer than half of
        those of the longest, or have different matrices or voxel sizes: then it is better
        to denoise each by itself.
    """
    if len({_voxels(one) for one in series} - {None}) > 1:
        return None
    first = series[0]
    rows = [(index,) for index in range(first.gradients.bvals.size)]
    for other in series[1:]:
        partner = dict(match_tables(first.gradients, other.gradients))
        rows = [(*row, partner[row[0]]) for row in rows if row[0] in partner]
    n_weighted = sum(bool(first.weighted[row[0]]) for row in rows)
    longest = max(int(np.count_nonzero(one.weighted)) for one in series)
    if n_weighted == 0 or n_weighted < _MIN_FRACTION * longest:
        return None
    volumes = tuple(zip(*rows, strict=True))
    complete = all(chosen == tuple(range(one.gradients.bvals.size)) for one, chosen in zip(series, volumes))
    unused = [_unused(one, chosen) for one, chosen in zip(series, volumes)]
    own = [f"{one.image.path.name}: {note}" for one in series for note in one.notes]
    return CommonPart(
        volumes=() if complete else volumes,
        n_weighted=n_weighted,
        has_b0=len(rows) > n_weighted,
        summary=_summary(len(rows), any(unused)),
        notes=(*(note for note in unused if note), *own),
    )


def _voxels(series: Series) -> tuple[object, ...] | None:
    """Matrix and voxel size; None for a file that cannot be read, which its own check reports."""
    try:
        image = nb.load(series.image.path)
    except UNREADABLE:
        return None
    return image.shape[:3], tuple(round(float(size), 2) for size in image.header.get_zooms()[:3])


def _summary(n_common: int, is_partial: bool) -> str:
    return f"gradient tables with {n_common} volumes in common" if is_partial else "the same gradient table"


def _unused(series: Series, chosen: Sequence[int]) -> str:
    left = sorted(set(range(series.gradients.bvals.size)) - set(chosen))
    if not left:
        return ""
    named = ", ".join(f"{index + 1} (b={series.gradients.bvals[index]:g})" for index in left)
    return f"{series.image.path.name}: volumes without a partner are not used: {named}"
