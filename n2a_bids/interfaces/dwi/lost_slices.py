"""Lets aligned diffusion series stand in for each other where slices of one have lost their signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, isdefined, traits

from n2a_bids.algorithms.normalization import Mask
from n2a_bids.algorithms.preparation.lost_slices import lost_voxels, stand_in
from n2a_bids.algorithms.registration.transforms import Matrix
from n2a_bids.io.images import load, save_like


class LossesInputSpec(BaseInterfaceInputSpec):
    """What `PickVolumes` found of slices that lost their signal."""

    lost_slices = traits.List(
        traits.List(traits.List(traits.Int())), desc="of each series: volume and slice that lost their signal"
    )
    slice_axes = traits.List(traits.Int(), desc="array axis across the slices of each; needed with these")


@dataclass(frozen=True, slots=True)
class SeriesWithLosses:
    """An aligned series on disk."""

    path: Path
    level: float
    """Mean intensity of its b0 in the brain."""
    lost: Mapping[int, Mask]
    """By volume: voxels of the grid that show slices without their signal."""


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


def let_others_stand_in(series: Sequence[SeriesWithLosses]) -> None:
    """Write into each series what the others show where its slices were lost, in its own unit.

    Averages would be too dark there, by more than their noise. Where no other shows a place, all stay as they
    are.

    Parameters
    ----------
    series : sequence of SeriesWithLosses
        On one grid, of corresponding volumes.
    """
    for one in series:
        if not one.lost:
            continue
        others = [other for other in series if other is not one]
        gains = [one.level / max(other.level, 1e-12) for other in others]
        data, _ = load(one.path)
        for volume, lost in one.lost.items():
            shown = [
                (np.asarray(nb.load(other.path).dataobj[..., volume], np.float32), other.lost.get(volume))
                for other in others
            ]
            found = stand_in(lost, shown, gains)
            data[..., volume] = np.where(np.isfinite(found), found, data[..., volume])
        save_like(data, one.path, one.path)
