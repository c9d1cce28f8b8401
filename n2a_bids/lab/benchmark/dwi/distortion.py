"""Compares corrections of susceptibility distortion (app, ANTs, PyHySCO): known field or real pair."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.distortion.blip_pair import BlipPair
from n2a_bids.algorithms.distortion.field import resample
from n2a_bids.algorithms.distortion.pepolar import correct_pair
from n2a_bids.algorithms.registration.rigid import register_rigid
from n2a_bids.algorithms.registration.similarity import smooth_correlation
from n2a_bids.lab.benchmark.dwi.pair_motion import motion_between, residual_motion_mm
from n2a_bids.lab.benchmark.table import RowTable

KEYS = ("pair", "snr", "motion", "method")
COLUMNS = (
    *KEYS,
    *("largest_voxels", "error_median_voxels", "error_95_voxels", "share_below_half_voxel"),
    *("residual_motion_mm", "rounds", "last_step_voxels"),
    *("correlation_before", "correlation_after", "seconds"),
)
_SMOOTH_VOXELS = 0.7
Volume = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DistortedPair:
    """Two b0s of opposite polarity on one grid."""

    name: str
    snr: str
    """Empty for a real pair."""
    plus: Volume
    minus: Volume
    mask: NDArray[np.bool_]
    """Brain, where errors and correlations are measured."""
    voxel_size_mm: tuple[float, float, float]
    axis: int
    truth: Volume | None = None
    """Displacement of `plus` in voxels, where it is known."""
    motion: str = "still"
    """Of the head between the images: a name of `MOTIONS`."""

    @property
    def between(self) -> NDArray[np.float64]:
        """(4, 4) voxel of `plus` to voxel of `minus` by this motion."""
        return motion_between(self.motion, self.plus.shape, self.voxel_size_mm, self.axis)


@dataclass(frozen=True, slots=True)
class Correction:
    """What a method found."""

    displacement: Volume
    corrected: tuple[Volume, Volume]
    voxel_map: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    """Motion from `plus` to `minus`; the identity for methods that look for none."""
    rounds: int | None = None
    last_step_voxels: float | None = None


def n2a(pair: DistortedPair) -> Correction:
    """The estimator of the app, head motion included."""
    blips = BlipPair(pair.plus, pair.minus, pair.mask, pair.voxel_size_mm, (pair.axis, pair.axis))
    found = correct_pair(blips)
    return Correction(
        found.displacement, found.corrected, found.voxel_map, found.n_rounds, found.last_step_voxels
    )


def rigid(pair: DistortedPair) -> Correction:
    """Rigid registration alone: what is left if distortion is not corrected."""
    still = np.zeros(pair.plus.shape, np.float32)
    voxel_map = register_rigid(pair.plus, pair.minus, pair.mask, pair.voxel_size_mm)
    corrected = (pair.plus, resample(pair.minus, voxel_map, still, pair.axis, 0))
    return Correction(still, corrected, voxel_map)


def ants(pair: DistortedPair) -> Correction:
    """Symmetric registration (SyN) by ANTs, restricted to the phase-encoding axis, cross-correlation."""
    import ants as antspyx

    images = [
        antspyx.from_numpy(np.ascontiguousarray(image, dtype=np.float32), spacing=pair.voxel_size_mm)
        for image in (pair.plus, pair.minus)
    ]
    only = tuple(float(axis == pair.axis) for axis in range(3))
    with tempfile.TemporaryDirectory() as folder:
        result = antspyx.registration(
            *images,
            "SyNOnly",
            initial_transform="Identity",
            restrict_transformation=only,
            syn_metric="CC",
            syn_sampling=3,
            reg_iterations=(60, 40, 20),
            outprefix=f"{folder}/",
        )
        warp = next(path for path in result["fwdtransforms"] if path.endswith(".nii.gz"))
        field = antspyx.image_read(warp).numpy()[..., pair.axis] / pair.voxel_size_mm[pair.axis]
    return _modulated(pair, _from_midpoint(-field / 2, pair.axis))


def pyhysco(program: str) -> Callable[[DistortedPair], Correction]:
    """PyHySCO (Julian and Ruthotto) with its defaults, by the program of this name."""

    def correct(pair: DistortedPair) -> Correction:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("plus.nii.gz", "minus.nii.gz")]
            for path, image in zip(paths, (pair.plus, pair.minus)):
                nb.Nifti1Image(image, np.diag([*pair.voxel_size_mm, 1.0])).to_filename(path)
            command = [program, *map(str, paths), str(pair.axis + 1), "--output_dir", f"{folder}/out"]
            subprocess.run(command, check=True, capture_output=True)
            field = np.asarray(nb.load(f"{folder}/out-EstFieldMap.nii.gz").dataobj, np.float32)
        # The field lies on the faces between voxels.
        low, high = (
            np.take(field, range(start, field.shape[pair.axis] - 1 + start), pair.axis) for start in (0, 1)
        )
        return _modulated(pair, (low + high) / 2 / pair.voxel_size_mm[pair.axis])

    return correct


def methods(hysco_program: str | None) -> dict[str, Callable[[DistortedPair], Correction]]:
    """Name and function of each method that can be run."""
    known = {"rigid": rigid, "n2a": n2a, "ants": ants}
    return known | ({"pyhysco": pyhysco(hysco_program)} if hysco_program else {})


def run_distortion(
    pairs: Sequence[DistortedPair],
    known: Mapping[str, Callable[[DistortedPair], Correction]],
    table_path: Path,
) -> Path:
    """Fill the table, pair by pair; rows that are there already are kept.

    Parameters
    ----------
    known : mapping
        Methods to compare, see :func:`methods`.
    table_path : Path
        TSV file.
    """
    table = RowTable(table_path, COLUMNS, KEYS)
    for pair in pairs:
        for name, correct in known.items():
            key = {"pair": pair.name, "snr": pair.snr, "motion": pair.motion, "method": name}
            if not table.has(key):
                started = time.perf_counter()
                correction = correct(pair)
                seconds = time.perf_counter() - started
                table.add(key | compare(pair, correction) | {"seconds": f"{seconds:.1f}"})
    return table_path


def compare(pair: DistortedPair, correction: Correction) -> dict[str, str]:
    """Errors against the known displacement and motion, and agreement of the corrected images."""
    mask = pair.mask
    row = {
        "correlation_before": smooth_correlation(pair.plus, pair.minus, mask, _SMOOTH_VOXELS),
        "correlation_after": smooth_correlation(*correction.corrected, mask, _SMOOTH_VOXELS),
        "residual_motion_mm": residual_motion_mm(
            correction.voxel_map, pair.between, mask, pair.voxel_size_mm, pair.axis
        ),
    }
    if correction.rounds is not None:
        row |= {"rounds": correction.rounds, "last_step_voxels": correction.last_step_voxels}
    if pair.truth is not None:
        error = np.abs(correction.displacement - pair.truth)[mask]
        row |= {
            "largest_voxels": float(np.abs(pair.truth[mask]).max()),
            "error_median_voxels": float(np.median(error)),
            "error_95_voxels": float(np.percentile(error, 95)),
            "share_below_half_voxel": float(np.mean(error < 0.5)),
        }
    return {name: f"{value:d}" if isinstance(value, int) else f"{value:.4f}" for name, value in row.items()}


def _modulated(pair: DistortedPair, displacement: NDArray) -> Correction:
    still = np.eye(4)
    corrected = tuple(
        resample(image, still, displacement, pair.axis, sign)
        for image, sign in ((pair.plus, 1), (pair.minus, -1))
    )
    return Correction(displacement.astype(np.float32), corrected)


def _from_midpoint(half: NDArray, axis: int, n_iterations: int = 20) -> NDArray:
    """Displacement on the undistorted grid, from half the way between the images on the grid of the first."""
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in half.shape), indexing="ij"))
    displacement = half
    for _ in range(n_iterations):
        moved = grid.copy()
        moved[axis] += displacement
        displacement = ndimage.map_coordinates(half, moved, order=1, mode="nearest")
    return displacement
