"""Report figures of diffusion series, as nodes: distortion, tensor maps, gradients, volumes, motion."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
from nipype.interfaces.base import File, InputMultiObject, isdefined, traits

from n2a_bids import viz
from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.interfaces.dwi.series import b0_threshold_trait, read_series_table, read_shells
from n2a_bids.interfaces.reportlets.anat import FigureInterface
from n2a_bids.interfaces.reportlets.scene import load_display
from n2a_bids.interfaces.resumable import StepInputSpec
from n2a_bids.io.json import read_typed
from n2a_bids.record.alignment import AlignmentRecord


class _DistortionFlickerInputSpec(StepInputSpec):
    before_files = InputMultiObject(
        File(exists=True), mandatory=True, minlen=2, maxlen=2, desc="the two b0s before correction, any grid"
    )
    after_files = InputMultiObject(
        File(exists=True), mandatory=True, minlen=2, maxlen=2, desc="the two b0s after correction, any grid"
    )
    mask_file = File(exists=True, mandatory=True, desc="brain mask: its grid is the one shown")
    labels = traits.Tuple(traits.Str("AP"), traits.Str("PA"), usedefault=True, desc="names of the directions")


class DistortionFlicker(FigureInterface):
    """b0s of opposite phase encoding, before and after distortion correction."""

    input_spec = _DistortionFlickerInputSpec

    def _draw(self) -> str:
        files = [*self.inputs.before_files, *self.inputs.after_files]
        scene = load_display(files, self.inputs.mask_file)
        return viz.distortion_flicker(*scene.volumes, scene.frame, names=self.inputs.labels)


class _TensorMapsInputSpec(StepInputSpec):
    fa_mean_file = File(exists=True, mandatory=True, desc="FA from the mean, 3D")
    fa_denoised_file = File(exists=True, mandatory=True, desc="FA from the denoised series, 3D")
    v1_mean_file = File(exists=True, desc="first eigenvector of the mean, (X, Y, Z, 3)")
    v1_denoised_file = File(exists=True, desc="first eigenvector of the denoised series, (X, Y, Z, 3)")
    mask_file = File(exists=True, mandatory=True, desc="brain mask, same grid")
    before = traits.Str("mean", usedefault=True, desc="what the denoised series is compared with")


class TensorMaps(FigureInterface):
    """FA (coloured by direction where the eigenvectors are given) of mean and denoised side by side."""

    input_spec = _TensorMapsInputSpec

    def _draw(self) -> str:
        fa = load_display([self.inputs.fa_mean_file, self.inputs.fa_denoised_file], self.inputs.mask_file)
        directions = None
        if isdefined(self.inputs.v1_mean_file) and isdefined(self.inputs.v1_denoised_file):
            files = [self.inputs.v1_mean_file, self.inputs.v1_denoised_file]
            directions = load_display(files, self.inputs.mask_file, volume=None).volumes
        return viz.tensor_maps(*fa.volumes, fa.frame, directions=directions, before=self.inputs.before)


class _GradientPlotInputSpec(StepInputSpec):
    bval_files = InputMultiObject(File(exists=True), mandatory=True, desc="bval of each series, FSL format")
    bvec_files = InputMultiObject(File(exists=True), mandatory=True, desc="bvec of each series, FSL format")
    image_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="an image on the grid of each table"
    )
    labels = traits.List(traits.Str(), desc="name of each series")
    b0_threshold = b0_threshold_trait()


class GradientPlot(FigureInterface):
    """Directions of the diffusion encoding in the world, on the half sphere; one colour per shell."""

    input_spec = _GradientPlotInputSpec

    def _draw(self) -> str:
        affines = [nb.load(path).affine for path in self.inputs.image_files]
        tables = [read_series_table(self.inputs, index, affine) for index, affine in enumerate(affines)]
        labels = list(self.inputs.labels) if isdefined(self.inputs.labels) else []
        return viz.gradient_plot([(find_shells(table), table.bvecs) for table in tables], labels)


class _VolumeQualityInputSpec(StepInputSpec):
    mean_file = File(
        exists=True, mandatory=True, desc="plain mean of the repetitions, or the single series, 4D"
    )
    denoised_file = File(exists=True, mandatory=True, desc="denoised series, 4D")
    mask_file = File(exists=True, mandatory=True, desc="brain mask, same grid")
    bval_file = File(exists=True, mandatory=True, desc="b-values, FSL format")
    bvec_file = File(exists=True, mandatory=True, desc="directions, FSL format")
    b0_threshold = b0_threshold_trait()
    noise_sd_file = File(exists=True, desc="noise SD of one repetition, 3D or 4D")
    noise_label = traits.Str("noise SD of one repetition", usedefault=True, desc="what its line is called")


class VolumeQuality(FigureInterface):
    """Signal and removed residual of every volume of a series."""

    input_spec = _VolumeQualityInputSpec

    def _draw(self) -> str:
        files = [self.inputs.mean_file, self.inputs.denoised_file]
        if isdefined(self.inputs.noise_sd_file):
            files.append(self.inputs.noise_sd_file)
        scene = load_display(files, self.inputs.mask_file, volume=None)
        shells = read_shells(self.inputs)
        return viz.volume_quality(
            scene.volumes[0],
            scene.volumes[1],
            scene.frame.mask,
            shells,
            noise_sd=scene.volumes[2] if len(files) == 3 else None,
            noise_label=self.inputs.noise_label,
        )


class _VolumeMotionInputSpec(StepInputSpec):
    alignment_file = File(exists=True, mandatory=True, desc="JSON of the alignment of the series")


class VolumeMotionPlot(FigureInterface):
    """Motion of every volume of every series."""

    input_spec = _VolumeMotionInputSpec

    def _draw(self) -> str:
        record = read_typed(AlignmentRecord, Path(self.inputs.alignment_file))
        return viz.motion_curves(
            [
                viz.MotionCurve(
                    Path(row.file).name.split(".")[0],
                    row.volumes.number,
                    row.volumes.rotation_deg,
                    row.volumes.translation_mm,
                )
                for row in record.repetitions
                if row.volumes is not None
            ]
        )
