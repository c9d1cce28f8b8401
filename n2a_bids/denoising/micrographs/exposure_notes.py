"""Words what is odd in exposures: lost pixels, structure or brightness unlike others, noise in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.micrographs.brightness import BrighterPlaces, find_brighter_places
from n2a_bids.algorithms.micrographs.structure import (
    StructureRatio,
    compare_structure,
    find_shared_noise,
)
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
        "blocks where others show something, padding of one value at a border, hot lines and cosmic rays "
        "that no other shows, hot pixels of the camera, which do not drift with the specimen, or its broken "
        "columns and rows): the others stand in there, or what lies beside"
    )


def fixed_note(fixed: NDArray[np.bool_]) -> str:
    """What to say of places that stay while the specimen drifts; empty where there are none."""
    if not fixed.any():
        return ""
    return (
        f"{100 * fixed.mean():.2g} % of the pixels stay where they are in all exposures (a data bar, a scale "
        "bar, text, a frame, or what lies outside of an aperture): they take no part in the drift and the "
        "noise, and are as the first exposure shows them"
    )


def structure_notes(paths: Sequence[Path], exposures: Repetitions, gains: NDArray[np.float64]) -> list[str]:
    """Sentences about exposures that share noise, show less structure than others, or places far brighter.

    Parameters
    ----------
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
    brighter = find_brighter_places(windows, exposures.mask[middle])
    unlike = zip(paths, found, brighter, strict=True)
    shared = find_shared_noise(windows, exposures.mask[middle])
    return _shares_noise(paths, shared) + [
        text for path, *ones in unlike for text in _unlike_others(path, *ones)
    ]


def _shares_noise(paths: Sequence[Path], correlation: float) -> list[str]:
    """A sentence about noise that exposures have in common; none where they have none."""
    if not correlation:
        return []
    return [
        f"{paths[0].name} and the exposures with it: detail of single pixels has a correlation of "
        f"{correlation:.2f}, no less than what is coarser, as noise that they share (one is a sum that holds "
        "another, one dark frame or gain image was applied to all, or the camera has a pattern), or detail "
        "that the pixels do not resolve. Shared noise stays in the result, and the gain is told too high: "
        "give exposures that were recorded, and corrected, each by itself"
    ]


def _unlike_others(path: Path, structure: StructureRatio | None, places: BrighterPlaces | None) -> list[str]:
    """Sentences about one exposure."""
    told = []
    if structure is not None and structure.is_less:
        told.append(
            f"{path.name}: structure of a few pixels has {structure.ratio:.0%} of the variance that others "
            "show, their means made equal: out of focus, or a black level. No noise model knows such "
            "differences, and the gain is told too high; leave the exposure out, or subtract the black level "
            "from all"
        )
    if places is not None:
        told.append(
            f"{path.name}: {100 * places.part:.2g} % of it are far brighter than others show them (by up to "
            f"{places.contrast:.1f} times the contrast of the image): charging, contamination, or a shadow "
            "over the others. It stays in the result in part, and the gain is told too high; look at it, and "
            "leave the exposure out"
        )
    return told
