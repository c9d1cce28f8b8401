"""Sidecars of denoised diffusion series on their own grids, and what surrounds them in a raw dataset."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits

from n2a_bids.dataset.write.raw_like.fieldmaps import copied_identifiers, copy_field_maps, raw_like_metadata
from n2a_bids.dataset.write.raw_like.names import write_raw_like_files
from n2a_bids.dataset.write.raw_like.reversed_b0 import copy_reversed_b0, field_identifiers
from n2a_bids.interfaces.derivatives.dwi import PHASE_ENCODING
from n2a_bids.interfaces.derivatives.sidecars import propagated

_OF_DENOISING = ("DenoisingStrategy", "DenoisingChosen", "DenoisingRecipe", "RandomSeed")
_OF_DENOISING += ("SoftwareVersion", "NoiseFloorRemoved")


class _DescribeOwnGridsInputSpec(BaseInterfaceInputSpec):
    sidecar = traits.Dict(mandatory=True, desc="sidecar of the denoised series on the common grid")
    metadata = traits.List(traits.Dict(), mandatory=True, desc="metadata of every series")
    sources = traits.List(traits.Str(), mandatory=True, desc="BIDS URI of every series")
    corrected = traits.Bool(False, usedefault=True, desc="the series came without distortion")
    accepted = traits.List(traits.Int(), mandatory=True, desc="places of the series that were denoised")


class _DescribeOwnGridsOutputSpec(TraitedSpec):
    sidecars = traits.List(traits.Dict(), desc="sidecar of each series on its own grid")
    mask_sidecars = traits.List(traits.Dict(), desc="sidecar of the brain mask of each")


class DescribeNativeGrids(SimpleInterface):
    """Sidecars of a denoised series on the grid of each of its sources."""

    input_spec = _DescribeOwnGridsInputSpec
    output_spec = _DescribeOwnGridsOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        encoding = () if inputs.corrected else PHASE_ENCODING
        sources = [inputs.sources[place] for place in inputs.accepted]
        metadata = [inputs.metadata[place] for place in inputs.accepted]
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


def _mask_sidecar(source: str) -> dict[str, object]:
    return {
        "Type": "Brain",
        "Description": "Brain mask of the denoised series, on the grid of one of its sources",
        "Sources": [source],
        "SpatialReference": source,
    }


class _DescribeRawLikeSeriesInputSpec(BaseInterfaceInputSpec):
    sidecar = traits.Dict(mandatory=True, desc="sidecar of the denoised series")
    metadata = traits.List(traits.Dict(), mandatory=True, desc="metadata of each series that is written")
    fields = traits.Dict(desc="new fields about field maps; without them the old ones stay")
    images = traits.List(traits.Str(), mandatory=True, desc="series as acquired")
    targets = traits.List(traits.Str(), mandatory=True, desc="where each is written")
    root = traits.Str(mandatory=True, desc="dataset that looks raw")
    bids_dir = traits.Str(mandatory=True, desc="input dataset")


class _DescribeRawLikeSeriesOutputSpec(TraitedSpec):
    sidecars = traits.List(traits.Dict(), desc="sidecar of each series, without what only derivatives have")


class DescribeRawLikeSeries(SimpleInterface):
    """Description of the dataset that looks raw, and sidecars of its series."""

    input_spec = _DescribeRawLikeSeriesInputSpec
    output_spec = _DescribeRawLikeSeriesOutputSpec
    _always_run = True

    def _run_interface(self, runtime):
        inputs = self.inputs
        root, bids_dir = Path(inputs.root), Path(inputs.bids_dir)
        write_raw_like_files(root, bids_dir)
        renamed = {Path(image): Path(target) for image, target in zip(inputs.images, inputs.targets)}
        reversed_b0 = copy_reversed_b0(bids_dir, root, renamed)
        copied = copied_identifiers(bids_dir, renamed) | field_identifiers(reversed_b0)
        done = {key: inputs.sidecar[key] for key in _OF_DENOISING if key in inputs.sidecar}
        self._results["sidecars"] = [
            raw_like_metadata(own, inputs.fields or {}, copied) | done for own in inputs.metadata
        ]
        return runtime


class _CopyFieldMapsInputSpec(BaseInterfaceInputSpec):
    written = traits.List(traits.Str(), mandatory=True, desc="files of one group of series, in place")
    series = traits.Dict(
        traits.Str(), traits.Str(), mandatory=True, desc="every series of the participant, and its new place"
    )
    root = traits.Str(mandatory=True, desc="dataset that looks raw")
    bids_dir = traits.Str(mandatory=True, desc="input dataset")


class _CopyFieldMapsOutputSpec(TraitedSpec):
    out_files = traits.List(traits.Str(), desc="images of field maps in the dataset that looks raw")


class CopyFieldMaps(SimpleInterface):
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
