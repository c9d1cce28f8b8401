"""Refuses volumes in another order, without image or with maps as b0; warns of those unlike their b-value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.algorithms.quality.volume_signal import (
    lacks_contrast,
    signal_of_volumes,
    unlike_shell,
)
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.dataset.read.gradient_tables import b0_signal_problem
from n2a_bids.enumeration import enumerated
from n2a_bids.errors import BIDSDataError

_MOST_NAMED = 5
_MOST_COMPARED = 4000
"""Voxels by which the order of volumes is compared."""
_CLEARLY_BETTER = 0.7
"""Mismatch in another order over that in the same, which chance among equal volumes does not reach."""


def refuse_other_order(
    paths: Sequence[Path], images: Sequence[NDArray[np.float32]], mask: NDArray[np.bool_]
) -> None:
    """Refuse series whose volumes match those of the first in another order: there is one table for all.

    Parameters
    ----------
    images : sequence of (X, Y, Z, C) float32 arrays
        One for each path; of three axes they have no order.
    mask : (X, Y, Z) bool array

    Raises
    ------
    BIDSDataError
        Names the series.
    """
    if images[0].ndim < 4:
        return
    step = max(1, int(mask.sum()) // _MOST_COMPARED)
    first, *others = (image[mask][::step].astype(np.float64) for image in images)
    for path, other in zip(paths[1:], others, strict=True):
        matched = other * (first.mean() / (other.mean() or 1.0))
        mismatch = (first**2).sum(axis=0)[:, None] + (matched**2).sum(axis=0) - 2 * first.T @ matched
        rows, best = linear_sum_assignment(mismatch)
        if mismatch[rows, best].sum() < _CLEARLY_BETTER * np.trace(mismatch):
            volume = int(np.flatnonzero(best != rows)[0])
            raise BIDSDataError(
                f"{path}: expected its volumes in the order of {paths[0]}, found that other pairs match "
                f"better (its {best[volume]} with {volume} of that, counted from 0); bring them into "
                "one order, which is that of the table"
            )


def check_series(runs: Sequence[Path], repetitions: Repetitions) -> list[str]:
    """Compare the signal of the volumes of each diffusion series with their b-values: see `check_signal`.

    Parameters
    ----------
    runs : sequence of Path
        Their files, for the message.
    repetitions : Repetitions
        Of other images nothing is checked.
    """
    if repetitions.gradients is None:
        return []
    shells = find_shells(repetitions.gradients)
    found = [
        check_signal(series, shells, range(shells.size), run)
        for run, series in zip(runs, repetitions.data, strict=True)
    ]
    return [warning for warnings in found for warning in warnings]


def refuse_empty_volumes(data: NDArray[np.float32], indices: Sequence[int], path: Path) -> None:
    """Refuse a series in which a volume holds a single value.

    Parameters
    ----------
    data : (X, Y, Z, C) array
    indices : sequence of int
        Of the volumes in their file, from 0.
    path : Path
        Of the series, for the message.

    Raises
    ------
    BIDSDataError
        Names the volume.
    """
    flat = [index for index, volume in zip(indices, np.moveaxis(data, -1, 0)) if np.ptp(volume) == 0]
    if flat:
        raise BIDSDataError(
            f"{path}: expected an image in every volume, found one value in volume {flat[0]} (counted "
            f"from 0; {len(flat)} such), as an aborted scan leaves it; remove it from series and table"
        )


def check_signal(
    data: NDArray[np.float32], shells: NDArray[np.float64], indices: Sequence[int], path: Path
) -> list[str]:
    """Compare the signal of volumes with their b-values.

    Parameters
    ----------
    data : (X, Y, Z, C) array
        Magnitudes.
    shells : (C,) array
        b-value of each volume, 0 for b0.
    indices, path
        See `refuse_empty_volumes`.

    Returns
    -------
    warnings : list of str
        Of weighted volumes unlike their shell, and of b0s no brighter than these.

    Raises
    ------
    BIDSDataError
        If a b0 differs from the other b0s.
    """
    signal = signal_of_volumes(data)
    problem = b0_signal_problem(signal, shells, indices, path)
    if problem:
        raise BIDSDataError(problem)
    warnings = []
    if unlike := unlike_shell(signal, shells):
        volumes = [f"{indices[one.volume]} (b={one.shell:g}, {one.ratio:.2f} times)" for one in unlike]
        warnings.append(
            f"{path.name}: the signal of volumes is not that of the others of their b-value: "
            f"{enumerated(volumes, _MOST_NAMED)}, counted from 0; does the gradient table stand in the "
            "order of the volumes, or was signal lost?"
        )
    if lacks_contrast(signal, shells):
        warnings.append(
            f"{path.name}: the b0s are no brighter than volumes with diffusion weighting: does the gradient "
            "table belong to this series, and does it stand in the order of its volumes?"
        )
    return warnings
