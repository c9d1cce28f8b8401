"""Words what micrograph exposures lack: chunks, lost pixels, structure that others show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.micrographs.structure import compare_structure
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.io.micrographs import Micrograph

_WINDOW = 2048
"""Pixels of the middle of an image, in which structure is compared."""


def not_stored_note(image: Micrograph) -> str:
    """What to say of an exposure of which chunks are not stored; empty where all are."""
    if image.not_stored is None:
        return ""
    return (
        f"{image.path.name}: {image.not_stored.max()} chunks of the finest image are not stored, and were "
        "taken for empty, as those of the others are there"
    )


def lost_note(path: Path, lost: NDArray[np.bool_]) -> str:
    """What to say of an exposure that lost pixels which others show; empty if it lost none."""
    if not lost.any():
        return ""
    return (
        f"{path.name}: {100 * lost.mean():.2g} % of its pixels are lost (its lowest value alone, in lines or "
        "blocks where others show something, or hot lines and cosmic rays that no other shows): the others "
        "stand in there"
    )


def structure_notes(paths: Sequence[Path], exposures: Repetitions, gains: NDArray[np.float64]) -> list[str]:
    """A sentence for each exposure that shows far less structure than the others, once their means are equal.

    Parameters
    ----------
    paths : sequence of Path
    exposures : Repetitions
        Aligned.
    gains : (R,) float array
        That bring them to one mean.
    """
    data = exposures.data
    if len(paths) < 2:
        return []
    middle = tuple(slice(max(0, (size - _WINDOW) // 2), (size + _WINDOW) // 2) for size in data.shape[1:3])
    windows = data[:, *middle].mean(axis=-1) * gains.astype(np.float32)[:, None, None, None]
    found = compare_structure(windows, exposures.mask[middle])
    return [
        f"{path.name}: structure of a few pixels has {one.ratio:.0%} of the variance that others show, their "
        "means made equal: out of focus, or a black level. No noise model knows such differences, and the "
        "gain is told too high; leave the exposure out, or subtract the black level from all"
        for path, one in zip(paths, found, strict=True)
        if one is not None and one.is_less
    ]
