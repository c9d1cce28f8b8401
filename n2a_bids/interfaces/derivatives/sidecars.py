"""The last step: files under their BIDS names, whole, with sidecars that say what was done."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits

from n2a_bids import __version__
from n2a_bids.errors import BIDSDataError
from n2a_bids.interfaces.inputs import were_stripped
from n2a_bids.io.json import read_typed, record_text
from n2a_bids.record.alignment import AlignmentRecord
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.typed_json import JsonObject, to_json

PROPAGATED = (
    *("Modality", "Manufacturer", "ManufacturersModelName", "MagneticFieldStrength", "ImagingFrequency"),
    *("SoftwareVersions", "ReceiveCoilName", "InstitutionName", "BodyPart", "PulseSequenceType"),
    *("ScanningSequence", "SequenceVariant", "SequenceName", "MRAcquisitionType"),
    *("NonlinearGradientCorrection", "RepetitionTime", "RepetitionTimeExcitation"),
    *("EchoTime", "InversionTime", "FlipAngle"),
)
"""Metadata of the source that denoising leaves valid."""


class DescribeInputSpec(BaseInterfaceInputSpec):
    """What the sidecars of T1w images and of diffusion series are made from."""

    figures_file = File(exists=True, mandatory=True, desc="JSON of n2a-tools denoise")
    alignment_file = File(exists=True, mandatory=True, desc="JSON of the alignment")
    accepted = traits.List(traits.Int(), mandatory=True, desc="places of the repetitions that were used")
    sources = traits.List(
        traits.Str(), mandatory=True, desc="BIDS URI of every repetition; of series the reference first"
    )
    metadata = traits.List(traits.Dict(), mandatory=True, desc="metadata of every repetition")
    skull_stripped = traits.Bool(mandatory=True, desc="whether the denoised image is zero outside the brain")
    mask_method = traits.Str("not recorded", usedefault=True, desc="how the brain was found, in a few words")
    mask_source = traits.Str("", usedefault=True, desc="BIDS URI of the mask that the user gave")
    warnings = traits.List(traits.Str(), [], usedefault=True, desc="added to those of the denoiser")
    run_uuid = traits.Str("", usedefault=True, nohash=True, desc="the run, for the record")
    found_warnings = traits.List(traits.Str(), [], usedefault=True, desc="of the images; added, too")
    inputs_stripped = traits.Bool(False, usedefault=True, desc="whether the images came without skull")


class _DescribeDerivativesInputSpec(DescribeInputSpec):
    own_uri = traits.Str(
        mandatory=True, desc="BIDS URI of the denoised image, whose own the half-way grid is"
    )


class _DescribeOutputSpec(TraitedSpec):
    denoised = traits.Dict(desc="sidecar of the denoised image")
    mean = traits.Dict(desc="sidecar of the mean")
    residual = traits.Dict(desc="sidecar of the residual map")
    noise_sd = traits.Dict(desc="sidecar of the noise map")
    mask = traits.Dict(desc="sidecar of the brain mask")
    repetitions = traits.List(traits.Dict(), desc="sidecar of each denoised repetition that was used")
    figures_file = File(exists=True, desc="JSON of n2a-tools denoise, with the names of the sources")


class DescribeDerivatives(SimpleInterface):
    """Sidecars of a unit, from what the alignment and the denoiser report."""

    input_spec = _DescribeDerivativesInputSpec
    output_spec = _DescribeOutputSpec
    # The record names the run that wrote it, one that resumes too.
    _always_run = True

    def _run_interface(self, runtime):
        inputs = self.inputs
        alignment = read_typed(AlignmentRecord, Path(inputs.alignment_file))
        sources = [inputs.sources[place] for place in inputs.accepted]
        metadata = [inputs.metadata[place] for place in inputs.accepted]
        names = [repetition.file for repetition in alignment.repetitions]
        used = [names[place] for place in inputs.accepted]
        record = completed_record(Path(inputs.figures_file), used, inputs)
        figures_file = Path(runtime.cwd) / "figures.json"
        figures_file.write_text(record_text(record))
        reference = inputs.sources[names.index(alignment.reference)]
        grid = inputs.own_uri if alignment.space == "halfway" else reference
        common = {
            **shared_metadata(metadata),
            "Sources": sources,
            "SpatialReference": grid,
            "SkullStripped": were_stripped(metadata, inputs.inputs_stripped),
        }
        self._results.update(
            figures_file=os.fspath(figures_file),
            mask=mask_sidecar(reference, inputs.mask_method, grid=grid, given=inputs.mask_source),
            **self._of_images(record, alignment, common, metadata),
        )
        return runtime

    def _of_images(
        self,
        record: DenoisingRecord,
        alignment: AlignmentRecord,
        common: JsonObject,
        metadata: Sequence[JsonObject],
    ) -> Mapping[str, object]:
        """Sidecars of all images but the mask."""
        made = common | provenance(record, alignment)
        done = {**denoising_sidecar(record), "Alignment": alignment_sidecar(alignment)}
        stripped = self.inputs.skull_stripped or common["SkullStripped"]
        aligned = f"{len(metadata)} aligned repetitions"
        description = f"Denoised combination of {aligned}: {record.output_description}"
        return {
            "denoised": common | {"Description": description, "SkullStripped": stripped} | done,
            "mean": made | {"Description": f"Plain mean (equal weights) of {aligned}"},
            "residual": made | {"Description": "Plain mean of the repetitions minus denoised image"},
            "noise_sd": made | {"Description": noise_sd_description(record)},
            "repetitions": [
                common
                | propagated(own)
                | {"Description": repetition_description(record), "SkullStripped": stripped}
                | own_noise(done, record, place)
                for place, own in enumerate(metadata)
            ],
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
        ``sources, mask_method, run_uuid``, and ``warnings`` and ``found_warnings``, which are added to those
        of the denoiser.

    Returns
    -------
    record : DenoisingRecord

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
        sources=tuple(inputs.sources),
        run_uuid=inputs.run_uuid,
        warnings=(*record.warnings, *inputs.warnings, *inputs.found_warnings),
    )


def noise_sd_description(record: DenoisingRecord) -> str:
    """What the map of the noise SD shows."""
    words = "Estimated standard deviation of the noise of one repetition, in image units"
    if record.same_contrast:
        return words
    return f"{words} (root mean square over the echoes, after a linear match of contrasts to the first)"


def repetition_description(record: DenoisingRecord) -> str:
    """What the image of one repetition, written under its own name, is."""
    denoised = "" if record.chosen.mean_won else ", denoised"
    return f"One repetition{denoised}: {record.output_description}"


def own_noise(sidecar: Mapping[str, object], record: DenoisingRecord, place: int) -> JsonObject:
    """The sidecar of a repetition: errors of the mean, whose intensities are others, give way to its noise.

    Examples
    --------
    >>> from n2a_bids.record.denoising import RepetitionRecord
    >>> record = DenoisingRecord(repetitions=(RepetitionRecord(noise_sd=7.0),))
    >>> own_noise({"Device": "cpu", "NoiseSDMean": 3.0}, record, 0)
    {'Device': 'cpu', 'NoiseSD': 7.0}
    """
    kept = {
        key: value for key, value in sidecar.items() if key not in ("NoiseSDMean", "EstimatedErrorDenoised")
    }
    noise_sd = record.repetitions[place].noise_sd if place < len(record.repetitions) else None
    return kept | ({} if noise_sd is None else {"NoiseSD": noise_sd})


def mask_sidecar(reference: str, method: str, *, grid: str = "", given: str = "") -> JsonObject:
    """Sidecar of the brain mask of the reference, on its grid or that of another image; all as BIDS URIs.

    Examples
    --------
    >>> mask_sidecar("bids:raw:run-1", "given", given="bids:m:mask")["Sources"]
    ['bids:raw:run-1', 'bids:m:mask']
    """
    return {
        "Type": "Brain",
        "Description": f"Brain mask, {method}",
        "Sources": [reference, given] if given else [reference],
        "SpatialReference": grid or reference,
    }


def propagated(metadata: Mapping[str, object]) -> JsonObject:
    """The part of an image's metadata that is still true of its denoised version."""
    return {key: metadata[key] for key in PROPAGATED if key in metadata}


def shared_metadata(metadata: Sequence[Mapping[str, object]]) -> JsonObject:
    """Metadata that all repetitions have in common and that denoising leaves valid.

    Examples
    --------
    >>> shared_metadata([{"EchoTime": 0.002, "FlipAngle": 9}, {"EchoTime": 0.004, "FlipAngle": 9}])
    {'FlipAngle': 9}
    """
    first = propagated(metadata[0])
    return {
        key: value for key, value in first.items() if all(other.get(key) == value for other in metadata[1:])
    }


def denoising_sidecar(record: DenoisingRecord) -> JsonObject:
    """What a sidecar tells about the denoising: what was not measured is left out."""
    weights, further = to_json(record).get("weights"), to_json(record).get("further_weights")
    content = {
        "SoftwareVersion": __version__,
        "DenoisingStrategy": record.strategy,
        "DenoisingChosen": record.chosen.name or None,
        "DenoisingShares": record.chosen.shares,
        "DenoisingRecipe": record.recipe,
        "RandomSeed": record.random_seed,
        "Weights": weights,
        "FurtherWeights": further,
        "Device": record.device_name or record.device,
        "Precision": record.precision,
        "NumberOfRepetitions": record.n_repetitions,
        "EquivalentNumberOfAverages": record.equivalent_averages,
        "NoiseSDMean": record.noise_sd_mean,
        "EstimatedErrorDenoised": record.error_denoised,
        "GainOfWeighting": record.gain_of_weighting_db,
        "GainOfDenoising": record.gain_of_denoising_db,
        "Warnings": list(record.warnings) or None,
    }
    return {key: value for key, value in content.items() if value is not None}


def provenance(record: DenoisingRecord, alignment: AlignmentRecord) -> JsonObject:
    """What the sidecar of every image on the common grid tells, denoised or not."""
    sidecar = denoising_sidecar(record)
    known = {key: sidecar[key] for key in ("SoftwareVersion", "NumberOfRepetitions") if key in sidecar}
    return known | {"Alignment": alignment_sidecar(alignment)}


def alignment_sidecar(alignment: AlignmentRecord) -> JsonObject:
    """What a sidecar tells about the alignment."""
    keys = ("file", "rotation_deg", "translation_mm", "correlation_after", "overlap", "accepted", "reason")
    rows = [to_json(repetition) for repetition in alignment.repetitions]
    return {
        "Reference": alignment.reference,
        "Space": alignment.space,
        "Interpolation": alignment.interpolation,
        "Repetitions": [{key: row[key] for key in keys if row.get(key, "") != ""} for row in rows],
    }
