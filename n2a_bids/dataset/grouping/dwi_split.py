"""Finds single DTI series with enough directions to be split into two halves."""

from __future__ import annotations

import numpy as np

from n2a_bids.algorithms.diffusion.gradients import antipodal_angle_deg
from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.algorithms.diffusion.split import tensor_condition_number
from n2a_bids.dataset.read.gradient_tables import Series, encodings
from n2a_bids.dataset.units import DenoisingUnit

_MIN_DIRECTIONS = 12
_SAME_DIRECTION_DEG = 5.0
_MOST_LISTED = 5
# Above, the tensor is no longer a fair model of the signal; below, noise outweighs the diffusion contrast.
_B_RANGE = (300.0, 1500.0)
# Evenly spread directions give 1.6, tables of scanner vendors up to 3; directions in one plane have no bound.
_MAX_CONDITION_NUMBER = 4.0


def reason_against_split(series: Series) -> str:
    """Why a series cannot be split into two tensor scans, or an empty string.

    Parameters
    ----------
    series : Series
        Its gradient table decides.

    Returns
    -------
    reason : str
        Half a sentence.
    """
    bvecs = series.gradients.bvecs
    shells = np.unique(find_shells(series.gradients)[series.weighted])
    if not series.weighted.any():
        return "it has no diffusion-weighted volume"
    if series.weighted.all():
        return "it has no b0 volume"
    if shells.size > 1:
        return f"it has {shells.size} shells ({_list_shells(shells)})"
    if not _B_RANGE[0] <= shells[0] <= _B_RANGE[1]:
        return (
            f"b={shells[0]:g} is outside the range of the tensor model ({_B_RANGE[0]:g} to {_B_RANGE[1]:g})"
        )
    n_directions = _count_directions(bvecs[series.weighted])
    if n_directions < _MIN_DIRECTIONS:
        return f"it has {n_directions} different directions, fewer than 2 x 6"
    condition = tensor_condition_number(bvecs[series.weighted])
    if condition > _MAX_CONDITION_NUMBER:
        return f"its directions are not well spread (condition number {condition:.1f})"
    return ""


def find_dti_split(series: Series) -> DenoisingUnit:
    """Unit of one series that is split into two tensor scans (see `reason_against_split`)."""
    directions = series.gradients.bvecs[series.weighted]
    shell = find_shells(series.gradients).max()
    return DenoisingUnit(
        kind="dwi-split",
        images=(series.image,),
        entities=dict(series.image.entities),
        reason=(
            f"no repetition; one shell of b={shell:g} with {_count_directions(directions)} well-spread "
            "directions, enough for two tensor fits"
        ),
        phase_encoding=encodings((series,)),
        notes=series.notes,
    )


def _list_shells(shells: np.ndarray) -> str:
    if shells.size > _MOST_LISTED:
        return f"b={shells[0]:g} to {shells[-1]:g}"
    return ", ".join(f"b={shell:g}" for shell in shells)


def _count_directions(bvecs: np.ndarray) -> int:
    """Directions that differ by more than a few degrees."""
    different: list[np.ndarray] = []
    for bvec in bvecs:
        if not different or antipodal_angle_deg(bvec[None], np.array(different)).min() > _SAME_DIRECTION_DEG:
            different.append(bvec)
    return len(different)
