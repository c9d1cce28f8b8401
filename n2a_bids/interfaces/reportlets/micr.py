"""Report figures of micrographs, as nodes: before and after, detail, residual, resolution, drift."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    File,
    InputMultiObject,
    TraitedSpec,
)
from numpy.typing import NDArray

from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.interfaces.reportlets.anat import FigureInterface
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.files import write_whole
from n2a_bids.io.images import load
from n2a_bids.io.json import read_typed, record_text
from n2a_bids.record.alignment import AlignmentRecord
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.viz import micrographs as viz
from n2a_bids.viz.viewer import ViewerGroup, encode_groups

_VIEWER_EDGE = 1536
"""Pixels of the middle of an image that the viewer shows."""

_SQUARE = 0.01
"""Relative difference of the edges of a pixel that is square."""


class _ImagesInputSpec(StepInputSpec):
    out_files = InputMultiObject(File(exists=True), mandatory=True, desc="aligned exposures")
    mean = File(exists=True, mandatory=True, desc="mean of the exposures")
    denoised = File(exists=True, mandatory=True, desc="denoised image")
    mask_file = File(exists=True, mandatory=True, desc="pixels that count")


class MicrographFlicker(FigureInterface):
    """One exposure, the mean and the denoised image in one grey window."""

    input_spec = _ImagesInputSpec

    def _draw(self) -> str:
        return viz.image_flicker(*_three(self.inputs))


class MicrographDetail(FigureInterface):
    """The same three, the piece with the most structure, pixel by pixel."""

    input_spec = _ImagesInputSpec

    def _draw(self) -> str:
        return viz.detail(*_three(self.inputs))


class _ResidualInputSpec(_ImagesInputSpec):
    residual = File(exists=True, mandatory=True, desc="mean minus denoised")
    noise_sd = File(exists=True, mandatory=True, desc="noise of one exposure")


class MicrographResidual(FigureInterface):
    """What was taken away, in noise SDs of the mean."""

    input_spec = _ResidualInputSpec

    def _draw(self) -> str:
        noise_sd = _plane(self.inputs.noise_sd) / np.sqrt(len(self.inputs.out_files))
        return viz.residual_picture(_plane(self.inputs.residual), noise_sd)


class _RingsInputSpec(StepInputSpec):
    record_file = File(exists=True, mandatory=True, desc="JSON of n2a-tools denoise")
    mean = File(exists=True, mandatory=True, desc="mean of the exposures")
    denoised = File(exists=True, mandatory=True, desc="denoised image")


class RingChart(FigureInterface):
    """Fourier ring correlation before and after, and the spectra of mean and denoised image."""

    input_spec = _RingsInputSpec

    def _draw(self) -> str:
        record = read_typed(DenoisingRecord, Path(self.inputs.record_file))
        return viz.ring_chart(
            record.ring_correlation,
            _plane(self.inputs.mean),
            _plane(self.inputs.denoised),
            square_pixel_nm(load(Path(self.inputs.mean))[1]),
        )


def square_pixel_nm(affine: NDArray[np.float64]) -> float | None:
    """Edge of a pixel in nm; None where it is not known, or its edges differ, as in tomograms by light (OCT).

    A ring holds frequencies of all directions, which in nm are others then.

    Parameters
    ----------
    affine : (4, 4) float array
        Pixels to mm; without a size the grid has one of 1 mm.

    Examples
    --------
    >>> square_pixel_nm(np.diag([4e-6, 4e-6, 1, 1])), square_pixel_nm(np.diag([3e-3, 1e-2, 1, 1]))
    (4.0, None)
    """
    across, down, _ = voxel_sizes_mm(affine)
    if across >= 1 or abs(across / down - 1) > _SQUARE:
        return None
    return float(across * 1e6)


class _DriftInputSpec(StepInputSpec):
    alignment_file = File(exists=True, mandatory=True, desc="JSON of the alignment")


class DriftChart(FigureInterface):
    """Where each exposure, or each frame of a movie, lay relative to the first."""

    input_spec = _DriftInputSpec

    def _draw(self) -> str:
        record = read_typed(AlignmentRecord, Path(self.inputs.alignment_file))
        if record.frame_drift_pixels:
            return viz.drift_chart(record.frame_drift_pixels, "frame")
        return viz.drift_chart([row.drift_pixels or (0.0, 0.0) for row in record.used])


class _ViewerInputSpec(_ImagesInputSpec):
    noise_sd = File(exists=True, mandatory=True, desc="noise of one exposure")


class _ViewerOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="JSON of what the viewer shows")


class MicrographViewer(ResumableInterface):
    """Quantise one exposure, the mean, the denoised image, residual and noise for the viewer page."""

    input_spec = _ViewerInputSpec
    output_spec = _ViewerOutputSpec

    def _run_interface(self, runtime):
        exposure, mean, denoised = (_upright(plane) for plane in _three(self.inputs))
        noise_sd = _upright(_plane(self.inputs.noise_sd))
        group = ViewerGroup(mean, denoised, repetition=exposure, noise_sd=noise_sd)
        counted = np.ones(mean.shape, bool)
        record = replace(encode_groups([group], counted, np.eye(4)), coverage="micrograph")
        self._results["out_file"] = os.fspath(
            write_whole(Path(runtime.cwd) / "viewer.json", record_text(record))
        )
        return runtime


def _upright(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """(X, Y, 1) volume that the viewer shows as the image is: rows go down there, Y goes up."""
    edges = [slice(max((size - _VIEWER_EDGE) // 2, 0), (size + _VIEWER_EDGE) // 2) for size in plane.shape]
    return np.ascontiguousarray(plane[tuple(edges)].T[:, ::-1, None], dtype=np.float32)


def _three(inputs: _ImagesInputSpec) -> tuple[NDArray, NDArray, NDArray]:
    return _plane(inputs.out_files[0]), _plane(inputs.mean), _plane(inputs.denoised)


def _plane(path: str) -> NDArray[np.float32]:
    """(rows, columns): the middle plane, the mean of its channels."""
    data = load(Path(path))[0]
    data = data.reshape(*data.shape, *(1,) * (4 - data.ndim))
    return data[:, :, data.shape[2] // 2].mean(axis=-1).T
