"""Sidecars of denoised diffusion series."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits

from n2a_bids.interfaces.derivatives import (
    alignment_record,
    completed_figures,
    denoising_record,
    mask_sidecar,
    provenance,
    shared_metadata,
    strategy_description,
)
from n2a_bids.interfaces.inspect_inputs import were_stripped

PHASE_ENCODING = ("PhaseEncodingDirection", "TotalReadoutTime", "EffectiveEchoSpacing")
"""True as long as the distortion is still in the image."""


class _DescribeDiffusionInputSpec(BaseInterfaceInputSpec):
    figures_file = File(exists=True, mandatory=True, desc="JSON of n2a-tools denoise")
    alignment_file = File(exists=True, mandatory=True, desc="JSON of the alignment")
    sources = traits.List(traits.Str(), mandatory=True, desc="BIDS URI of every series")
    metadata = traits.List(traits.Dict(), mandatory=True, desc="metadata of every series")
    skull_stripped = traits.Bool(mandatory=True, desc="whether the denoised series is zero outside the brain")
    corrected = traits.Bool(mandatory=True, desc="whether susceptibility distortion was corrected")
    mask_method = traits.Str("not recorded", usedefault=True, desc="how the brain was found, in a few words")
    mask_source = traits.Str("", usedefault=True, desc="BIDS URI of the mask that the user gave")
    warnings = traits.List(traits.Str(), [], usedefault=True, desc="added to those of the denoiser")
    run_uuid = traits.Str("", usedefault=True, nohash=True, desc="the run, for the record")
    found_warnings = traits.List(traits.Str(), [], usedefault=True, desc="of the images; added, too")
    inputs_stripped = traits.Bool(False, usedefault=True, desc="whether the series came without skull")


class _DescribeDiffusionOutputSpec(TraitedSpec):
    denoised = traits.Dict(desc="sidecar of the denoised series")
    mean = traits.Dict(desc="sidecar of the mean")
    residual = traits.Dict(desc="sidecar of the residual")
    noise_sd = traits.Dict(desc="sidecar of the noise map")
    mask = traits.Dict(desc="sidecar of the brain mask")
    displacement = traits.Dict(desc="sidecar of the displacement")
    figures_file = File(exists=True, desc="JSON of n2a-tools denoise, with the names of the sources")


class DescribeDiffusion(SimpleInterface):
    """Sidecars of a unit, from what the alignment and the denoiser report."""

    input_spec = _DescribeDiffusionInputSpec
    output_spec = _DescribeDiffusionOutputSpec
    # The record names the run that wrote it, one that resumes too.
    _always_run = True

    def _run_interface(self, runtime):
        inputs = self.inputs
        alignment = json.loads(Path(inputs.alignment_file).read_text())
        names = [row["file"] for row in alignment["repetitions"]]
        figures = completed_figures(Path(inputs.figures_file), names, inputs)
        figures_file = Path(runtime.cwd) / "figures.json"
        figures_file.write_text(json.dumps(figures, indent=2))
        common = {
            **shared_metadata(inputs.metadata),
            **({} if inputs.corrected else _phase_encoding(inputs.metadata)),
            "Sources": list(inputs.sources),
            "SpatialReference": inputs.sources[0],
            "SkullStripped": were_stripped(inputs.metadata, inputs.inputs_stripped),
        }
        self._results.update(
            figures_file=os.fspath(figures_file), **self._sidecars(figures, alignment, common)
        )
        return runtime

    def _sidecars(
        self, figures: Mapping[str, object], alignment: Mapping[str, object], common: dict[str, object]
    ) -> dict[str, dict[str, object]]:
        inputs, count = self.inputs, len(alignment["repetitions"])
        subject = "one diffusion series" if count == 1 else f"the mean of {count} aligned diffusion series"
        if count == 1 and figures.get("n_repetitions", 1) != 1:
            subject = "the mean of two series synthesized from the tensors of halves of one series"
        made = common | provenance(figures, alignment)
        return {
            "denoised": common
            | {
                "Description": f"Denoised: {strategy_description(figures)}; from {subject}",
                "SkullStripped": inputs.skull_stripped or common["SkullStripped"],
            }
            | denoising_record(figures)
            | {
                # Only some strategies remove it.
                "NoiseFloorRemoved": bool(figures.get("noise_floor_removed", False)),
                "DistortionCorrected": inputs.corrected,
                "Alignment": alignment_record(alignment),
            },
            "mean": made | {"Description": f"Not denoised: {subject}"},
            "residual": made | {"Description": f"Difference of {subject} and the denoised series"},
            "noise_sd": made
            | {"Description": "Estimated SD of the complex noise of one acquisition, in image units"},
            "mask": mask_sidecar(inputs.sources[0], inputs.mask_method, given=inputs.mask_source),
            "displacement": common
            | {
                "Description": "Displacement of the first series by susceptibility, in voxels along its "
                "phase-encoding axis",
                "Units": "voxel",
            },
        }


def _phase_encoding(metadata: list[Mapping[str, object]]) -> dict[str, object]:
    """Phase-encoding fields that all series share."""
    first = metadata[0]
    return {
        key: first[key]
        for key in PHASE_ENCODING
        if key in first and all(other.get(key) == first[key] for other in metadata)
    }
