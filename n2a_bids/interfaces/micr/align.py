"""Exposures of a microscope on one grid: the step before the denoising of micrographs."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from numpy.typing import NDArray

from n2a_bids.dataset.read.micrographs import pixel_size_mm
from n2a_bids.denoising.exposures import Exposures, align_exposures, sum_frames
from n2a_bids.io.files import write_whole
from n2a_bids.io.json import record_text
from n2a_bids.io.micrographs import Micrograph, read_micrograph
from n2a_bids.record.alignment import AlignedRepetition, AlignmentRecord

_NO_SIZE = (
    "{}: neither the sidecar (PixelSize, PixelSizeUnits) nor the file tells the size of a pixel: resolution "
    "is told in pixels; add it to the sidecar"
)


class _AlignExposuresInputSpec(BaseInterfaceInputSpec):
    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="exposures, or one file of frames")
    metadata = traits.List(traits.Dict(), mandatory=True, desc="metadata of every file")
    n_frame_groups = traits.Int(0, usedefault=True, desc="groups to sum the frames to; 0 for none")


class _AlignExposuresOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="aligned exposures, (columns, rows, planes, channels)")
    mask_file = File(exists=True, desc="pixels that count")
    measured_file = File(desc="exposures that show each pixel; undefined where all do")
    record_file = File(exists=True, desc="JSON of the alignment")
    accepted = traits.List(traits.Int(), desc="indices of the files that were used: all")
    warnings = traits.List(traits.Str(), desc="what the report should say")


class AlignExposures(SimpleInterface):
    """Read, compare and align; unlike or unrelated exposures are named and stop their group."""

    input_spec = _AlignExposuresInputSpec
    output_spec = _AlignExposuresOutputSpec

    def _run_interface(self, runtime):
        paths = [Path(path) for path in self.inputs.in_files]
        images = [read_micrograph(path) for path in paths]
        sizes = [
            pixel_size_mm(
                image.path, dict(metadata), image.pixel_size_mm, own_is_certain=not image.size_by_tags
            )
            for image, metadata in zip(images, self.inputs.metadata, strict=True)
        ]
        found = _align(images, self.inputs.n_frame_groups)
        record = _alignment_record(found, images, self.inputs.n_frame_groups)
        folder = Path(runtime.cwd)
        self._results |= _save(found, sizes[0] or (1.0, 1.0, 1.0), folder)
        self._results["record_file"] = os.fspath(write_whole(folder / "alignment.json", record_text(record)))
        self._results["accepted"] = list(range(len(paths)))
        self._results["warnings"] = [] if sizes[0] else [_NO_SIZE.format(paths[0].name)]
        return runtime


def _align(images: list[Micrograph], n_groups: int) -> Exposures:
    """Exposures, or the frames of one file summed to groups, on one grid."""
    if not n_groups:
        return align_exposures(images)
    return align_exposures(sum_frames(images[0], n_groups), largest_value=images[0].largest_value)


def _save(found: Exposures, size_mm: tuple[float, float, float], folder: Path) -> dict[str, str | list[str]]:
    """Write what the denoiser takes; returns the outputs of the node."""
    affine = np.diag([*size_mm, 1.0])

    def save(image: NDArray[np.generic], name: str) -> str:
        path = folder / name
        nb.save(nb.Nifti1Image(image, affine), path)
        return os.fspath(path)

    data, n_measured = found.repetitions.data, found.repetitions.n_measured
    files = [save(image, f"exposure-{number}.nii.gz") for number, image in enumerate(data, start=1)]
    saved = {"out_files": files, "mask_file": save(found.repetitions.mask.astype(np.uint8), "mask.nii.gz")}
    return saved if n_measured is None else {**saved, "measured_file": save(n_measured, "measured.nii.gz")}


def _alignment_record(found: Exposures, images: list[Micrograph], n_groups: int) -> AlignmentRecord:
    """How far the exposures, or the groups of frames, had drifted."""
    n_repetitions = len(found.repetitions.data)
    names = [images[0].path.name] * n_groups or [image.path.name for image in images]
    drift = found.drift
    rows = tuple(
        AlignedRepetition(
            file=names[index],
            drift_pixels=(0.0, 0.0) if drift is None else tuple(map(float, drift.shift_pixels[index])),
            rotation_deg=0.0 if drift is None else float(drift.rotation_deg[index]),
            correlation_after=None if drift is None else float(drift.correlation[index]),
            interpolated=drift is not None and index > 0,
        )
        for index in range(n_repetitions)
    )
    interpolation = "" if drift is None else "a shift in Fourier space, or a quintic spline where turned"
    return AlignmentRecord(
        reference=names[0], space="reference", interpolation=interpolation, repetitions=rows
    )
