"""`BlipPair`: two b0s of opposite phase encoding on one grid, from which distortion is estimated."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion.field import DistortionConfig, estimate_displacement, in_view, resample
from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.registration.dwi_contrasts import largest_shift_voxels
from n2a_bids.algorithms.registration.rigid import register_rigid
from n2a_bids.algorithms.registration.similarity import smooth_correlation
from n2a_bids.algorithms.transforms import inverse

Volume = NDArray[np.float32]
VoxelMap = NDArray[np.float64]

_AGREEMENT_SMOOTHING_VOXELS = 0.7
_BOX_MARGIN_VOXELS = 4
_PARALLEL = 0.9
"""Cosine between phase-encoding axes that one displacement can serve."""


@dataclass(frozen=True, slots=True)
class BlipPair:
    """Both images, on grids that may differ, and where the second lies as seen from the first.

    Raises
    ------
    ValueError
        If the phase-encoding axes are not parallel.
    """

    first: Volume
    """(X, Y, Z)."""
    second: Volume
    """(X', Y', Z')."""
    mask: NDArray[np.bool_]
    """(X, Y, Z) brain in the first."""
    voxel_size_mm: tuple[float, float, float]
    """Of the first."""
    axes: tuple[int, int]
    """Phase-encoding axis of each in its own array."""
    start: VoxelMap = field(default_factory=lambda: np.eye(4))
    """Voxel of the first to voxel of the second by their affines."""
    readout_ratio: float = 1.0
    """Total readout time of the second over that of the first."""

    def __post_init__(self) -> None:
        along = self.start[:3, self.axis]
        if abs(along[self.axes[1]]) < _PARALLEL * np.linalg.norm(along):
            raise ValueError(
                f"phase-encoding axis {'ijk'[self.axes[0]]} of the first image is not parallel to axis "
                f"{'ijk'[self.axes[1]]} of the second"
            )

    @property
    def axis(self) -> int:
        """Phase-encoding axis of the first image."""
        return self.axes[0]

    def second_displacement(self, displacement: Volume) -> Volume:
        """Displacement of the second image, in its voxels along its own axis, from that of the first."""
        # Fields move by voxels, whatever their size; storage may run the other way.
        mirrored = np.sign(self.start[self.axes[1], self.axis])
        return (-mirrored * self.readout_ratio * displacement).astype(np.float32)

    def corrected(
        self, voxel_map: VoxelMap, displacement: Volume | None = None, order: int = 5
    ) -> tuple[Volume, Volume]:
        """Both images on the grid of the first, without the distortion, where one is given."""
        still = np.zeros(self.first.shape, np.float32)
        own = still if displacement is None else displacement
        other = self.second_displacement(own)
        first = (
            self.first
            if displacement is None
            else resample(self.first, np.eye(4), own, self.axis, 1, order=order)
        )
        return first, resample(self.second, voxel_map, other, self.axes[1], 1, order=order)

    def images(self, voxel_map: VoxelMap, displacement: Volume | None = None) -> tuple[Volume, Volume]:
        """Both images, as `corrected` gives them, in one intensity unit: a gain would be taken for a stretch.

        Where one image ends, the other continues it: the border of the view is no edge of the head.
        """
        first, second = self.corrected(voxel_map, displacement, order=3)
        first_seen, seen = self._views(voxel_map, displacement)
        common = self.mask & first_seen & seen
        level = float(second[common].mean()) if common.any() else 0.0
        if not level > 0:
            raise ValueError("the second image holds no signal in the brain of the first")
        second = second * np.float32(first[common].mean() / level)
        return np.where(first_seen, first, second), np.where(seen, second, first)

    def shown(self, voxel_map: VoxelMap, displacement: Volume) -> NDArray[np.bool_]:
        """Brain that both images show: nothing else can be compared; all of it where they show none."""
        common = np.logical_and.reduce([self.mask, *self._views(voxel_map, displacement)])
        return common if common.any() else self.mask

    def _views(
        self, voxel_map: VoxelMap, displacement: Volume | None
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where each image was measured, on the grid of the first."""
        own = np.zeros(self.first.shape, np.float32) if displacement is None else displacement
        other = self.second_displacement(own)
        return (
            in_view(self.first.shape, np.eye(4), own, self.axis, 1),
            in_view(self.second.shape, voxel_map, other, self.axes[1], 1),
        )

    def estimate(self, images: tuple[Volume, Volume], config: DistortionConfig) -> Volume:
        """Displacement between two images on the grid of the first, from the slab of the brain."""
        box = _slab(self.mask, self.axis)
        size_ratio = abs(self.start[self.axes[1], self.axis])
        found = estimate_displacement(
            *(image[box] for image in images),
            self.axis,
            config,
            readout_ratio=self.readout_ratio / size_ratio,
        )
        margins = [(part.start, size - part.stop) for part, size in zip(box, self.mask.shape)]
        return np.pad(found, margins, mode="edge")

    def step(self, images: tuple[Volume, Volume]) -> VoxelMap:
        """Rigid motion left between two images on the grid of the first, where no field can stand for it."""
        return register_rigid(*images, self.mask, self.voxel_size_mm, held_axis=self.axis)

    def step_size(self, step: VoxelMap) -> float:
        """Voxels by which a motion moves the brain at most."""
        return largest_shift_voxels(step, self.mask)

    def misdirection(self, voxel_map: VoxelMap, displacement: Volume) -> float:
        """Voxels by which displacements of the second image across the axis of the first are neglected."""
        linear = inverse(voxel_map)[:3, self.axes[1]]
        across = np.delete(linear, self.axis)
        largest = float(np.percentile(np.abs(displacement[self.mask]), 99))
        return float(np.linalg.norm(across)) * self.readout_ratio * largest


def agreement(first: Volume, second: Volume, mask: NDArray[np.bool_]) -> float:
    """Correlation of two images in the brain, both blurred a little against noise."""
    return smooth_correlation(first, second, mask, _AGREEMENT_SMOOTHING_VOXELS)


def _slab(mask: NDArray[np.bool_], axis: int) -> tuple[slice, ...]:
    """Box around the brain, of full length along one axis: the rest costs time and tells little."""
    box = list(bounding_box(mask, _BOX_MARGIN_VOXELS))
    box[axis] = slice(0, mask.shape[axis])
    return tuple(box)
