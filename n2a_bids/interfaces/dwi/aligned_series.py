"""Diffusion series on one grid, which stand in for each other where one lost signal or was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import isdefined, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.normalization import Mask, Volume
from n2a_bids.algorithms.preparation.lost_slices import lost_voxels, stand_in
from n2a_bids.algorithms.quality.spoiled_runs import SpoiledRun, find_spoiled_series
from n2a_bids.algorithms.registration.dwi_resampling import lowest_weighting, mean_b0
from n2a_bids.algorithms.transforms import Matrix
from n2a_bids.interfaces.dwi.alignment_record import SeriesRow
from n2a_bids.interfaces.resumable import StepInputSpec
from n2a_bids.io.images import load, load_volumes, save_like

_COMPARED_VOLUMES = 16
"""Of each series, spread over it: what spoils a series as a whole shows in them."""


class LossesInputSpec(StepInputSpec):
    """What `PickVolumes` found of slices that lost their signal."""

    lost_slices = traits.List(
        traits.List(traits.List(traits.Int())), desc="of each series: volume and slice that lost their signal"
    )
    slice_axes = traits.List(traits.Int(), desc="array axis across the slices of each; needed with these")


@dataclass(frozen=True, slots=True)
class ResampledSeries:
    """What is compared of a series on the grid of the first."""

    b0: Volume
    """Mean b0."""
    gradients: Gradients
    seen: Mask
    """Where its field of view lies."""
    lost: Mapping[int, Mask]
    """By volume: voxels of the grid that show slices without their signal."""

    @property
    def lost_of_b0(self) -> Mask:
        """Where a volume of the mean b0 lost its signal: darkness that is no shading and no shape."""
        of_b0 = lowest_weighting(self.gradients)
        dark = [mask for volume, mask in self.lost.items() if of_b0[volume]]
        return np.any([np.zeros(self.b0.shape, bool), *dark], axis=0)


@dataclass(frozen=True, slots=True)
class AlignedSeries(ResampledSeries):
    """What is left of a series once it is on disk."""

    path: Path
    noise_kept: float
    """Part of the noise SD that its interpolation left."""
    row: SeriesRow

    def b0_of_file(self) -> Volume:
        """Its mean b0 once others stand in for it."""
        return mean_b0(load(self.path)[0], self.gradients) if self.lost_of_b0.any() else self.b0


def place_losses(
    inputs: LossesInputSpec,
    index: int,
    shape: tuple[int, ...],
    voxel_maps: Sequence[Matrix],
    grid_shape: tuple[int, ...],
) -> dict[int, Mask]:
    """Where each volume of a series shows slices that lost their signal.

    Parameters
    ----------
    inputs : LossesInputSpec
        Of a node.
    index : int
        Of the series.
    shape, grid_shape
        See `lost_voxels`.
    voxel_maps : sequence of (4, 4) arrays
        Voxel of the grid to voxel of each volume.
    """
    if not isdefined(inputs.lost_slices):
        return {}
    by_volume: dict[int, list[int]] = {}
    for volume, number in inputs.lost_slices[index]:
        by_volume.setdefault(volume, []).append(number)
    axis = inputs.slice_axes[index]
    return {
        volume: lost_voxels(numbers, axis, shape, voxel_maps[volume], grid_shape)
        for volume, numbers in by_volume.items()
    }


def fill_unseen(data: NDArray[np.float32], own: ResampledSeries, first: AlignedSeries, mask: Mask) -> None:
    """Continue a series beyond its view by the first: the mean shows what is known, no edge.

    Parameters
    ----------
    data : (X, Y, Z, C) float32 array
        The series `own`; modified.
    own : ResampledSeries
    first : AlignedSeries
    mask : (X, Y, Z) bool array
        Brain, by which the first is brought to the unit of the series.
    """
    known = own.seen & mask
    if own.seen.all() or not known.any():
        return
    gain = mean_b0(data, own.gradients)[known].mean() / max(float(first.b0[known].mean()), 1e-12)
    data[~own.seen] = gain * load(first.path)[0][~own.seen]


def without_spoiled(
    series: Sequence[AlignedSeries], mask: Mask, *, may_leave_out_first: bool
) -> tuple[list[AlignedSeries], list[str]]:
    """Refuse the series without which the mean is better, as of a head that moved within the volumes.

    Parameters
    ----------
    series : sequence of AlignedSeries
        On one grid, with distortion alike; fewer than three that are used tell nothing.
    mask : (X, Y, Z) bool array
        Brain.
    may_leave_out_first : bool
        Whether the reference may be refused.

    Returns
    -------
    judged : list of AlignedSeries
        All of them.
    warnings : list of str
        A sentence for a spoiled one that stays.
    """
    judged, warnings = list(series), []
    used = [index for index, one in enumerate(series) if one.row.accepted]
    for run in _find_spoiled([series[index] for index in used], mask):
        index = used[run.index]
        one = judged[index]
        if run.worsens_mean and (index or may_leave_out_first):
            judged[index] = replace(one, row=replace(one.row, excluded=run.reason))
        else:
            warnings.append(run.warning(one.row.name))
    return judged, warnings


def _find_spoiled(series: Sequence[AlignedSeries], mask: Mask) -> tuple[SpoiledRun, ...]:
    """Which of three or more series are worse than the others by more than noise, by their index."""
    if len(series) < 3:
        return ()
    count = nb.load(series[0].path).shape[-1]
    volumes = np.unique(np.linspace(0, count - 1, _COMPARED_VOLUMES).round().astype(int))
    images = np.stack([load_volumes(one.path, volumes) for one in series])
    whole = np.all([mask, *(one.seen for one in series)], axis=0)
    nowhere = np.zeros(mask.shape, bool)
    return find_spoiled_series(
        (
            np.ascontiguousarray(images[..., place]),
            whole & ~np.any([one.lost.get(int(volume), nowhere) for one in series], axis=0),
        )
        for place, volume in enumerate(volumes)
    )


def let_others_stand_in(series: Sequence[AlignedSeries], mask: Mask) -> None:
    """Write into each series what the others show where its slices were lost, in its own unit.

    Averages would be too dark there, by more than their noise. Where no other shows a place, all stay as they
    are.

    Parameters
    ----------
    series : sequence of AlignedSeries
        On one grid, of corresponding volumes.
    mask : (X, Y, Z) bool array
        Brain, in which their units are compared.
    """
    whole = mask & ~np.any([one.lost_of_b0 for one in series], axis=0)
    levels = [float(one.b0[whole].mean()) if whole.any() else 1.0 for one in series]
    for index, one in enumerate(series):
        if not one.lost:
            continue
        others = [other for other in series if other is not one]
        gains = [levels[index] / max(level, 1e-12) for place, level in enumerate(levels) if place != index]
        data, _ = load(one.path)
        for volume, lost in one.lost.items():
            shown = [
                (np.asarray(nb.load(other.path).dataobj[..., volume], np.float32), other.lost.get(volume))
                for other in others
            ]
            found = stand_in(lost, shown, gains)
            data[..., volume] = np.where(np.isfinite(found), found, data[..., volume])
        save_like(data, one.path, one.path)
