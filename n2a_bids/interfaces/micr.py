"""Nodes that align micrograph exposures onto one grid, and write results in the format of the exposures."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    Directory,
    File,
    InputMultiObject,
    TraitedSpec,
    traits,
)
from numpy.typing import NDArray

from n2a_bids.dataset.read.micrographs import EXTENSIONS, pixel_size_mm
from n2a_bids.denoising.micrographs.exposures import Exposures, align_exposures, load_exposures
from n2a_bids.denoising.micrographs.frames import sum_frames
from n2a_bids.denoising.micrographs.rounding import with_rounding
from n2a_bids.interfaces.derivatives.sidecar_fields import alignment_sidecar, denoising_sidecar
from n2a_bids.interfaces.derivatives.sidecars import completed_record
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.files import content_digest, copy_whole, write_whole
from n2a_bids.io.images import load
from n2a_bids.io.json import read_typed, record_text, sidecar_path, sidecar_text
from n2a_bids.io.micrographs import Micrograph, read_micrograph, write_micrograph
from n2a_bids.record.alignment import AlignedRepetition, AlignmentRecord
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.typed_json import JsonObject

_NO_SIZE = (
    "{}: neither the sidecar (PixelSize, PixelSizeUnits) nor the file tells the size of a pixel: resolution "
    "is told in pixels; add it to the sidecar"
)


class _AlignExposuresInputSpec(StepInputSpec):
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


class AlignExposures(ResumableInterface):
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
    summed = sum_frames(stack, n_groups)
    found = align_exposures(
        summed.groups, largest_value=stack.largest_value, measured_part=summed.measured_part
    )
    return replace(found, notes=(*summed.notes, *found.notes), frame_drift_pixels=summed.drift_pixels)


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
    interpolation = (
        ""
        if drift is None and not found.frame_drift_pixels
        else "a shift in Fourier space, or a quintic spline where turned"
    )
    reason = "the first is left out" if 0 in found.excluded else ""
    return AlignmentRecord(
        reference=found.like.path.name,
        reference_reason=reason,
        space="reference",
        interpolation=interpolation,
        frame_drift_pixels=found.frame_drift_pixels,
        repetitions=tuple(rows),
    )


IMAGES = ("denoised", "mean", "residual", "noise_sd")
_WORDS = {
    "denoised": "Denoised image: {how}",
    "mean": "Plain mean of {count} aligned exposures",
    "residual": "Mean of the exposures minus denoised image",
    "noise_sd": "Standard deviation of the noise of one exposure",
}


class _WriteMicrographsInputSpec(StepInputSpec):
    denoised = File(exists=True, mandatory=True, desc="denoised image, NIfTI")
    mean = File(exists=True, mandatory=True, desc="mean of the exposures, NIfTI")
    residual = File(exists=True, mandatory=True, desc="mean minus denoised, NIfTI")
    noise_sd = File(exists=True, mandatory=True, desc="noise of one exposure, NIfTI")
    record_file = File(exists=True, mandatory=True, desc="JSON of n2a-tools denoise")
    alignment_file = File(exists=True, mandatory=True, desc="JSON of the alignment")
    targets = traits.Dict(traits.Str(), traits.Str(), mandatory=True, desc="where each of these goes")
    in_files = traits.List(
        traits.Str(), mandatory=True, desc="exposures; results are written like the first that was used"
    )
    accepted = traits.List(traits.Int(), mandatory=True, desc="indices of the files that were used")
    bit_depth = traits.Int(mandatory=True, desc="bits that the values of those use")
    frames = traits.Bool(False, usedefault=True, desc="pages of the file are frames, summed")
    as_float = traits.Bool(False, usedefault=True, desc="write single precision")
    metadata = traits.List(traits.Dict(), mandatory=True, desc="metadata of every file")
    sources = traits.List(traits.Str(), mandatory=True, desc="BIDS URI of every file")
    second_sources = traits.List(traits.Str(), desc="none here")
    real_valued = traits.Bool(False, usedefault=True, desc="never of micrographs")
    mask_method = traits.Str("not saturated", usedefault=True, desc="which pixels count, in a few words")
    run_uuid = traits.Str("", usedefault=True, nohash=True, desc="the run, for the record")
    warnings = traits.List(traits.Str(), [], usedefault=True, desc="added to those of the denoiser")
    found_warnings = traits.List(traits.Str(), [], usedefault=True, desc="of the alignment; added, too")


class _WriteMicrographsOutputSpec(TraitedSpec):
    out_files = traits.List(traits.Str(), desc="what was written: files, and folders of OME-Zarr")


class WriteMicrographs(ResumableInterface):
    """Write images, sidecars and records of a group of micrographs into the output folder."""

    input_spec = _WriteMicrographsInputSpec
    output_spec = _WriteMicrographsOutputSpec
    # The output folder may have been emptied since the work folder was filled.
    _always_run = True

    def _run_interface(self, runtime):
        inputs = self.inputs
        targets = {name: Path(path) for name, path in inputs.targets.items()}
        alignment = read_typed(AlignmentRecord, Path(inputs.alignment_file))
        names = [Path(inputs.in_files[index]).name for index in inputs.accepted]
        record = completed_record(Path(inputs.record_file), names, inputs)
        like = self._like()
        record, is_float = with_rounding(record, like, targets["denoised"], as_float=inputs.as_float)
        for name in IMAGES:
            target = targets[name]
            image = load(Path(getattr(inputs, name)))[0].reshape(like.pixels.shape)
            sidecar = self._sidecar(name, record, alignment, like)
            as_float = is_float or name in ("residual", "noise_sd")
            # First what fills a disk: no sidecar is left without its image.
            write_micrograph(target, image, like, as_float=as_float)
            write_whole(sidecar_path(target), sidecar_text(sidecar) + "\n")
            _delete_other_formats(target)
        copy_whole(Path(inputs.alignment_file), targets["alignment"])
        write_whole(targets["record"], record_text(record))
        self._results["out_files"] = [os.fspath(path) for path in targets.values()]
        return runtime

    def _like(self) -> Micrograph:
        """What results are written like; of frames, one page."""
        index = self.inputs.accepted[0]
        first = read_micrograph(Path(self.inputs.in_files[index]))
        size = pixel_size_mm(
            first.path,
            dict(self.inputs.metadata[index]),
            first.pixel_size_mm,
            own_is_certain=not first.size_by_tags,
        )
        like = replace(first, pixel_size_mm=size, bit_depth=self.inputs.bit_depth)
        if not self.inputs.frames:
            return like
        axes = "".join(axis for axis in like.axes if axis not in "ZTIQ")
        return replace(like, pixels=like.pixels[:, :, :1], axes=axes)

    def _sidecar(
        self, name: str, record: DenoisingRecord, alignment: AlignmentRecord, like: Micrograph
    ) -> JsonObject:
        metadata = [dict(self.inputs.metadata[index]) for index in self.inputs.accepted]
        shared = {
            key: value
            for key, value in metadata[0].items()
            if all(key in other and other[key] == value for other in metadata[1:])
        }
        words = _WORDS[name].format(how=record.output_description, count=record.n_repetitions)
        common = {
            **shared,
            "Description": words,
            "Sources": [self.inputs.sources[index] for index in self.inputs.accepted],
        }
        size = like.pixel_size_mm
        if "PixelSize" not in common and size is not None:
            common |= {"PixelSize": [1e6 * one for one in size[:2]], "PixelSizeUnits": "nm"}
        if name != "denoised":
            return common
        return {**common, **denoising_sidecar(record), "Alignment": alignment_sidecar(alignment)}


def _delete_other_formats(image: Path) -> None:
    """Delete what an earlier run wrote under this name in another format: one sidecar would tell of both."""
    stem = image.name.partition(".")[0]
    for other in (image.with_name(f"{stem}{extension}") for extension in EXTENSIONS):
        if other == image:
            continue
        if other.is_dir() and not other.is_symlink():
            shutil.rmtree(other)
        else:
            other.unlink(missing_ok=True)
