"""Sidecars of denoised diffusion series."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from numpy.typing import NDArray

from n2a_bids.dataset.read.acquisition import read_acquisition
from n2a_bids.interfaces.derivatives.sidecars import (
    DescribeInputSpec,
    alignment_sidecar,
    completed_record,
    denoising_sidecar,
    mask_sidecar,
    provenance,
    shared_metadata,
)
from n2a_bids.interfaces.inputs import were_stripped
from n2a_bids.io.gradients import phase_encoding_in_world
from n2a_bids.io.json import read_typed, record_text
from n2a_bids.record.alignment import AlignmentRecord, DistortionRecord
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.typed_json import JsonObject

_ONE_DIRECTION = 0.9
"""Cosine from which on two directions of phase encoding are one: oblique cuts differ by some degrees."""
PHASE_ENCODING = ("PhaseEncodingDirection", "TotalReadoutTime", "EffectiveEchoSpacing")
"""True as long as the distortion is still in the image."""


class _DescribeDiffusionInputSpec(DescribeInputSpec):
    distortion_file = File(exists=True, desc="JSON of the distortion correction, where there was one")
    images = traits.List(traits.Str(), mandatory=True, desc="every series as acquired, for its affine")
    corrected = traits.Bool(mandatory=True, desc="whether susceptibility distortion was corrected")
    reversed_b0 = traits.Str(
        "", usedefault=True, desc="BIDS URI of the b0 of opposite phase encoding that is not denoised"
    )


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
        alignment = read_typed(AlignmentRecord, Path(inputs.alignment_file))
        names = [alignment.repetitions[place].file for place in inputs.accepted]
        sources = [inputs.sources[place] for place in inputs.accepted]
        if inputs.corrected and inputs.reversed_b0:
            sources.append(inputs.reversed_b0)
        metadata = [inputs.metadata[place] for place in inputs.accepted]
        record = completed_record(Path(inputs.figures_file), names, inputs)
        figures_file = Path(runtime.cwd) / "figures.json"
        figures_file.write_text(record_text(record))
        common = {
            **shared_metadata(metadata),
            **({} if inputs.corrected else self._phase_encoding()),
            "Sources": sources,
            "SpatialReference": inputs.sources[0],
            "SkullStripped": were_stripped(metadata, inputs.inputs_stripped),
        }
        self._results.update(
            figures_file=os.fspath(figures_file), **self._sidecars(record, alignment, common)
        )
        return runtime

    def _phase_encoding(self) -> JsonObject:
        """Phase-encoding fields that all series share in the world, true for the grid of the reference."""
        inputs = self.inputs
        affines = [nb.load(path).affine for path in inputs.images]
        places = dict.fromkeys([0, *inputs.accepted])
        return shared_phase_encoding(
            [inputs.metadata[place] for place in places], [affines[place] for place in places]
        )

    def _sidecars(
        self, record: DenoisingRecord, alignment: AlignmentRecord, common: JsonObject
    ) -> dict[str, JsonObject]:
        inputs, count = self.inputs, len(self.inputs.accepted)
        distortion = None
        if isdefined(inputs.distortion_file):
            distortion = read_typed(DistortionRecord, Path(inputs.distortion_file))
        subject = "one diffusion series" if count == 1 else f"the mean of {count} aligned diffusion series"
        if count == 1 and (record.n_repetitions or 1) != 1:
            subject = "the mean of two series synthesized from the tensors of halves of one series"
        made = common | provenance(record, alignment)
        return {
            "denoised": common
            | {
                "Description": f"Denoised: {record.output_description}; from {subject}",
                "SkullStripped": inputs.skull_stripped or common["SkullStripped"],
            }
            | denoising_sidecar(record)
            | {
                # Only some strategies remove it.
                "NoiseFloorRemoved": bool(record.noise_floor_removed),
                "DistortionCorrected": inputs.corrected,
                **motion_sidecar(alignment, distortion),
                "Alignment": alignment_sidecar(alignment),
            },
            "mean": made | {"Description": f"Not denoised: {subject}"},
            "residual": made | {"Description": f"Difference of {subject} and the denoised series"},
            "noise_sd": made
            | {"Description": "Estimated SD of the complex noise of one acquisition, in image units"},
            "mask": mask_sidecar(inputs.sources[0], inputs.mask_method, given=inputs.mask_source),
            "displacement": common
            | {
                "Description": "Displacement of the first series by susceptibility, in voxels along its "
                "phase-encoding axis, positive towards higher indices",
                "Units": "voxel",
            },
        }


def motion_sidecar(alignment: AlignmentRecord, distortion: DistortionRecord | None) -> dict[str, float]:
    """Motion within the series that were used, and the reach of the field, in mm.

    Examples
    --------
    >>> from n2a_bids.record.alignment import AlignedRepetition
    >>> row = AlignedRepetition(mean_framewise_displacement_mm=0.1, max_framewise_displacement_mm=0.4)
    >>> motion_sidecar(AlignmentRecord(repetitions=(row, row)), None)
    {'MeanFramewiseDisplacement': 0.1, 'MaxFramewiseDisplacement': 0.4}
    """
    means = [row.mean_framewise_displacement_mm for row in alignment.used]
    sidecar = {
        "MeanFramewiseDisplacement": round(sum(means) / len(means), 4),
        "MaxFramewiseDisplacement": max(row.max_framewise_displacement_mm for row in alignment.used),
    }
    moved = distortion and distortion.displacement_mm
    if moved and moved.largest is not None:
        sidecar["MaxFieldDisplacement"] = moved.largest
    return sidecar


def shared_phase_encoding(
    metadata: Sequence[Mapping[str, object]], affines: Sequence[NDArray[np.float64]]
) -> JsonObject:
    """Phase-encoding fields that are true for all images, as they read on the grid of the first.

    Parameters
    ----------
    metadata : sequence of mapping
        Sidecar of each image.
    affines : sequence of (4, 4) arrays
        Of each image: directions are compared in the world.

    Examples
    --------
    >>> las, ras = np.diag([-2.0, 2, 2, 1]), np.diag([2.0, 2, 2, 1])
    >>> shared_phase_encoding([{"PhaseEncodingDirection": "i"}, {"PhaseEncodingDirection": "i-"}], [las, ras])
    {'PhaseEncodingDirection': 'i'}
    >>> shared_phase_encoding([{"PhaseEncodingDirection": "i"}, {"PhaseEncodingDirection": "i"}], [las, ras])
    {}
    """
    acquired = [read_acquisition(one) for one in metadata]
    first = acquired[0]
    shared = {
        key: metadata[0][key]
        for key in PHASE_ENCODING[1:]
        if key in metadata[0] and all(other.get(key) == metadata[0][key] for other in metadata)
    }
    if not all(one.phase_encoding for one in acquired):
        return shared
    directions = np.array(
        [
            phase_encoding_in_world(one.phase_encoding, affine)
            for one, affine in zip(acquired, affines, strict=True)
        ]
    )
    if np.min(directions @ directions[0]) < _ONE_DIRECTION:
        return shared
    return {"PhaseEncodingDirection": first.phase_encoding, **shared}
