"""Cells of the T1w benchmark: truth, noise level, number of repetitions, condition, seed; their data."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.shading import with_shading_of
from n2a_bids.lab.benchmark.truths import Truth, crop_truth, pad_truth
from n2a_bids.lab.simulation.conditions import Condition, find_condition
from n2a_bids.lab.simulation.kspace import without_phase
from n2a_bids.lab.simulation.lesions import second_echo
from n2a_bids.lab.simulation.runs import SimulatedRuns, SimulationConfig, simulate_runs
from n2a_bids.lab.simulation.scans import scan_repetitions, spectrum_of_box

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
    """(X, Y, Z) true noise SD of one repetition, root mean square over all."""
    noise_spectrum: NDArray[np.float32] | None = None
    """(X, Y, Z) true power of the noise over frequency, mean 1, zero frequency first; None for white noise,
    and where no one spectrum tells it."""
    run_noise: NDArray[np.float64] | None = None
    """(R,) true noise SD of each repetition over `noise_sd`; None where they are equal."""

    @property
    def matched(self) -> NDArray[np.float32]:
        """(R, X, Y, Z) repetitions with their true gains taken out."""
        return (self.repetitions.data[..., 0].T / self.gains).T.astype(np.float32)

    @property
    def comparable(self) -> NDArray[np.float32]:
        """(R', X, Y, Z) of `matched`, those that show the signal of the first: of echoes, the first only."""
        return self.matched if self.repetitions.same_contrast else self.matched[:1]

    @property
    def best_weighted(self) -> CellData:
        """One repetition, the mean of `comparable` weighted by what is true of their noise."""
        variances = np.ones(len(self.comparable)) if self.run_noise is None else self.run_noise**2
        weights = 1 / variances / np.sum(1 / variances)
        mean = np.einsum("r,rxyz->xyz", weights, self.comparable).astype(np.float32)
        noise_sd = self.noise_sd * np.float32(np.sqrt(np.sum(weights**2 * variances)))
        repetitions = replace(self.repetitions, data=mean[None, ..., None])
        return replace(self, repetitions=repetitions, gains=np.ones(1), noise_sd=noise_sd, run_noise=None)

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
    """Simulate the runs of a cell and bring them onto one grid; `CONDITIONS` says how.

    Moved runs are made and aligned as whole images and cut to the box afterwards.

    Parameters
    ----------
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
    condition = find_condition(cell.condition)
    if condition.is_scanned:
        return _scanned_data(cell, condition, truth, crop)
    settings = dict(condition.settings)
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
    if config.shading_ratio != 1:
        first, spacing_mm = images[0], stage.voxel_size_mm
        images = np.stack([with_shading_of(first, image, runs.mask, spacing_mm) for image in images])
    inside = place_of(core, stage)
    repetitions = core.repetitions(images[(slice(None), *inside)], same_contrast=later is None)
    run_noise = config.run_noise if config.noise_ratio != 1 else None
    return CellData(repetitions, runs.truth[inside], runs.gains, runs.noise_sd[inside], run_noise=run_noise)


def _scanned_data(cell: Cell, condition: Condition, truth: Truth, crop: Sequence[int] | None) -> CellData:
    """Runs of a condition whose k-space is touched: whole along these axes, then cut to the box."""
    core = crop_truth(truth, crop)
    whole = [
        truth.data.shape[axis] if axis in condition.kspace_axes else length
        for axis, length in enumerate(core.data.shape)
    ]
    stage = crop_truth(truth, whole)
    inside = place_of(core, stage)
    level = cell.noise_level * float(np.std(core.data[core.mask]))
    generator = cell.generator()
    scans = scan_repetitions(stage.data, stage.mask, condition, cell.n_repetitions, level, generator)
    images = scans.repetitions
    if condition.is_complex:
        images = np.stack([without_phase(image, (0, 1, 2)).real for image in images])
    repetitions = core.repetitions(images[(slice(None), *inside)], real_valued=condition.is_complex)
    gains, spectrum = np.ones(cell.n_repetitions), scans.noise_spectrum
    if spectrum is not None:
        spectrum = spectrum_of_box(spectrum, core.mask.shape)
    return CellData(repetitions, scans.reference[inside], gains, scans.noise_sd[inside], spectrum)


def _later_echoes(
    stage: Truth, spacing_s: float, n_echoes: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """(R, X, Y, Z) difference of each echo from the first."""
    seed = int(generator.integers(2**31))
    echoes = [
        second_echo(stage.data, stage.mask, index * spacing_s, np.random.default_rng(seed))
        for index in range(n_echoes)
    ]
    return np.stack(echoes) - stage.data


def place_of(core: Truth, stage: Truth) -> tuple[slice, ...]:
    """Box of `core` in the grid of `stage`."""
    offset = np.linalg.solve(stage.affine, core.affine)[:3, 3].round().astype(int)
    return tuple(slice(o, o + n) for o, n in zip(offset, core.data.shape, strict=True))
