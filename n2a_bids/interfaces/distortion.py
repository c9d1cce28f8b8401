"""Susceptibility distortion of a pair of opposite phase encoding, estimated from its b0s."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion import intensity_factor
from n2a_bids.algorithms.pepolar import PairCorrection, correct_pair
from n2a_bids.algorithms.similarity import smooth_correlation
from n2a_bids.images import load, save_like, voxel_sizes_mm


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
        correction = correct_pair(
            first,
            second,
            mask,
            voxel_size_mm=voxel_sizes_mm(affine),
            axis=axis,
            readout_ratio=inputs.readout_ratio,
        )
        displacement = correction.displacement * np.float32(sign)
        self._results["displacement_file"] = os.fspath(
            save_like(displacement, model, folder / "displacement.nii.gz")
        )
        self._results["b0_files"] = [
            os.fspath(save_like(image, model, folder / f"b0_{number}.nii.gz"))
            for number, image in enumerate(correction.corrected, start=1)
        ]
        figures = _figures((first, second), correction, mask, axis, voxel_sizes_mm(affine))
        for name, content in (("motion", correction.voxel_map.tolist()), ("figures", figures)):
            path = folder / f"{name}.json"
            path.write_text(json.dumps(content, indent=2))
            self._results[f"{name}_file"] = os.fspath(path)
        return runtime


def _figures(
    before: tuple[NDArray, NDArray],
    correction: PairCorrection,
    mask: NDArray[np.bool_],
    axis: int,
    voxel_size_mm: tuple[float, float, float],
) -> dict[str, object]:
    displacement = correction.displacement
    moved_mm = np.abs(displacement[mask]) * voxel_size_mm[axis]
    folds = [intensity_factor(displacement, axis, sign) == 0 for sign in (1, -1)]
    return {
        "correlation_before": round(smooth_correlation(*before, mask, 0.7), 4),
        "correlation_after": round(smooth_correlation(*correction.corrected, mask, 0.7), 4),
        "displacement_mm": {
            "median": round(float(np.median(moved_mm)), 3),
            "percentile_95": round(float(np.percentile(moved_mm, 95)), 3),
            "largest": round(float(moved_mm.max()), 3),
        },
        "folded_fraction": round(float(((folds[0] | folds[1]) & mask).sum() / mask.sum()), 5),
        "motion_between_series": {
            "rounds": correction.n_rounds,
            "last_step_voxels": correction.last_step_voxels,
            "converged": correction.converged,
        },
        "warnings": list(correction.warnings),
    }
