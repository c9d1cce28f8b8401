"""Node that writes denoised micrographs in the format of the exposures, with sidecar."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from n2a_bids.dataset.read.micrographs import pixel_size_mm
from n2a_bids.interfaces.derivatives.sidecar_fields import alignment_sidecar, denoising_sidecar
from n2a_bids.interfaces.derivatives.sidecars import completed_record
from n2a_bids.io.files import copy_whole, write_whole
from n2a_bids.io.images import load
from n2a_bids.io.json import read_typed, record_text, sidecar_path, sidecar_text
from n2a_bids.io.micrographs import Micrograph, read_micrograph, write_micrograph
from n2a_bids.record.alignment import AlignmentRecord
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.typed_json import JsonObject

IMAGES = ("denoised", "mean", "residual", "noise_sd")
_WORDS = {
    "denoised": "Denoised image: {how}",
    "mean": "Plain mean of {count} aligned exposures",
    "residual": "Mean of the exposures minus denoised image",
    "noise_sd": "Standard deviation of the noise of one exposure",
}


class _WriteMicrographsInputSpec(BaseInterfaceInputSpec):
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


class WriteMicrographs(SimpleInterface):
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
        for name in IMAGES:
            target = targets[name]
            image = load(Path(getattr(inputs, name)))[0].reshape(like.pixels.shape)
            sidecar = self._sidecar(name, record, alignment, like)
            as_float = inputs.as_float or name in ("residual", "noise_sd")
            # First what fills a disk: no sidecar is left without its image.
            write_micrograph(target, image, like, as_float=as_float)
            write_whole(sidecar_path(target), sidecar_text(sidecar) + "\n")
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
