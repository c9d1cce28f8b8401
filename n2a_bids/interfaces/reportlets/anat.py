"""Report figures of T1w and of all kinds, as nodes: mask, alignment, denoising, residual, noise, risk.

Each interface loads its images, brings them to RAS order and hands arrays to :mod:`n2a_bids.viz`.
All write ``out_file`` into the working directory of the node.
Where to store the figures so that the participant page finds them: see
:mod:`n2a_bids.reports.pages.participant`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    File,
    InputMultiObject,
    TraitedSpec,
    isdefined,
    traits,
)
from numpy.typing import NDArray

from n2a_bids import viz
from n2a_bids.interfaces.derivatives.sink import WriteDerivatives
from n2a_bids.interfaces.dwi.series import b0_threshold_trait, read_shells
from n2a_bids.interfaces.reportlets.scene import load_display, map_of_volumes
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.files import write_whole
from n2a_bids.io.json import read_typed
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.viz.view import Frame


class _FigureOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="the figure, SVG")


class FigureInterface(ResumableInterface):
    """A node that draws one figure: subclasses say how in `_draw`.

    Where there is nothing to show its file is empty, and `WriteFigures` leaves it out.
    """

    output_spec = _FigureOutputSpec

    def _draw(self) -> str:
        """Return the SVG document, or no text at all where there is nothing to show."""
        raise NotImplementedError

    def _run_interface(self, runtime):
        out_file = write_whole(Path(runtime.cwd) / f"{type(self).__name__}.svg", self._draw())
        self._results["out_file"] = os.fspath(out_file)
        return runtime


class WriteFigures(WriteDerivatives):
    """Copy the figures that show something; one of an earlier run that shows nothing now is deleted."""

    def _files(self) -> Iterator[tuple[str, str, JsonObject]]:
        for source, target, sidecar in super()._files():
            if Path(source).stat().st_size:
                yield source, target, sidecar
            else:
                Path(target).unlink(missing_ok=True)


class _MaskContoursInputSpec(StepInputSpec):
    in_file = File(exists=True, mandatory=True, desc="image under the contour, 3D")
    mask_file = File(exists=True, mandatory=True, desc="brain mask, same grid")


class MaskContours(FigureInterface):
    """Outline of the brain mask over the image."""

    input_spec = _MaskContoursInputSpec

    def _draw(self) -> str:
        scene = load_display([self.inputs.in_file], self.inputs.mask_file)
        return viz.mask_contours(scene.volumes[0], scene.frame)


class _AlignmentFlickerInputSpec(StepInputSpec):
    reference_file = File(exists=True, mandatory=True, desc="repetition that the others are aligned to, 3D")
    before_file = File(exists=True, mandatory=True, desc="repetition before alignment, any grid")
    after_file = File(exists=True, mandatory=True, desc="repetition after alignment, any grid")
    mask_file = File(exists=True, mandatory=True, desc="brain mask on the grid of the reference")
    label = traits.Str("repetition", usedefault=True, desc="name of the repetition, e.g. run-2")
    reference_label = traits.Str("reference", usedefault=True, desc="name of the reference, e.g. run-1")


class AlignmentFlicker(FigureInterface):
    """Reference against one repetition, before and after alignment."""

    input_spec = _AlignmentFlickerInputSpec

    def _draw(self) -> str:
        files = [self.inputs.reference_file, self.inputs.before_file, self.inputs.after_file]
        scene = load_display(files, self.inputs.mask_file)
        return viz.alignment_flicker(
            *scene.volumes, scene.frame, names=(self.inputs.reference_label, self.inputs.label)
        )


class _ImagesInputSpec(StepInputSpec):
    mean_file = File(exists=True, mandatory=True, desc="plain mean of the aligned repetitions")
    denoised_file = File(exists=True, mandatory=True, desc="denoised image")
    mask_file = File(exists=True, mandatory=True, desc="brain mask, same grid")
    volume = traits.Int(0, usedefault=True, desc="volume shown of 4D images, from 0")


class _DenoisingInputSpec(_ImagesInputSpec):
    repetition_file = File(
        exists=True, desc="one aligned repetition, 3D or 4D; none where there is only one, which is the mean"
    )


class DenoisingFlicker(FigureInterface):
    """One repetition, the mean and the denoised image in one grey window."""

    input_spec = _DenoisingInputSpec

    def _draw(self) -> str:
        images = _compared_images(self.inputs)
        if images is None:
            return ""
        return viz.denoising_flicker(*images)


class DetailZoom(FigureInterface):
    """Enlarged pieces of cortex: one repetition, the mean and the denoised image side by side."""

    input_spec = _DenoisingInputSpec

    def _draw(self) -> str:
        images = _compared_images(self.inputs)
        if images is None:
            return ""
        return viz.detail_zoom(*images)


def _compared_images(inputs) -> tuple[NDArray | None, NDArray, NDArray, Frame] | None:
    """Repetition, mean, denoised image and their frame; none where one image alone was left as it is."""
    files = [inputs.mean_file, inputs.denoised_file]
    if isdefined(inputs.repetition_file):
        scene = load_display([inputs.repetition_file, *files], inputs.mask_file, inputs.volume)
        return *scene.volumes, scene.frame
    scene = load_display(files, inputs.mask_file, inputs.volume)
    return None if np.array_equal(*scene.volumes) else (None, *scene.volumes, scene.frame)


class _ResidualMapInputSpec(_ImagesInputSpec):
    repetition_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="all aligned repetitions, on the grid of the mean"
    )
    noise_sd_file = File(exists=True, desc="noise SD of one repetition; without it, taken from repetitions")
    same_contrast = traits.Bool(
        True, usedefault=True, desc="false for echoes: their difference is not noise alone"
    )


class ResidualMap(FigureInterface):
    """What denoising removed from the mean, beside the difference of two repetitions."""

    input_spec = _ResidualMapInputSpec

    def _draw(self) -> str:
        repetitions = list(self.inputs.repetition_files)
        shown = repetitions[:2] if self.inputs.same_contrast else []
        files = [self.inputs.mean_file, self.inputs.denoised_file, *shown]
        has_noise_map = isdefined(self.inputs.noise_sd_file)
        if has_noise_map:
            files.append(self.inputs.noise_sd_file)
        scene = load_display(files, self.inputs.mask_file, self.inputs.volume)
        mean, denoised, *rest = scene.volumes
        if np.array_equal(mean, denoised):
            return ""
        noise_sd = rest.pop() if has_noise_map else None
        return viz.residual_map(
            mean, denoised, scene.frame, repetitions=rest, noise_sd=noise_sd, n_repetitions=len(repetitions)
        )


class _NoiseMapInputSpec(StepInputSpec):
    noise_sd_file = File(exists=True, mandatory=True, desc="noise SD of one repetition, 3D or 4D")
    mask_file = File(exists=True, mandatory=True, desc="brain mask, same grid")
    volume = traits.Int(0, usedefault=True, desc="volume shown of 4D images, from 0")
    title = traits.Str("noise SD of one repetition", usedefault=True, desc="of the scale")


class NoiseMap(FigureInterface):
    """Noise SD of one repetition over the brain."""

    input_spec = _NoiseMapInputSpec

    def _draw(self) -> str:
        scene = load_display([self.inputs.noise_sd_file], self.inputs.mask_file, self.inputs.volume)
        if not np.any(scene.volumes[0][scene.frame.mask] > 0):
            return ""
        return viz.noise_map(scene.volumes[0], scene.frame, self.inputs.title)


class _UncertaintyMapInputSpec(StepInputSpec):
    uncertainty_file = File(
        exists=True, mandatory=True, desc="expected error (SD), 3D, or 4D with one map for each shell"
    )
    denoised_file = File(exists=True, mandatory=True, desc="denoised image, 3D or 4D")
    mask_file = File(exists=True, mandatory=True, desc="brain mask, same grid")
    volume = traits.Int(
        0, usedefault=True, desc="volume of the denoised image that the error is compared with"
    )
    bval_file = File(exists=True, desc="b-values of a series, FSL format: one map belongs to each shell")
    bvec_file = File(exists=True, desc="directions of a series, FSL format")
    b0_threshold = b0_threshold_trait()


class UncertaintyMap(FigureInterface):
    """Expected error over the brain, in units of the image and in percent of its spread."""

    input_spec = _UncertaintyMapInputSpec

    def _draw(self) -> str:
        mask_file = self.inputs.mask_file
        scene = load_display([self.inputs.uncertainty_file], mask_file, self._map_shown())
        (error_sd,) = scene.volumes
        (denoised,) = load_display([self.inputs.denoised_file], mask_file, self.inputs.volume).volumes
        if not np.any(error_sd[scene.frame.mask] > 0):
            return ""
        spread = float(np.std(denoised[scene.frame.mask]))
        return viz.noise_map(error_sd, scene.frame, "expected error of one voxel", spread=spread)

    def _map_shown(self) -> int:
        if not isdefined(self.inputs.bval_file):
            return 0
        shells = read_shells(self.inputs)
        return int(map_of_volumes(shells)[self.inputs.volume])


class _RecordInputSpec(StepInputSpec):
    record_file = File(exists=True, mandatory=True, desc="record written by n2a-tools denoise")


class LossCurve(FigureInterface):
    """Training loss over epochs."""

    input_spec = _RecordInputSpec

    def _draw(self) -> str:
        return viz.loss_curve(read_typed(DenoisingRecord, Path(self.inputs.record_file)).history or ())


class _RiskFigureInputSpec(_RecordInputSpec):
    before = traits.Str("plain mean", usedefault=True, desc="what candidates are compared with")


class RiskFigure(FigureInterface):
    """Estimated risk of every candidate, the chosen one marked."""

    input_spec = _RiskFigureInputSpec

    def _draw(self) -> str:
        record = read_typed(DenoisingRecord, Path(self.inputs.record_file))
        return viz.risk_bars(record.candidates or (), record.chosen, before=self.inputs.before)
