"""Volumes (b-value, direction) and voxel size that several diffusion series have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import nibabel as nb
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.diffusion.gradients import antipodal_angle_deg, match_tables
from n2a_bids.algorithms.quality.voxel_sizes import other_sizes, spell_sizes
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.dataset.grouping.protocols import reason_not_together
from n2a_bids.dataset.read.gradient_tables import Series
from n2a_bids.io.gradients import world_rotation

_MIN_FRACTION = 0.5
_MOST_LOST = 0.1
"""Part of the diffusion-weighted volumes of several series that one which joins them may cost."""
_SAME_SIZE = 1e-3
"""Relative difference of voxel sizes that rounding in headers makes."""
_LARGEST_VOXEL_RATIO = 1.3
"""Of edge lengths along one direction of the head: the one resampling evens out less."""
_SAME_DIRECTION_DEG = 5.0
_FRAMES = Rotation.create_group("O").as_matrix()
"""All turns that exchange or mirror axes."""
_FEWEST_IN_FRAME = 6
"""Directions that tell a table of another frame from another table."""
_LARGEST_TURN_DEG = 30.0
"""Directions that are nearest to each other and farther apart are other directions, not rotated ones."""


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

    Grids need not agree: field of view, matrix, order of storage and angle are evened out when the series are
    aligned. Directions are compared in the world.

    Parameters
    ----------
    series : sequence of Series
        Two or more.

    Returns
    -------
    common : CommonPart or None
        None where the series share no diffusion-weighted volume, or fewer than half of
        those of the longest, or have clearly different voxel sizes or echo times: then it is better
        to denoise each by itself. `reason_not_common` says which.
    """
    first = series[0]
    # Each with each: what the first does not tell, two others may tell apart.
    if any(
        voxel_difference(*pair) or _protocol_difference(*pair) or _is_in_another_frame(*pair)
        for pair in combinations(series, 2)
    ):
        return None
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


def common_part_with(group: Sequence[Series], other: Series) -> CommonPart | None:
    """Find the volumes that a group and one more series share, unless this one would cost it too many.

    A run that was broken off, or another table with some directions alike, is worth less than the volumes
    that several others would lose. Of two series alone, either is the shorter one's repetition.

    Returns
    -------
    common : CommonPart or None
        As `common_part`; None also where two or more would lose more than a tenth of what they share.
    """
    common = common_part((*group, other))
    if common is None or len(group) < 2:
        return common
    shared = common_part(group)
    return None if shared and loses_too_many(shared.n_weighted, common.n_weighted) else common


def loses_too_many(n_before: int, n_after: int) -> bool:
    """Whether so many diffusion-weighted volumes are too few, of those that were shared before.

    Examples
    --------
    >>> loses_too_many(30, 27), loses_too_many(30, 26)
    (False, True)
    """
    return n_after < (1 - _MOST_LOST) * n_before


def reason_not_beside(first: Series, other: Series) -> str:
    """Why voxels and volumes of two series cannot be compared one by one; empty where they can.

    They need one matrix, voxel size and table in one order. Field of view, angle and storage order may
    differ: the heads are looked for.

    Returns
    -------
    reason : str
        Half a sentence about `other`.
    """
    if first.image.parts or other.image.parts:
        return "of complex data each series is denoised by itself"
    if first.affine is None or other.affine is None:
        return "its place in space is not known"
    shapes = [nb.load(one.image.path).shape for one in (first, other)]
    sizes = [voxel_sizes_mm(one.affine) for one in (first, other)]
    if shapes[0][:3] != shapes[1][:3] or not np.allclose(*sizes, rtol=_SAME_SIZE):
        told = [
            f"{' x '.join(map(str, shape[:3]))} voxels of {spell_sizes(size_mm)} mm"
            for shape, size_mm in zip(shapes, sizes, strict=True)
        ]
        return f"it has {told[1]}, the series {told[0]}"
    common = common_part((first, other))
    if common is None:
        return reason_not_common(first, other)
    if not common.volumes:
        return ""
    if len(common.volumes[0]) < max(shapes[0][3], shapes[1][3]):
        return f"of {shapes[0][3]} and {shapes[1][3]} volumes, {len(common.volumes[0])} are in both tables"
    return "its volumes stand in another order of the table; store both in one order"


def reason_not_common(first: Series, other: Series) -> str:
    """Why two series share too little to be denoised together, with numbers.

    Parameters
    ----------
    first, other : Series
        For which `common_part` gives None.

    Returns
    -------
    reason : str
        Half a sentence about `other`; empty where they share enough.
    """
    if common_part((first, other)) is not None:
        return ""
    name = other.image.path.name
    against = voxel_difference(first, other) or _protocol_difference(first, other)
    return against or f"the gradient table of {name} is another: " + _table_difference(first, other)


def voxel_difference(first: Series, other: Series) -> str:
    """Why voxels of another size keep a series from being a repeat; empty where they do not."""
    unequal = unequal_voxels(first, other)
    return f"{unequal} for one to repeat the other" if unequal else ""


def unequal_voxels(first: Series, other: Series) -> str:
    """Voxel sizes along each axis of the first grid, where they differ too much; else empty."""
    if first.affine is None or other.affine is None:
        return ""
    sizes = other_sizes(first.affine, other.affine, _LARGEST_VOXEL_RATIO)
    return f"voxels of {sizes} mm ({other.image.path.name}) differ too much" if sizes else ""


def _protocol_difference(first: Series, other: Series) -> str:
    return reason_not_together(first.image, other.image, "dwi")


def _table_difference(first: Series, other: Series) -> str:
    """What sets two tables apart: b-values, a turn of all directions, or the directions themselves."""
    own, its = (one.gradients.subset(np.flatnonzero(one.weighted)) for one in (first, other))
    its_name, own_name = other.image.path.name, first.image.path.name
    if min(own.bvals.size, its.bvals.size) < _MIN_FRACTION * max(own.bvals.size, its.bvals.size):
        return f"{its.bvals.size} diffusion-weighted volumes, {own.bvals.size} in {own_name}"
    same_b = len(match_tables(own, its, max_angle_deg=90.0))
    longest = max(own.bvals.size, its.bvals.size)
    if same_b < _MIN_FRACTION * longest:
        return f"b-values of {_range(its.bvals)} s/mm2, {_range(own.bvals)} in {own_name}"
    if _is_in_another_frame(first, other):
        return (
            f"its directions are those of {own_name} with axes of the array mirrored or exchanged; where "
            "both are of one protocol, one of the tables is wrong: convert that series again"
        )
    angles = _nearest_angles_deg(own.bvecs, its.bvecs)
    if angles.max() <= _SAME_DIRECTION_DEG:
        return f"its directions are those of {own_name}, with other b-values for the same directions"
    if np.median(angles) < _LARGEST_TURN_DEG and angles.max() < 2 * _LARGEST_TURN_DEG:
        return (
            f"its directions differ by up to {angles.max():.1f} degrees from those of {own_name} in the world"
        )
    n_common = len(match_tables(own, its))
    return f"only {n_common} of {own.bvals.size} directions of {own_name} are in {its_name}"


def _is_in_another_frame(first: Series, other: Series) -> bool:
    """Whether one table is the other with axes of the array mirrored or exchanged, and not as it is.

    Tables that are symmetric in part have many directions in common with such an image of themselves, but
    those of other volumes: series of which one was converted wrongly would be averaged across directions.
    """
    own, its = (one.gradients.subset(np.flatnonzero(one.weighted)) for one in (first, other))
    fewest = min(own.bvals.size, its.bvals.size)
    if other.affine is None or fewest < _FEWEST_IN_FRAME or len(match_tables(own, its)) == fewest:
        return False
    axes = world_rotation(other.affine)
    # Directions have no sign: mirrored axes are turned ones.
    turned = (replace(its, bvecs=its.bvecs @ axes @ frame @ axes.T) for frame in _FRAMES)
    return any(len(match_tables(own, table)) == fewest for table in turned)


def _nearest_angles_deg(own: NDArray[np.float64], its: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles of the pairs of directions that are nearest to each other as a whole, in degrees."""
    angles = antipodal_angle_deg(own, its)
    return angles[linear_sum_assignment(angles)]


def _range(bvals: NDArray[np.float64]) -> str:
    low, high = np.round(bvals.min()), np.round(bvals.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _summary(n_common: int, is_partial: bool) -> str:
    return f"gradient tables with {n_common} volumes in common" if is_partial else "the same gradient table"


def _unused(series: Series, chosen: Sequence[int]) -> str:
    left = sorted(set(range(series.gradients.bvals.size)) - set(chosen))
    if not left:
        return ""
    named = ", ".join(f"{index} (b={series.gradients.bvals[index]:g})" for index in left)
    return f"{series.image.path.name}: volumes without a partner are not used: {named}, counted from 0"
