"""Node that aligns micrograph exposures onto one grid."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Directory,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from numpy.typing import NDArray

from n2a_bids.dataset.read.micrographs import pixel_size_mm
from n2a_bids.denoising.microscopy.exposures import Exposures, align_exposures, load_exposures
from n2a_bids.denoising.microscopy.frames import sum_frames
from n2a_bids.io.files import content_digest, write_whole
from n2a_bids.io.json import record_text
from n2a_bids.io.micrographs import Micrograph, read_micrograph
from n2a_bids.record.alignment import AlignedRepetition, AlignmentRecord

_NO_SIZE = (
    "{}: neither the sidecar (PixelSize, PixelSizeUnits) nor the file tells the size of a pixel: resolution "
    "is told in pixels; add it to the sidecar"
)


class _AlignExposuresInputSpec(BaseInterfaceInputSpec):
    in_files = InputMultiObject(
        traits.Either(File(exists=True), Directory(exists=True)),
        mandatory=True,
        desc="exposures, or one file of frames",
    )
    folder_states = traits.List(traits.Str(), desc="what exposures hold that are folders; not to be given")
    metadata = traits.List(traits.Dict(), mandatory=True, desc="metadata of every file")
    n_frame_groups = traits.Int(0, usedefault=True, desc="groups to sum the frames to; 0 for none")

    def get_hashval(self, hash_method=None):
        """As of nipype, which looks into files, but not into folders."""
        folders = [path for path in map(Path, self.in_files) if path.is_dir()]
        if folders:
            self.folder_states = [content_digest(path) for path in folders]
        return super().get_hashval(hash_method)


class _AlignExposuresOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="aligned exposures, (columns, rows, planes, channels)")
    mask_file = File(exists=True, desc="pixels that count")
    measured_file = File(desc="exposures that show each pixel; undefined where all do")
    record_file = File(exists=True, desc="JSON of the alignment")
    accepted = traits.List(traits.Int(), desc="indices of the files that were used")
    bit_depth = traits.Int(desc="bits that the values of those use")
    warnings = traits.List(traits.Str(), desc="what the report should say")


class AlignExposures(SimpleInterface):
    """Read, compare and align; exposures that do not fit two or more others are left out."""

    input_spec = _AlignExposuresInputSpec
    output_spec = _AlignExposuresOutputSpec

    def _run_interface(self, runtime):
        paths, n_groups = [Path(path) for path in self.inputs.in_files], self.inputs.n_frame_groups
        found = (
            _sum_and_align(paths[0], n_groups) if n_groups else load_exposures(paths, size_of=self._size_mm)
        )
        used = [index for index in range(n_groups or len(paths)) if index not in found.excluded]
        # Groups of frames stand in one file.
        size = self._size_mm(0 if n_groups else used[0], found.like)
        record = _alignment_record(found, [paths[0]] * n_groups or paths, used)
        folder = Path(runtime.cwd)
        self._results |= _save(found, size or (1.0, 1.0, 1.0), folder)
        self._results["record_file"] = os.fspath(write_whole(folder / "alignment.json", record_text(record)))
        self._results["accepted"] = [0] if n_groups else used
        self._results["bit_depth"] = found.like.bit_depth
        no_size = [] if size else [_NO_SIZE.format(found.like.path.name)]
        self._results["warnings"] = [*no_size, *found.notes]
        return runtime

    def _size_mm(self, index: int, image: Micrograph) -> tuple[float, float, float] | None:
        metadata = dict(self.inputs.metadata[index])
        certain = not image.size_by_tags
        return pixel_size_mm(image.path, metadata, image.pixel_size_mm, own_is_certain=certain)


def _sum_and_align(path: Path, n_groups: int) -> Exposures:
    """The frames of one file, summed to groups, on one grid."""
    stack = read_micrograph(path)
    return align_exposures(sum_frames(stack, n_groups), largest_value=stack.largest_value)


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


def _alignment_record(found: Exposures, paths: list[Path], used: list[int]) -> AlignmentRecord:
    """How far the exposures, or the groups of frames, had drifted, and which were left out."""
    drift, rows = found.drift, []
    for index, path in enumerate(paths):
        if index in found.excluded:
            rows.append(AlignedRepetition(file=path.name, accepted=False, reason=found.excluded[index]))
            continue
        row = used.index(index)
        rows.append(
            AlignedRepetition(
                file=path.name,
                drift_pixels=(0.0, 0.0) if drift is None else tuple(map(float, drift.shift_pixels[row])),
                rotation_deg=0.0 if drift is None else float(drift.rotation_deg[row]),
                correlation_after=None if drift is None else float(drift.correlation[row]),
                interpolated=drift is not None and row > 0,
            )
        )
    interpolation = "" if drift is None else "a shift in Fourier space, or a quintic spline where turned"
    reason = "the first is left out" if 0 in found.excluded else ""
    return AlignmentRecord(
        reference=found.like.path.name,
        reference_reason=reason,
        space="reference",
        interpolation=interpolation,
        repetitions=tuple(rows),
    )
