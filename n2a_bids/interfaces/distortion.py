"""Susceptibility distortion of a pair of opposite phase encoding, estimated from its b0s."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion import estimate_displacement, intensity_factor, resample
from n2a_bids.algorithms.dwi_motion import register_rigid
from n2a_bids.algorithms.similarity import smooth_correlation
from n2a_bids.images import load, save_like, voxel_sizes_mm

_N_ROUNDS = 2
"""Displacement and head motion between the two series are estimated in turn."""


def phase_encoding_axis(direction: str) -> tuple[int, int]:
    """Array axis and polarity of a BIDS ``PhaseEncodingDirection``.

    Examples
    --------
    >>> phase_encoding_axis("j-")
    (1, -1)
    """
    direction = direction.strip()
    return "ijk".index(direction[0]), -1 if direction.endswith("-") else 1


class _EstimateDistortionInputSpec(BaseInterfaceInputSpec):
    b0_files = traits.List(
        File(exists=True), minlen=2, maxlen=2, mandatory=True, desc="mean b0 of each series"
    )
    mask_file = File(exists=True, mandatory=True, desc="brain mask on the first b0")
    phase_encoding = traits.Str(mandatory=True, desc="PhaseEncodingDirection of the first series")
    readout_ratio = traits.Float(
        1.0, usedefault=True, desc="TotalReadoutTime of the second series over that of the first"
    )


class _EstimateDistortionOutputSpec(TraitedSpec):
    displacement_file = File(exists=True, desc="voxels along the phase-encoding axis, for the first series")
    b0_files = traits.List(File(exists=True), desc="the two b0s, corrected, on the grid of the first")
    motion_file = File(exists=True, desc="JSON: voxel map from the first series to the second")
    figures_file = File(exists=True, desc="JSON of what was moved and how well the b0s agree")


class EstimateDistortion(SimpleInterface):
    """Displacement field and head motion between two series of opposite phase encoding."""

    input_spec = _EstimateDistortionInputSpec
    output_spec = _EstimateDistortionOutputSpec

    def _run_interface(self, runtime):
        inputs, folder = self.inputs, Path(runtime.cwd)
        axis, sign = phase_encoding_axis(inputs.phase_encoding)
        model = Path(inputs.b0_files[0])
        (first, affine), (second, _) = (load(Path(path)) for path in inputs.b0_files)
        mask = load(Path(inputs.mask_file))[0] > 0.5
        displacement, voxel_map, corrected = correct_pair(
            first, second, mask, voxel_sizes_mm(affine), axis, inputs.readout_ratio
        )
        displacement *= sign
        self._results["displacement_file"] = os.fspath(
            save_like(displacement, model, folder / "displacement.nii.gz")
        )
        self._results["b0_files"] = [
            os.fspath(save_like(image, model, folder / f"b0_{number}.nii.gz"))
            for number, image in enumerate(corrected, start=1)
        ]
        figures = _figures((first, second), corrected, displacement, mask, axis, voxel_sizes_mm(affine))
        for name, content in (("motion", voxel_map.tolist()), ("figures", figures)):
            path = folder / f"{name}.json"
            path.write_text(json.dumps(content, indent=2))
            self._results[f"{name}_file"] = os.fspath(path)
        return runtime


def correct_pair(
    first: NDArray,
    second: NDArray,
    mask: NDArray[np.bool_],
    voxel_size_mm: tuple[float, float, float],
    axis: int,
    readout_ratio: float = 1.0,
) -> tuple[NDArray[np.float32], NDArray[np.float64], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Displacement, motion and corrected images of a pair of b0s.

    Parameters
    ----------
    first, second : (X, Y, Z) arrays
        b0s of opposite polarity on one grid; `first` counts as positive.
    mask : (X, Y, Z) bool array
        Brain in `first`.
    voxel_size_mm : (3,) floats
    axis : int
        Phase-encoding axis.
    readout_ratio : float
        Displacement of the second image over that of the first.

    Returns
    -------
    displacement : (X, Y, Z) float32 array
        Voxels, of the first image.
    voxel_map : (4, 4) array
        Corrected grid to the second image, rigid part.
    corrected : pair of (X, Y, Z) float32 arrays
    """
    # Scanner gains may differ between the series: as a stretch they would be taken for distortion.
    second = second * np.float32(first[mask].mean() / max(float(second[mask].mean()), 1e-12))
    attempts = []
    voxel_map, still = np.eye(4), np.zeros(first.shape, np.float32)
    for _ in range(_N_ROUNDS):
        # The estimator takes displacements as mirror images: with unequal readouts it finds their mean.
        placed = resample(second, voxel_map, still, axis, 0)
        displacement = estimate_displacement(first, placed, axis) * np.float32(2 / (1 + readout_ratio))
        corrected = (
            resample(first, np.eye(4), displacement, axis, 1),
            resample(second, voxel_map, displacement * readout_ratio, axis, -1),
        )
        agreement = smooth_correlation(*corrected, mask, 0.7)
        attempts.append((agreement, displacement, voxel_map, corrected))
        voxel_map = voxel_map @ register_rigid(*corrected, mask, voxel_size_mm)
    # Head motion is believed only where it makes the corrected images more alike.
    _, displacement, voxel_map, corrected = max(attempts, key=lambda attempt: attempt[0])
    return displacement, voxel_map, corrected


def _figures(
    before: tuple[NDArray, NDArray],
    after: tuple[NDArray, NDArray],
    displacement: NDArray,
    mask: NDArray[np.bool_],
    axis: int,
    voxel_size_mm: tuple[float, float, float],
) -> dict[str, object]:
    moved_mm = np.abs(displacement[mask]) * voxel_size_mm[axis]
    folds = [intensity_factor(displacement, axis, sign) == 0 for sign in (1, -1)]
    return {
        "correlation_before": round(smooth_correlation(*before, mask, 0.7), 4),
        "correlation_after": round(smooth_correlation(*after, mask, 0.7), 4),
        "displacement_mm": {
            "median": round(float(np.median(moved_mm)), 3),
            "percentile_95": round(float(np.percentile(moved_mm, 95)), 3),
            "largest": round(float(moved_mm.max()), 3),
        },
        "folded_fraction": round(float(((folds[0] | folds[1]) & mask).sum() / mask.sum()), 5),
    }
