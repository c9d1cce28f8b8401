"""Nodes for sidecars of results in native space, and for the raw-like dataset with its field maps."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import TraitedSpec, isdefined, traits

from n2a_bids.dataset.write.raw_like.fieldmaps import (
    copied_identifiers,
    copy_field_maps,
    field_identifiers,
    raw_like_metadata,
)
from n2a_bids.dataset.write.raw_like.names import DENOISED_FROM, write_raw_like_files
from n2a_bids.dataset.write.raw_like.reversed_b0 import copy_reversed_b0
from n2a_bids.interfaces.derivatives.sidecar_fields import PHASE_ENCODING, propagated
from n2a_bids.interfaces.dwi.series import b0_threshold_trait
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.json import listed
from n2a_bids.record.typed_json import JsonObject

_OF_DENOISING = ("DenoisingStrategy", "DenoisingChosen", "DenoisingRecipe", "RandomSeed")
_OF_DENOISING += ("SoftwareVersion", "NoiseFloorRemoved")
"""Of the derivative's sidecar, what joins that of the series as acquired."""
_OF_DERIVATIVES = ("Sources", "SpatialReference", "SkullStripped", "Alignment")


class _DescribeOwnGridsInputSpec(StepInputSpec):
    sidecar = traits.Dict(mandatory=True, desc="sidecar of the denoised series on the common grid")
    metadata = traits.List(traits.Dict(), mandatory=True, desc="metadata of every series")
    sources = traits.List(traits.Str(), mandatory=True, desc="BIDS URI of every series")
    corrected = traits.Bool(False, usedefault=True, desc="the series came without distortion")
    accepted = traits.List(traits.Int(), mandatory=True, desc="indices of the series that were denoised")


class _DescribeOwnGridsOutputSpec(TraitedSpec):
    sidecars = traits.List(traits.Dict(), desc="sidecar of each series in its native space")
    mask_sidecars = traits.List(traits.Dict(), desc="sidecar of the brain mask of each")


class DescribeNativeGrids(ResumableInterface):
    """Sidecars of a denoised series on the grid of each of its sources."""

    input_spec = _DescribeOwnGridsInputSpec
    output_spec = _DescribeOwnGridsOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        encoding = () if inputs.corrected else PHASE_ENCODING
        sources = [inputs.sources[index] for index in inputs.accepted]
        metadata = [inputs.metadata[index] for index in inputs.accepted]
        self._results["sidecars"] = [
            dict(inputs.sidecar)
            | propagated(own)
            | {key: own[key] for key in encoding if key in own}
            | {
                "Description": f"{inputs.sidecar['Description']}; on the grid of one of its sources, with "
                "the distortion of that",
                "SpatialReference": source,
                "DistortionCorrected": inputs.corrected,
            }
            for own, source in zip(metadata, sources, strict=True)
        ]
        self._results["mask_sidecars"] = [_mask_sidecar(source) for source in sources]
        return runtime


def _mask_sidecar(source: str) -> JsonObject:
    return {
        "Type": "Brain",
        "Description": "Brain mask of the denoised series, on the grid of one of its sources",
        "Sources": [source],
        "SpatialReference": source,
    }


class _DescribeRawLikeInputSpec(StepInputSpec):
    sidecar = traits.Dict(mandatory=True, desc="sidecar of the denoised image")
    metadata = traits.List(
        traits.Dict(), desc="metadata of each series that may be written; none for a T1w image"
    )
    accepted = traits.List(traits.Int(), desc="indices of the series that are written; all by default")
    fields = traits.Dict(
        {}, usedefault=True, desc="new fields about field maps; without them the old ones stay"
    )
    series = traits.Dict(traits.Str(), traits.Str(), desc="series as acquired, and where each is written")
    in_place = traits.Bool(False, usedefault=True, desc="volumes lie where they were acquired")
    b0_threshold = b0_threshold_trait()
    root = traits.Str(mandatory=True, desc="dataset that looks raw")
    bids_dir = traits.Str(mandatory=True, desc="input dataset")


class _DescribeRawLikeOutputSpec(TraitedSpec):
    sidecars = traits.List(traits.Dict(), desc="sidecar of each image, without what only derivatives have")
    left_out = traits.List(traits.Int(), desc="indices of the series that were not denoised")


class DescribeRawLike(ResumableInterface):
    """Description of the dataset that looks raw, and sidecars that fit into it."""

    input_spec = _DescribeRawLikeInputSpec
    output_spec = _DescribeRawLikeOutputSpec
    _always_run = True

    def _run_interface(self, runtime):
        inputs = self.inputs
        root, bids_dir = Path(inputs.root), Path(inputs.bids_dir)
        write_raw_like_files(root, bids_dir)
        if not isdefined(inputs.metadata):
            kept = {key: value for key, value in inputs.sidecar.items() if key not in _OF_DERIVATIVES}
            self._results["sidecars"] = [kept | self._sources()]
            return runtime
        renamed = {Path(image): Path(target) for image, target in inputs.series.items()}
        reversed_b0 = copy_reversed_b0(bids_dir, root, renamed, inputs.b0_threshold)
        copied = copied_identifiers(bids_dir, renamed)
        copied |= field_identifiers(image.metadata for image in reversed_b0)
        done = {key: inputs.sidecar[key] for key in _OF_DENOISING if key in inputs.sidecar} | self._sources()
        everything = range(len(inputs.metadata))
        written = inputs.accepted if isdefined(inputs.accepted) else everything
        self._results["left_out"] = [index for index in everything if index not in written]
        self._results["sidecars"] = [
            raw_like_metadata(inputs.metadata[index], inputs.fields, copied, in_place=inputs.in_place) | done
            for index in written
        ]
        return runtime

    def _sources(self) -> JsonObject:
        """What went in, by its path in the input dataset."""
        sources = [str(uri) for uri in listed(self.inputs.sidecar.get("Sources"))]
        return {DENOISED_FROM: [uri.removeprefix("bids:raw:") for uri in sources]}


class _CopyFieldMapsInputSpec(StepInputSpec):
    written = traits.List(traits.Str(), mandatory=True, desc="files of one group of series, in place")
    series = traits.Dict(
        traits.Str(), traits.Str(), mandatory=True, desc="every series of the participant, and its new name"
    )
    root = traits.Str(mandatory=True, desc="dataset that looks raw")
    bids_dir = traits.Str(mandatory=True, desc="input dataset")


class _CopyFieldMapsOutputSpec(TraitedSpec):
    out_files = traits.List(traits.Str(), desc="images of field maps in the dataset that looks raw")


class CopyFieldMaps(ResumableInterface):
    """Field maps of series that have just been written: see `copy_field_maps`."""

    input_spec = _CopyFieldMapsInputSpec
    output_spec = _CopyFieldMapsOutputSpec
    _always_run = True

    def _run_interface(self, runtime):
        inputs = self.inputs
        renamed = {Path(image): Path(target) for image, target in inputs.series.items()}
        written = [Path(path) for path in inputs.written]
        copies = copy_field_maps(Path(inputs.bids_dir), Path(inputs.root), renamed, written)
        self._results["out_files"] = [str(path) for path in copies]
        return runtime
