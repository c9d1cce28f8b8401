"""Two real diffusion series that the app has aligned, as its step ``align`` left them in the work folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.algorithms.normalization import equal_gains
from n2a_bids.algorithms.registration.dwi_resampling import resample_series, series_noise_kept
from n2a_bids.algorithms.registration.motion_measures import even_intensity, undo_rotations
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.transforms import Affine, voxel_sizes_mm
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.gradients import phase_encoding_of, read_gradients
from n2a_bids.io.images import load
from n2a_bids.io.transforms import read_transforms

Series = NDArray[np.float32]

_FILE_LISTS = ("in_files", "bval_files", "bvec_files", "motion_files", "displacement_files")


@dataclass(frozen=True, slots=True)
class FirstSeries:
    """The first series as acquired, and how it lies."""

    data: Series
    """(X, Y, Z, C)."""
    affine: NDArray[np.float64]
    gradients: Gradients
    motion: list[Affine]
    """World of the corrected grid to the world of each volume."""
    displacement: Series
    """(X', Y', Z') on the corrected grid, in own voxels along `axis`; zero where there is no distortion."""
    axis: int


@dataclass(frozen=True, slots=True)
class RealPair:
    """Two real series of one person that the app has aligned."""

    name: str
    first: FirstSeries
    second: Series
    """(X, Y, Z, C) corrected, in the intensity of the first."""
    acquired_mask: NDArray[np.bool_]
    """(X, Y, Z) brain on the first series as acquired, and"""
    mask: NDArray[np.bool_]
    """corrected."""
    affine: NDArray[np.float64]
    """Of the corrected grid."""

    @property
    def _place(self) -> tuple[list[NDArray[np.float64]], Series, int, NDArray[np.bool_]]:
        first = self.first
        maps = [motion.between_voxels(self.affine, first.affine) for motion in first.motion]
        return maps, first.displacement, first.axis, self.mask

    def correct(self, image: Series) -> Series:
        """Bring what was made of the first series to the corrected head."""
        return resample_series(image, *self._place)

    def repetitions(self, *, corrected: bool) -> Repetitions:
        """The first series as methods get it."""
        first, sizes = self.first, voxel_sizes_mm(self.affine)
        if not corrected:
            return Repetitions(first.data[None], self.acquired_mask, sizes, gradients=first.gradients)
        kept = series_noise_kept(first.data.shape[:3], *self._place)
        return Repetitions(
            self.correct(first.data)[None], self.mask, sizes, gradients=self.gradients, noise_kept=kept
        )

    @property
    def gradients(self) -> Gradients:
        """Table of the corrected series."""
        return undo_rotations(self.first.gradients, self.first.motion)


def load_aligned(folder: Path) -> RealPair:
    """Read what the app's step ``align`` was given and gave.

    Parameters
    ----------
    folder : Path
        Of that step, in the work directory of a run on two series.

    Raises
    ------
    BIDSDataError
        If it is no such folder, or two series are not in it.
    """
    inputs = _read_inputs(folder)
    acquired_mask, affine = load(Path(inputs["mask_file"]))
    first = _read_first(inputs, affine, acquired_mask.shape)
    second, mask = load(folder / "aligned_2.nii.gz")[0], load(folder / "mask.nii.gz")[0] > 0.5
    found = RealPair(inputs["names"][0].split(".")[0], first, second, acquired_mask > 0.5, mask, affine)
    pair = np.stack([found.correct(first.data), second])
    gain = equal_gains(pair, mask, find_shells(first.gradients) == 0)[1]
    return replace(found, second=second * np.float32(gain))


def _read_inputs(folder: Path) -> dict[str, Any]:  # inputs of a nipype node, as it keeps them
    """What the step was given, from the list that its engine keeps beside the results, without check sums."""
    lists = list(folder.glob("_0x*.json"))
    if len(lists) != 1 or not (folder / "aligned_2.nii.gz").exists():
        raise BIDSDataError(
            f"{folder}: expected the folder 'align' of a run of n2a on two series, with aligned_2.nii.gz, "
            "found another; give WORK/n2a_.../sub_.../..._dwi_repeats/align"
        )
    found = dict(json.loads(lists[0].read_text(encoding="utf-8")))
    found["mask_file"] = found["mask_file"][0]
    for name in [key for key in found if key in _FILE_LISTS]:
        found[name] = [Path(path) for path, _ in found[name]]
    return found


def _read_first(
    inputs: dict[str, Any],  # as above
    affine: NDArray[np.float64],
    shape: tuple[int, ...],
) -> FirstSeries:
    displacement, axis = np.zeros(shape, np.float32), 1
    if "displacement_files" in inputs:
        displacement = load(inputs["displacement_files"][0])[0]
        direction = [float(part) for part in inputs["phase_encoding"][0]]
        axis = "ijk".index(phase_encoding_of(direction, affine)[0])
    data, own_affine = load(inputs["in_files"][0])
    motion = read_transforms(inputs["motion_files"][0])
    even_intensity(data, motion)
    return FirstSeries(
        data,
        own_affine,
        read_gradients(
            inputs["bval_files"][0],
            inputs["bvec_files"][0],
            affine,
            b0_threshold=float(inputs["b0_threshold"]),
        ),
        motion,
        displacement,
        axis,
    )
