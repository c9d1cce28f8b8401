"""``benchmark --modality dwi --downstream``: FA, MD, main direction and a bundle of denoised series."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.tensor import (
    fit_tensor,
    fractional_anisotropy,
    mean_diffusivity,
    principal_direction,
)
from n2a_bids.algorithms.masked_filters import largest_piece
from n2a_bids.algorithms.quality.mask_checks import dice
from n2a_bids.errors import ConfigError
from n2a_bids.lab.benchmark.downstream.analyses import Analysis, Image
from n2a_bids.lab.benchmark.downstream.averages import LADDER, disjoint_groups, group_means
from n2a_bids.lab.benchmark.downstream.rows import Job, Scene, check_sizes, fill_cell, jobs_of, write_summary
from n2a_bids.lab.benchmark.dwi.methods import denoise_simulated
from n2a_bids.lab.benchmark.dwi.phantoms import Simulated, Truth, simulate
from n2a_bids.lab.benchmark.dwi.run import DiffusionPlan
from n2a_bids.lab.benchmark.strategies import MethodSettings
from n2a_bids.lab.benchmark.table import RowTable
from n2a_bids.lab.benchmark.worker import run_in_child

MEASURES = ("fa", "md", "v1_deg", "bundle_overlap", "bundle_volume")
_FIBRE_FA = 0.25
"""FA above which a main direction is worth comparing."""
_CORE, _CORE_FA = 0.05, 0.4
"""Part of the brain where the truth has the highest FA, and what it is at least: a bundle is begun there."""
_END_FA = 0.2
"""FA of an image where a bundle ends."""
_LARGEST_TURN_DEG, _STEP, _MOST_STEPS = 60.0, 0.5, 1000
"""Steps in parts of the shortest voxel edge."""


@dataclass(frozen=True, slots=True)
class DiffusionMaps:
    """What a series says of a brain."""

    fa: NDArray[np.float64]
    """(N,) over the voxels of the mask."""
    md: NDArray[np.float64]
    """(N,) mm2/s."""
    v1: NDArray[np.float64]
    """(N, 3) unit vectors, world."""
    bundle: NDArray[np.bool_]
    """(X, Y, Z) voxels that the streamlines visit."""


def diffusion_analysis(truth: Truth, world_axes: NDArray[np.float64]) -> Analysis[DiffusionMaps]:
    """Tensor maps, and the bundle through the largest piece of high FA of the truth.

    Parameters
    ----------
    world_axes : (3, 3) array
        Unit vectors of the array axes in the world, as columns.

    Raises
    ------
    ConfigError
        If the truth has no voxel of an FA above 0.4.
    """
    fit = fit_tensor(truth.signal, truth.gradients, truth.mask)
    seeds = find_seeds(fit.to_volume(fractional_anisotropy(fit)))
    analyse = partial(_analyse, truth=truth, world_axes=world_axes, seeds=seeds)
    return Analysis(MEASURES, analyse, compare_maps)


def find_seeds(fa: NDArray[np.floating]) -> NDArray[np.float64]:
    """Places where a bundle is begun: across the middle of the largest connected piece of high FA.

    Parameters
    ----------
    fa : (X, Y, Z) array
        Of the truth.

    Returns
    -------
    seeds : (S, 3) array
        In voxels, eight in each voxel.
    """
    places = np.argwhere(largest_piece(fa >= max(_CORE_FA, np.quantile(fa[fa > 0], 1 - _CORE))))
    if not len(places):
        raise ConfigError(
            f"--truth: expected a bundle with an FA above {_CORE_FA} in the box, found none; move --crop"
        )
    axis = int(np.argmax(np.ptp(places, axis=0)))
    middle = places[places[:, axis] == int(np.median(places[:, axis]))]
    corners = np.stack(np.meshgrid(*[(-0.25, 0.25)] * 3), axis=-1).reshape(-1, 3)
    return (middle[:, None] + corners).reshape(-1, 3)


def track(
    fa: NDArray[np.floating],
    directions: NDArray[np.floating],
    seeds: NDArray[np.float64],
    voxel_size_mm: tuple[float, float, float],
) -> NDArray[np.bool_]:
    """Follow main directions from every seed both ways, and tell which voxels are visited.

    As FACT does (Mori et al., Annals of Neurology 1999): each voxel has its own direction. `eudx_tracking` of
    dipy 1.12 gives other streamlines at every call, which would count as an error of the image.

    Parameters
    ----------
    fa : (X, Y, Z) array
        Streamlines end where it falls below 0.2.
    directions : (X, Y, Z, 3) array
        Unit vectors along the array axes; signs do not matter.
    seeds : (S, 3) array
        In voxels.
    voxel_size_mm : tuple of float

    Returns
    -------
    bundle : (X, Y, Z) bool array
    """
    sizes = np.asarray(voxel_size_mm)
    first = _nearest(directions, np.rint(seeds).astype(int))
    bundle = np.zeros(fa.shape, bool)
    for sign in (1, -1):
        places, heading = seeds.copy(), sign * first
        for _ in range(_MOST_STEPS):
            voxels = np.rint(places).astype(int)
            inside = ((voxels >= 0) & (voxels < fa.shape)).all(axis=1)
            inside[inside] = fa[tuple(voxels[inside].T)] >= _END_FA
            places, heading, voxels = places[inside], heading[inside], voxels[inside]
            bundle[tuple(voxels.T)] = True
            ahead = _nearest(directions, voxels)
            cosine = np.sum(ahead * heading, axis=1)
            straight = np.abs(cosine) > np.cos(np.radians(_LARGEST_TURN_DEG))
            heading = (np.sign(cosine)[:, None] * ahead)[straight]
            places = places[straight] + heading * _STEP * sizes.min() / sizes
    return bundle


def _nearest(directions: NDArray[np.floating], voxels: NDArray[np.intp]) -> NDArray[np.floating]:
    """(S, 3) directions of these voxels."""
    return directions[tuple(voxels.T)]


def _analyse(
    image: NDArray[np.float32], truth: Truth, world_axes: NDArray[np.float64], seeds: NDArray[np.float64]
) -> DiffusionMaps:
    fit = fit_tensor(image, truth.gradients, truth.mask)
    fa, v1 = fractional_anisotropy(fit), principal_direction(fit)
    along_axes = fit.to_volume(v1 @ world_axes)
    bundle = track(fit.to_volume(fa), along_axes, seeds, truth.voxel_size_mm)
    return DiffusionMaps(fa, mean_diffusivity(fit), v1, bundle)


def compare_maps(one: DiffusionMaps, other: DiffusionMaps) -> dict[str, float]:
    """Compare the maps of two series of one brain.

    Parameters
    ----------
    one, other : DiffusionMaps
        Main directions are compared where the FA of the second exceeds 0.25.

    Returns
    -------
    differences : dict
        ``fa`` and ``md`` (mm2/s): mean absolute difference; ``v1_deg``: mean angle; ``bundle_overlap``: 1
        minus the Dice coefficient; ``bundle_volume``: absolute difference over the second volume.
    """
    cosine = np.abs(np.sum(one.v1 * other.v1, axis=1))[other.fa > _FIBRE_FA]
    n_one, n_other = np.count_nonzero(one.bundle), np.count_nonzero(other.bundle)
    return {
        "fa": float(np.abs(one.fa - other.fa).mean()),
        "md": float(np.abs(one.md - other.md).mean()),
        "v1_deg": float(np.degrees(np.arccos(np.clip(cosine, 0, 1))).mean()),
        "bundle_overlap": 1 - dice(one.bundle, other.bundle),
        "bundle_volume": abs(n_one / max(n_other, 1) - 1),
    }


def run_series(
    truths: Sequence[Truth],
    world_axes: NDArray[np.float64],
    plan: DiffusionPlan,
    repetitions: Sequence[int],
    table: RowTable,
) -> int:
    """Fit what every method makes of a pair, and plain means of 1 to 16 repetitions.

    Parameters
    ----------
    world_axes : (3, 3) array
        Unit vectors of their array axes in the world, as columns.
    plan : DiffusionPlan
        Its conditions of the head do not count: repetitions are aligned.
    repetitions : sequence of int
        How many the methods get.
    table : RowTable
        With the columns of ``downstream.tsv``; the noise level is told as the SNR of the b0.

    Returns
    -------
    exit_code : int
        0, or 1 if a method failed somewhere; the others' results stand.

    Raises
    ------
    ConfigError
        If methods are to get more repetitions than are simulated.
    """
    check_sizes(repetitions)
    jobs = jobs_of(plan.methods, repetitions)
    for seed, scan, snr, truth in itertools.product(plan.seeds, plan.scans, plan.snrs, truths):
        cell = {"truth": truth.name, "condition": scan, "noise_level": f"SNR {snr:g}", "seed": seed}
        make_scene = partial(_make_scene, truth, world_axes, plan, scan, snr, seed)
        fill_cell(table, cell, jobs, MEASURES, make_scene)
        write_summary(table, table.path.parent)
    return write_summary(table, table.path.parent)


def _make_scene(
    truth: Truth, world_axes: NDArray[np.float64], plan: DiffusionPlan, scan: str, snr: float, seed: int
) -> Scene:
    simulated = simulate(truth, "repeat", snr, seed, plan.peak_mm, scan, n_repetitions=LADDER[-1])
    analyses = {"diffusion": diffusion_analysis(simulated.truth, world_axes)}
    settings = replace(plan.settings, random_seed=seed)
    return Scene(simulated.truth.signal, analyses, partial(_denoise, simulated, settings, snr))


def _denoise(simulated: Simulated, settings: MethodSettings, snr: float, job: Job) -> list[Image]:
    name, size = job
    data = simulated.repetitions.data
    if name == "mean":
        return group_means(data, size)
    parts = [_part(simulated, group) for group in disjoint_groups(len(data), size)]
    return [run_in_child(partial(denoise_simulated, name, part, settings, snr)).image for part in parts]


def _part(simulated: Simulated, group: slice) -> Simulated:
    """Some of the repetitions."""
    data = np.ascontiguousarray(simulated.repetitions.data[group])
    unphased = None if simulated.unphased is None else simulated.unphased[group]
    return replace(simulated, repetitions=replace(simulated.repetitions, data=data), unphased=unphased)
