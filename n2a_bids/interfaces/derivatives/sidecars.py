"""Node that makes the sidecars of all results of a group; what stands in them: `sidecar_fields`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nb
from nipype.interfaces.base import (
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from n2a_bids.algorithms.risk.dwi_groups import SHARED
from n2a_bids.errors import BIDSDataError
from n2a_bids.interfaces.derivatives.sidecar_fields import (
    DISPLACEMENT,
    alignment_sidecar,
    denoising_sidecar,
    describe_anat,
    describe_dwi,
    mask_sidecar,
    motion_sidecar,
    own_noise,
    propagated,
    provenance,
    repetition_description,
    shared_metadata,
    shared_phase_encoding,
    uncertainty_sidecar,
)
from n2a_bids.interfaces.image_checks import were_stripped
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.json import read_typed, write_record
from n2a_bids.record.alignment import AlignmentRecord, DistortionRecord
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.typed_json import JsonObject


class _DescribeResultsInputSpec(StepInputSpec):
    datatype = traits.Enum("anat", "dwi", mandatory=True, desc="T1w images or diffusion series")
    record_file = File(exists=True, mandatory=True, desc="JSON of n2a-tools denoise")
    alignment_file = File(exists=True, mandatory=True, desc="JSON of the alignment")
    accepted = traits.List(traits.Int(), mandatory=True, desc="indices of the repetitions that were used")
    sources = traits.List(traits.Str(), mandatory=True, desc="BIDS URI of every repetition")
    second_sources = traits.List(
        traits.Str(), desc="BIDS URI of the phase, or the imaginary part, of every repetition; empty for none"
    )
    real_valued = traits.Bool(
        False, usedefault=True, desc="whether real parts of complex images are denoised"
    )
    metadata = traits.List(traits.Dict(), mandatory=True, desc="metadata of every repetition")
    own_uri = traits.Str(desc="BIDS URI of the denoised image, whose own the midspace grid is")
    skull_stripped = traits.Bool(mandatory=True, desc="whether the denoised image is zero outside the brain")
    mask_method = traits.Str("not recorded", usedefault=True, desc="how the brain was found, in a few words")
    mask_source = traits.Str("", usedefault=True, desc="BIDS URI of the mask that the user gave")
    warnings = traits.List(traits.Str(), [], usedefault=True, desc="added to those of the denoiser")
    run_uuid = traits.Str("", usedefault=True, nohash=True, desc="the run, for the record")
    found_warnings = traits.List(traits.Str(), [], usedefault=True, desc="of the images; added, too")
    inputs_stripped = traits.Bool(False, usedefault=True, desc="whether the images came without skull")
    images = traits.List(traits.Str(), desc="every series as acquired, for its affine")
    in_place = traits.Bool(False, usedefault=True, desc="whether a series lies as it was acquired")
    corrected = traits.Bool(False, usedefault=True, desc="whether susceptibility distortion was corrected")
    distortion_file = File(exists=True, desc="JSON of the distortion correction, where there was one")
    reversed_b0 = traits.Str(
        "", usedefault=True, desc="BIDS URI of the b0 of opposite phase encoding that is not denoised"
    )
    companion = traits.Str("", usedefault=True, desc="BIDS URI of a series that may have been learned from")


class _DescribeResultsOutputSpec(TraitedSpec):
    denoised = traits.Dict(desc="sidecar of the denoised image")
    mean = traits.Dict(desc="sidecar of the mean")
    residual = traits.Dict(desc="sidecar of the residual map")
    noise_sd = traits.Dict(desc="sidecar of the noise map")
    uncertainty = traits.Dict(desc="sidecar of the map of expected errors")
    mask = traits.Dict(desc="sidecar of the brain mask")
    displacement = traits.Dict(desc="sidecar of the displacement by susceptibility")
    repetitions = traits.List(traits.Dict(), desc="sidecar of each denoised repetition that was used")
    record_file = File(exists=True, desc="JSON of n2a-tools denoise, with the names of the sources")


class DescribeResults(ResumableInterface):
    """Sidecars of a unit, from what the alignment and the denoiser report."""

    input_spec = _DescribeResultsInputSpec
    output_spec = _DescribeResultsOutputSpec
    # The record names the run that wrote it, one that resumes too.
    _always_run = True

    def _run_interface(self, runtime):
        alignment = read_typed(AlignmentRecord, Path(self.inputs.alignment_file))
        used = [alignment.repetitions[index].file for index in self.inputs.accepted]
        record = completed_record(Path(self.inputs.record_file), used, self.inputs)
        record_file = write_record(record, Path(runtime.cwd) / "record.json")
        self._results.update(record_file=record_file, **self._sidecars(record, alignment))
        return runtime

    def _sidecars(self, record: DenoisingRecord, alignment: AlignmentRecord) -> JsonObject:
        inputs = self.inputs
        metadata = [inputs.metadata[index] for index in inputs.accepted]
        names = [row.file for row in alignment.repetitions]
        reference = inputs.sources[names.index(alignment.reference)]
        grid = inputs.own_uri if alignment.space == "midspace" else reference
        common = {
            **(metadata[0] if inputs.in_place else shared_metadata(metadata)),
            **self._phase_encoding(),
            "Sources": self._sources(),
            "SpatialReference": grid,
            "SkullStripped": were_stripped(metadata, inputs.inputs_stripped),
        }
        made = common | provenance(record, alignment)
        done = {
            "SkullStripped": inputs.skull_stripped or common["SkullStripped"],
            **denoising_sidecar(record),
            **self._correction(record, alignment),
            "Alignment": alignment_sidecar(alignment),
        }
        describe = describe_dwi if inputs.datatype == "dwi" else describe_anat
        words = describe(record, len(metadata))
        return {
            "denoised": common | {"Description": words.denoised} | self._learned_from(record) | done,
            "mean": made | {"Description": words.mean},
            "residual": made | {"Description": words.residual},
            "noise_sd": made | {"Description": words.noise_sd},
            "uncertainty": made | uncertainty_sidecar(record),
            "mask": self._mask(reference, grid),
            "displacement": common | DISPLACEMENT,
            "repetitions": [
                common
                | propagated(own)
                | {"Description": repetition_description(record)}
                | own_noise(done, record, index)
                for index, own in enumerate(metadata)
            ],
        }

    def _sources(self) -> list[str]:
        inputs = self.inputs
        sources = _sources_of(inputs, inputs.accepted)
        return [*sources, inputs.reversed_b0] if inputs.corrected and inputs.reversed_b0 else sources

    def _mask(self, reference: str, grid: str) -> JsonObject:
        """Sidecar of the mask: of a distortion that was taken out, the images that told it are sources."""
        inputs = self.inputs
        sidecar = mask_sidecar(reference, inputs.mask_method, grid=grid, given=inputs.mask_source)
        if not (inputs.corrected and isdefined(inputs.distortion_file)):
            return sidecar
        return sidecar | {"Sources": list(dict.fromkeys([*sidecar["Sources"], *self._sources()]))}

    def _learned_from(self, record: DenoisingRecord) -> JsonObject:
        """The series that told something of this one is among its sources."""
        shares = any(group.chosen == SHARED for group in record.groups or ())
        return {"Sources": [*self._sources(), self.inputs.companion]} if shares else {}

    def _phase_encoding(self) -> JsonObject:
        """Phase-encoding fields that all series share in the world, true for the grid of the reference."""
        inputs = self.inputs
        if inputs.datatype != "dwi" or inputs.corrected:
            return {}
        indices = dict.fromkeys([0, *inputs.accepted])
        affines = [nb.load(inputs.images[index]).affine for index in indices]
        return shared_phase_encoding([inputs.metadata[index] for index in indices], affines)

    def _correction(self, record: DenoisingRecord, alignment: AlignmentRecord) -> JsonObject:
        """What a denoised series tells of noise floor, distortion and motion."""
        inputs = self.inputs
        if inputs.datatype != "dwi":
            return {}
        distortion = None
        if isdefined(inputs.distortion_file):
            distortion = read_typed(DistortionRecord, Path(inputs.distortion_file))
        return {
            # Only some strategies remove it; real parts have none.
            "NoiseFloorRemoved": bool(record.noise_floor_removed or record.real_valued),
            "DistortionCorrected": inputs.corrected,
            **motion_sidecar(alignment, distortion),
        }


def completed_record(record_file: Path, names: Sequence[str], inputs: TraitedSpec) -> DenoisingRecord:
    """Record of the denoiser, with what it does not know: names of the sources, and how the brain was found.

    Parameters
    ----------
    record_file : Path
        Written by ``n2a-tools denoise``, which saw intermediate files.
    names : sequence of str
        Files of the dataset that went in. The halves of one series are repetitions, too, but no such files.
    inputs : TraitedSpec
        ``sources, second_sources, real_valued, mask_method, run_uuid``, and ``warnings`` and
        ``found_warnings``, which are added to those of the denoiser.

    Raises
    ------
    BIDSDataError
        If the repetitions do not differ at all, or the file is no record.
    """
    record = read_typed(DenoisingRecord, record_file)
    if (record.n_repetitions or 1) > 1 and record.noise_sd_mean == 0:
        raise BIDSDataError(
            f"{', '.join(names)}: expected repetitions that differ by their noise, found none in the brain "
            "(SD 0): they hold one measurement; put the right files in place, or exclude copies with "
            "--bids-filter-file"
        )
    rows = record.repetitions
    if len(rows) == len(names):
        rows = tuple(replace(row, file=name) for row, name in zip(rows, names))
    return replace(
        record,
        repetitions=rows,
        mask_method=inputs.mask_method,
        sources=tuple(_sources_of(inputs, range(len(inputs.sources)))),
        real_valued=inputs.real_valued or None,
        run_uuid=inputs.run_uuid,
        warnings=(*record.warnings, *inputs.warnings, *inputs.found_warnings),
    )


def _sources_of(inputs: TraitedSpec, indices: Iterable[int]) -> list[str]:
    """BIDS URIs of all files of these repetitions."""
    seconds = inputs.second_sources if isdefined(inputs.second_sources) else [""] * len(inputs.sources)
    return [uri for index in indices for uri in (inputs.sources[index], seconds[index]) if uri]
