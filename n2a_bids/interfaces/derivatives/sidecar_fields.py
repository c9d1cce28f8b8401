"""Fields of the JSON sidecars of results, from the records of a run and the sources' sidecars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids import __version__
from n2a_bids.dataset.read.acquisition import read_acquisition
from n2a_bids.io.gradients import phase_encoding_in_world
from n2a_bids.record.alignment import AlignmentRecord, DistortionRecord
from n2a_bids.record.denoising import DenoisingRecord, NoiseModelRecord
from n2a_bids.record.typed_json import JsonObject, to_json

PROPAGATED = (
    *("Modality", "Manufacturer", "ManufacturersModelName", "MagneticFieldStrength", "ImagingFrequency"),
    *("SoftwareVersions", "ReceiveCoilName", "InstitutionName", "BodyPart", "PulseSequenceType"),
    *("ScanningSequence", "SequenceVariant", "SequenceName", "MRAcquisitionType"),
    *("NonlinearGradientCorrection", "RepetitionTime", "RepetitionTimeExcitation"),
    *("EchoTime", "InversionTime", "FlipAngle"),
)
"""Metadata of the source that denoising leaves valid."""
_ONE_DIRECTION = 0.9
"""Cosine from which on two directions of phase encoding are one: oblique cuts differ by some degrees."""
PHASE_ENCODING = ("PhaseEncodingDirection", "TotalReadoutTime", "EffectiveEchoSpacing")
"""True as long as the distortion is still in the image."""
DISPLACEMENT = {
    "Description": "Displacement of the first series by susceptibility, in voxels along its phase-encoding "
    "axis, positive towards higher indices",
    "Units": "voxel",
}


@dataclass(frozen=True, slots=True)
class Descriptions:
    """What each image of a group is, in a sentence."""

    denoised: str
    mean: str
    residual: str
    noise_sd: str


def describe_anat(record: DenoisingRecord, count: int) -> Descriptions:
    """Sentences about the images made of a number of anatomical repetitions, echoes, or one image alone."""
    noise_sd = "Estimated standard deviation of the noise of one repetition, in image units"
    if not record.same_contrast:
        noise_sd += " (root mean square over the echoes, after a linear match of contrasts to the first)"
    if count == 1:
        return Descriptions(
            denoised=f"Denoised single image, which was not repeated: {record.output_description}",
            mean="The single image as it was acquired",
            residual="The single image minus denoised image",
            noise_sd="Standard deviation of the noise, estimated from the image itself, in image units",
        )
    return Descriptions(
        denoised=f"Denoised combination of {count} aligned repetitions: {record.output_description}"
        + _real_valued(record),
        mean=f"Plain mean (equal weights) of {count} aligned repetitions",
        residual="Plain mean of the repetitions minus denoised image",
        noise_sd=noise_sd,
    )


def describe_dwi(record: DenoisingRecord, count: int) -> Descriptions:
    """Sentences about the images made of a number of diffusion series."""
    subject = "one diffusion series" if count == 1 else f"the mean of {count} aligned diffusion series"
    if count == 1 and (record.n_repetitions or 1) != 1:
        subject = "the mean of two series synthesized from the tensors of halves of one series"
    return Descriptions(
        denoised=f"Denoised: {record.output_description}; from {subject}{_real_valued(record)}",
        mean=f"Not denoised: {subject}",
        residual=f"Difference of {subject} and the denoised series",
        noise_sd="Estimated SD of the complex noise of one acquisition, in image units",
    )


def uncertainty_sidecar(record: DenoisingRecord) -> JsonObject:
    """What the map of expected errors shows, which is zero outside of the brain.

    Examples
    --------
    >>> uncertainty_sidecar(DenoisingRecord(strategy="auto", mean_better=0.02))["FractionMeanBetter"]
    0.02
    """
    alone, shells = record.n_repetitions == 1, record.uncertainty_shells
    image = "series" if shells else "image"
    kept = f"the noise of the {image}" if alone else "the noise left in the mean"
    what = kept if record.chosen.mean_won else "noise left and detail lost together"
    missing = (
        f"It rests on the noise level, which was estimated from this one {image}, and what is no noise is "
        "not in it: distortion, ghosts, motion"
        if alone
        else "What all repetitions share is not in it: distortion, ghosts, motion during each, and what "
        "misalignment blurs"
    )
    voxel = "voxel of one volume of each shell" if shells else "voxel"
    sidecar: JsonObject = {
        "Description": f"Expected error (root mean square) of each {voxel} of the denoised {image}, {what}, "
        f"in image units; zero outside of the brain. {missing}",
        "SkullStripped": True,
    }
    if shells:
        sidecar["ShellBValues"] = list(shells)
    return sidecar if record.mean_better is None else sidecar | {"FractionMeanBetter": record.mean_better}


def repetition_description(record: DenoisingRecord) -> str:
    """What the image of one repetition, written under its own name, is."""
    denoised = "" if record.chosen.mean_won else ", denoised"
    return f"One repetition{denoised}: {record.output_description}"


def _real_valued(record: DenoisingRecord) -> str:
    """What negative intensities mean, where there are complex data."""
    words = "; real part of complex data whose smooth phase was taken out, negative where noise is left"
    return words if record.real_valued else ""


def own_noise(sidecar: Mapping[str, object], record: DenoisingRecord, index: int) -> JsonObject:
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
    noise_sd = record.repetitions[index].noise_sd if index < len(record.repetitions) else None
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
        **_noise_sidecar(record.noise_model),
        "NoiseLevelUncertainty": record.noise_level_uncertainty,
        "EstimatedErrorDenoised": record.error_denoised,
        "GainOfWeighting": record.gain_of_weighting_db,
        "GainOfDenoising": record.gain_of_denoising_db,
        "RealValued": record.real_valued,
        "FractionMeanBetter": record.mean_better,
        "Warnings": list(record.warnings) or None,
    }
    return {key: value for key, value in content.items() if value is not None}


def _noise_sidecar(model: NoiseModelRecord | None) -> JsonObject:
    """What is told of the noise; None where it is not known."""
    if model is None:
        return {}
    is_partial = model.partial_fourier is not None and min(model.partial_fourier) < 1
    return {
        "NoiseFWHM": model.fwhm_voxels and list(model.fwhm_voxels),
        "AcquiredMatrix": model.acquired_matrix and list(model.acquired_matrix),
        "AcquiredPartialFourier": list(model.partial_fourier) if is_partial else None,
    }


def provenance(record: DenoisingRecord, alignment: AlignmentRecord) -> JsonObject:
    """What the sidecar of every image on the common grid tells, denoised or not."""
    sidecar = denoising_sidecar(record)
    known = {key: sidecar[key] for key in ("SoftwareVersion", "NumberOfRepetitions") if key in sidecar}
    return known | {"Alignment": alignment_sidecar(alignment)}


def alignment_sidecar(alignment: AlignmentRecord) -> JsonObject:
    """What a sidecar tells about the alignment."""
    keys = (
        *("file", "rotation_deg", "translation_mm", "correlation_after", "overlap", "shading"),
        *("accepted", "reason"),
    )
    rows = [to_json(repetition) for repetition in alignment.repetitions]
    return {
        "Reference": alignment.reference,
        "Space": alignment.space,
        "Interpolation": alignment.interpolation,
        "Repetitions": [{key: row[key] for key in keys if row.get(key, "") != ""} for row in rows],
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
    if eddies := max(row.eddy_currents_mm or 0.0 for row in alignment.used):
        sidecar["MaxEddyCurrentDisplacement"] = eddies
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
