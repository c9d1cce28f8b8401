"""Refuses T1w runs that are copies of one measurement, and warns of noise that they share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from n2a_bids.algorithms.noise.copies import find_copies, find_dependent
from n2a_bids.algorithms.noise.shared_noise import SharedNoise, shared_noise
from n2a_bids.algorithms.transforms import Affine, Matrix, voxel_sizes_mm, world_points
from n2a_bids.enumeration import listing
from n2a_bids.io.images import load

_IN_PLACE_VOXELS = 1.0
"""Motion found between images up to which they are compared as their headers place them: a copy lies there
exactly, and registration of images with other intensities is off by a little."""


def find_shared_noise(
    files: Sequence[Path], transforms: Sequence[Matrix]
) -> dict[tuple[int, int], SharedNoise | None]:
    """Shared noise of every pair of images.

    Parameters
    ----------
    files : sequence of Path
        Images as acquired, 3D.
    transforms : sequence of (4, 4) float arrays
        World of the reference to world of each image.

    Returns
    -------
    shared : dict
        By indices of two images, the lower first; see `shared_noise`.
    """
    return {
        (one, other): _compare(
            files[one], files[other], (Affine(transforms[other]) @ ~Affine(transforms[one])).matrix
        )
        for one, other in combinations(range(len(files)), 2)
    }


def copy_reasons(
    files: Sequence[Path],
    shared: dict[tuple[int, int], SharedNoise | None],
    order: Sequence[int],
    names: Sequence[Path] | None = None,
) -> dict[int, str]:
    """Reasons to leave images out because they are no measurements of their own.

    Parameters
    ----------
    files : sequence of Path
        As acquired.
    shared : dict
        Of `find_shared_noise`.
    order : sequence of int
        Indices of all images, those that should stay first.
    names : sequence of Path, optional
        What they are called in the dataset.

    Returns
    -------
    reasons : dict of int to str
        By index.
    """
    names = files if names is None else names
    found = find_copies(load(files[index])[0] for index in order)
    reasons = {
        order[copy]: f"it is a copy of {names[order[first]].name}, not a second measurement"
        for copy, first in found.items()
    }
    rest = [index for index in order if index not in reasons]
    for one in find_dependent(shared, rest):
        sources = listing([names[source].name for source in one.sources])
        reasons[one.index] = (
            f"it holds the same noise as {sources} (correlation {one.correlation:.2f}, for two acquisitions "
            "0), so that it is no measurement of its own"
        )
    return reasons


def partial_warnings(
    files: Sequence[Path], shared: dict[tuple[int, int], SharedNoise | None], kept: Sequence[int]
) -> list[str]:
    """A sentence for each pair of images in use whose noise is alike in part."""
    return [
        f"{files[one].name} and {files[other].name} share part of their noise (correlation "
        f"{found.correlation:.2f}, 0 for two acquisitions), as a mean and one of its runs do, or two "
        "reconstructions of one acquisition: less noise goes than the numbers say; leave one of them out "
        "(n2a: --bids-filter-file)"
        for (one, other), found in shared.items()
        if found is not None and found.is_partial and one in kept and other in kept
    ]


def _compare(one: Path, other: Path, motion: Matrix) -> SharedNoise | None:
    (first, first_affine), (second, second_affine) = load(one), load(other)
    corners = np.array(np.meshgrid(*([0, size - 1] for size in first.shape[:3]))).reshape(3, -1).T
    moved_mm = Affine(motion).displacement_mm(world_points(corners, first_affine))
    in_place = moved_mm.mean() < _IN_PLACE_VOXELS * max(voxel_sizes_mm(first_affine))
    between = Affine() if in_place else Affine(motion)
    return shared_noise(first, second, between.between_voxels(first_affine, second_affine))
