"""Downstream analysis: cortical thickness by DiReCT of ANTs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from n2a_bids.errors import DenoisingError
from n2a_bids.lab.benchmark.downstream.analyses import Analysis, Image
from n2a_bids.lab.benchmark.downstream.tissues import TISSUES, segment

MEASURES = ("thickness_mm", "regional_thickness_mm")
_ITERATIONS, _STEP, _SMOOTHING = 10, 0.1, 1.5
_THINNEST_MM = 0.1
"""Less than any cortex: DiReCT leaves small values around it."""
_PIECE_MM = 20.0
"""Edge of the cubes whose cortex is averaged, for want of an atlas: a parcel has about as much."""
_FEWEST = 100
"""Voxels of cortex that a cube needs to count."""


@dataclass(frozen=True, slots=True)
class Thickness:
    """Thickness of the cortex of one brain."""

    map_mm: NDArray[np.float32]
    """(X, Y, Z) 0 outside of the cortex."""
    pieces: NDArray[np.intp]
    """(X, Y, Z) number of the cube that a voxel lies in."""


def thickness_analysis(
    mask: NDArray[np.bool_], voxel_size_mm: tuple[float, float, float]
) -> Analysis[Thickness]:
    """Thickness of the cortex of one brain, from tissues that the same image gives."""
    return Analysis(MEASURES, partial(measure, mask=mask, voxel_size_mm=voxel_size_mm), compare_thickness)


def measure(image: Image, mask: NDArray[np.bool_], voxel_size_mm: tuple[float, float, float]) -> Thickness:
    """Measure how thick the grey matter is that a segmentation finds (DiReCT, Das et al., NeuroImage 2009).

    Parameters
    ----------
    image : (X, Y, Z) float32 array
        T1w.
    mask : (X, Y, Z) bool array
        Brain.
    voxel_size_mm : tuple of float

    Raises
    ------
    DenoisingError
        If Atropos or DiReCT gives up.
    """
    import ants as antspyx

    tissues = segment(image, mask, voxel_size_mm)
    grey, white = (TISSUES.index(name) for name in ("gm", "wm"))
    # DiReCT knows them by these numbers.
    labels = np.select([tissues.labels == grey + 1, tissues.labels == white + 1], [2, 3], 0)
    files = (labels, tissues.probabilities[grey], tissues.probabilities[white])
    whole, part, core = (
        antspyx.from_numpy(np.ascontiguousarray(one, dtype=np.float32), spacing=list(voxel_size_mm))
        for one in files
    )
    try:
        found = antspyx.kelly_kapowski(
            s=whole.clone("unsigned int"), g=part, w=core, its=_ITERATIONS, r=_STEP, m=_SMOOTHING
        )
    except Exception as error:  # antspyx raises nothing narrower
        raise DenoisingError(
            f"DiReCT: expected a cortex around white matter, found none ({error}); give a larger --crop"
        ) from error
    return Thickness(found.numpy(), _cubes(mask.shape, voxel_size_mm))


def compare_thickness(one: Thickness, other: Thickness) -> dict[str, float]:
    """Compare the thickness of one brain in two images.

    Returns
    -------
    differences : dict
        ``thickness_mm``: mean absolute difference over the cortex that both found;
        ``regional_thickness_mm``: of the means over pieces of cortex. 0 where both agree.
    """
    first, second = (which.map_mm > _THINNEST_MM for which in (one, other))
    both = first & second
    size = int(other.pieces.max()) + 1
    counts = [np.bincount(other.pieces[cortex], minlength=size) for cortex in (first, second)]
    sums = [
        np.bincount(other.pieces[cortex], which.map_mm[cortex], minlength=size)
        for cortex, which in ((first, one), (second, other))
    ]
    enough = np.minimum(*counts) >= _FEWEST
    means = [total[enough] / count[enough] for total, count in zip(sums, counts, strict=True)]
    return {
        "thickness_mm": float(np.mean(np.abs(one.map_mm - other.map_mm)[both])) if both.any() else 0.0,
        "regional_thickness_mm": float(np.mean(np.abs(means[0] - means[1]))) if enough.any() else 0.0,
    }


def _cubes(shape: tuple[int, ...], voxel_size_mm: tuple[float, float, float]) -> NDArray[np.intp]:
    """(X, Y, Z) numbers of cubes that fill a box."""
    places = [
        (np.arange(length) * size // _PIECE_MM).astype(int)
        for length, size in zip(shape, voxel_size_mm, strict=True)
    ]
    x, y, z = np.meshgrid(*places, indexing="ij")
    return (x * (y.max() + 1) + y) * (z.max() + 1) + z
