"""Cells of the micrograph benchmark: exposures of known dose and drift, and their data."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.micrographs.alignment import align
from n2a_bids.algorithms.micrographs.drift import estimate_drift
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrographs import read_micrograph

_READ_NOISE_COUNTS = 0.5
_MARGIN = 24
"""Pixels around the crop that drift can bring in."""
_DARKEST = 0.03
"""Counts of the darkest pixel over the mean: no micrograph is black."""


@dataclass(frozen=True, slots=True)
class MicrographTruth:
    """A clean image."""

    name: str
    image: NDArray[np.float32]
    """(X, Y) expected counts over their mean."""


@dataclass(frozen=True, slots=True)
class MicrographCell:
    """One simulated field of view."""

    truth: str
    dose: float
    """Mean counts of a pixel in one exposure."""
    n_repetitions: int
    seed: int


@dataclass(frozen=True, slots=True)
class MicrographData:
    """Exposures of a cell."""

    repetitions: Repetitions
    """Aligned on the first; the mask is what all cover."""
    truth: NDArray[np.float32]
    """(X, Y) expected counts in the place of the first exposure."""
    drift_error_pixels: float
    """Largest error of the estimated drift."""


def load_micrograph_truth(path: Path, crop: tuple[int, ...] | None) -> MicrographTruth:
    """Read a clean image and cut out its middle.

    Parameters
    ----------
    path : Path
        PNG or TIFF; of RGB the mean is taken.
    crop : tuple of int or None
        Edges along X and Y of what is judged; all by default.

    Raises
    ------
    BIDSDataError
        If the image is too small for drift.
    """
    image = read_micrograph(path).pixels[:, :, 0].mean(axis=-1, dtype=np.float32)
    if crop:
        edges = [min(edge + 2 * _MARGIN, size) for edge, size in zip(crop, image.shape)]
        low = [(size - edge) // 2 for size, edge in zip(image.shape, edges)]
        image = image[tuple(slice(start, start + edge) for start, edge in zip(low, edges))]
    if min(image.shape) < 4 * _MARGIN:
        raise BIDSDataError(f"{path}: expected {4 * _MARGIN} pixels at least, found {image.shape}")
    image = image - image.min()
    image = image + np.float32(_DARKEST) * image.mean()
    return MicrographTruth(path.name.split(".")[0], image / image.mean())


def plan_micrograph_cells(
    truths: Sequence[str], doses: Sequence[float], repetitions: Sequence[int], n_seeds: int
) -> list[MicrographCell]:
    """All combinations, seeds last but outermost, so that every cell has some result early."""
    grid = itertools.product(range(n_seeds), truths, doses, repetitions)
    return [MicrographCell(truth, dose, n, seed) for seed, truth, dose, n in grid]


def make_micrograph_data(
    cell: MicrographCell, truth: MicrographTruth, largest_drift: float
) -> MicrographData:
    """Simulate exposures with Poisson and readout noise, and undo their drift as the app does.

    Parameters
    ----------
    largest_drift : float
        Pixels along each axis; the first exposure has none.
    """
    rng = np.random.default_rng([cell.seed, cell.n_repetitions, round(1000 * cell.dose)])
    expected = truth.image * np.float32(cell.dose)
    inside = (slice(_MARGIN, -_MARGIN),) * 2
    shifts = rng.uniform(-largest_drift, largest_drift, (cell.n_repetitions, 2))
    shifts[0] = 0
    exposures = []
    for shift in shifts:
        moved = ndimage.shift(expected, shift, order=5, mode="mirror") if shift.any() else expected
        counts = rng.poisson(np.maximum(moved[inside], 0)).astype(np.float32)
        exposures.append(counts + _READ_NOISE_COUNTS * rng.standard_normal(counts.shape, np.float32))
    drift = estimate_drift(np.stack(exposures))
    aligned, covered = align(np.stack(exposures), drift)
    return MicrographData(
        repetitions=Repetitions(aligned[..., None, None], covered[..., None], micrograph=True),
        truth=expected[inside],
        drift_error_pixels=float(np.abs(drift.shift_pixels - shifts).max()),
    )
