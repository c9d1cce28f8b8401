"""Cells of the benchmark: one truth, one noise level, one number of repetitions, one condition, one seed."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.lab.benchmark.truths import Truth, crop_truth, pad_truth
from n2a_bids.lab.simulation.lesions import second_echo
from n2a_bids.lab.simulation.runs import SimulatedRuns, SimulationConfig, simulate_runs

_ECHO_SPACING_S = 0.004

CONDITIONS: dict[str, dict[str, float]] = {
    "aligned": {},
    "moved": {"max_rotation_deg": 5.0, "max_translation_mm": 5.0},
    "uneven": {"noise_variation": 1.0, "max_gain_change": 0.2},
    "unequal": {"noise_ratio": 2.0},
    "echoes": {"echo_spacing_s": _ECHO_SPACING_S},
}
"""Name -> settings of the simulation. ``moved`` runs are realigned by the app's own alignment;
``echoes`` are repetitions of different contrast, and the first echo is what counts."""

MOVEMENT_MARGIN_VOXELS = 14
"""Air around the head, so that it stays in view wherever it moves."""

Aligner = Callable[[SimulatedRuns, NDArray[np.float64]], NDArray[np.float32]]
"""(runs, affine) -> (R, X, Y, Z) on the grid of the first run."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Where in the benchmark a row stands."""

    truth: str
    condition: str
    noise_level: float
    """Noise SD of one repetition over the in-mask SD of the truth."""
    n_repetitions: int
    seed: int

    def generator(self) -> np.random.Generator:
        """Generator that depends on the cell alone: every method, and a resumed run, sees the same data."""
        label = f"{self.truth} {self.condition} {self.noise_level:g} {self.n_repetitions}"
        return np.random.default_rng([zlib.crc32(label.encode()), self.seed])


@dataclass(frozen=True, slots=True)
class CellData:
    """What the methods of a cell get, and what they are judged by."""

    repetitions: Repetitions
    truth: NDArray[np.float32]
    """(X, Y, Z) clean image."""
    gains: NDArray[np.float64]
    """(R,) true factor on each repetition."""
    noise_sd: NDArray[np.float32]
    """(X, Y, Z) true noise SD of one repetition."""

    @property
    def matched(self) -> NDArray[np.float32]:
        """(R, X, Y, Z) repetitions with their true gains taken out."""
        return (self.repetitions.data[..., 0].T / self.gains).T.astype(np.float32)

    @property
    def comparable(self) -> NDArray[np.float32]:
        """(R', X, Y, Z) of `matched`, those that show the signal of the first: of echoes, the first only."""
        return self.matched if self.repetitions.same_contrast else self.matched[:1]

    @property
    def mean_noise_sd(self) -> float:
        """Root mean square over the mask of the noise SD of one repetition."""
        return float(np.sqrt(np.mean(self.noise_sd[self.repetitions.mask] ** 2)))


def plan_cells(
    truths: Iterable[str],
    conditions: Iterable[str],
    noise_levels: Iterable[float],
    repetitions: Iterable[int],
    n_seeds: int,
) -> list[Cell]:
    """All combinations; the seed varies slowest, so that an interrupted run has every cell once first."""
    grid = itertools.product(range(n_seeds), conditions, noise_levels, repetitions, truths)
    return [Cell(truth, condition, level, n, seed) for seed, condition, level, n, truth in grid]


def make_cell_data(cell: Cell, truth: Truth, crop: Sequence[int] | None, align: Aligner) -> CellData:
    """Simulate the runs of a cell and bring them onto one grid.

    Moved runs are made and aligned as whole images and cut to the box afterwards.

    Parameters
    ----------
    cell : Cell
    truth : Truth
        Whole image that `cell` names.
    crop : three ints, optional
        Box that counts, see `crop_truth`.
    align : callable
        Called for moved runs only.

    Returns
    -------
    data : CellData
        On the grid of the box.
    """
    settings = dict(CONDITIONS[cell.condition])
    moved = "max_rotation_deg" in settings
    core = crop_truth(truth, crop)
    stage = pad_truth(truth, MOVEMENT_MARGIN_VOXELS) if moved else core
    echo_spacing_s = settings.pop("echo_spacing_s", 0.0)
    generator = cell.generator()
    later = _later_echoes(stage, echo_spacing_s, cell.n_repetitions, generator) if echo_spacing_s else None
    config = SimulationConfig(
        noise_level=cell.noise_level,
        noise_unit=float(np.std(core.data[core.mask])),
        n_repetitions=cell.n_repetitions,
        **settings,
    )
    runs = simulate_runs(stage.data, stage.mask, config, generator, stage.voxel_size_mm, later)
    images = align(runs, stage.affine) if moved else runs.repetitions
    inside = place_of(core, stage)
    repetitions = Repetitions(
        data=np.ascontiguousarray(images[(slice(None), *inside)][..., None]),
        mask=core.mask,
        voxel_size_mm=core.voxel_size_mm,
        left_right_axis=core.left_right_axis,
        same_contrast=later is None,
    )
    return CellData(repetitions, core.data, runs.gains, runs.noise_sd[inside])


def _later_echoes(
    stage: Truth, spacing_s: float, n_echoes: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """(R, X, Y, Z) difference of each echo from the first."""
    seed = int(generator.integers(2**31))
    echoes = [
        second_echo(stage.data, stage.mask, number * spacing_s, np.random.default_rng(seed))
        for number in range(n_echoes)
    ]
    return np.stack(echoes) - stage.data


def place_of(core: Truth, stage: Truth) -> tuple[slice, ...]:
    """Box of `core` in the grid of `stage`."""
    offset = np.linalg.solve(stage.affine, core.affine)[:3, 3].round().astype(int)
    return tuple(slice(o, o + n) for o, n in zip(offset, core.data.shape, strict=True))
