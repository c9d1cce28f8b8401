"""Scanner settings that repetitions must share (TE, TR, flip angle, MT; s or ms), or that get a note."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.quality.voxel_sizes import unlike_voxels
from n2a_bids.contrasts import Contrast, find_contrast
from n2a_bids.dataset.grouping.entities import describe, group_by
from n2a_bids.dataset.grouping.sidecar_duplicates import (
    echoes_of_one,
    other_date_notes,
    same_time_notes,
)
from n2a_bids.dataset.read.acquisition import image_kind
from n2a_bids.dataset.read.setting_values import (
    BRAND,
    DESCRIPTIONS,
    TIMES,
    UNNAMED_AGENT,
    contrast_agents,
    in_seconds,
    lacks_setting,
    setting_value,
    spelled,
)
from n2a_bids.dataset.units import DenoisingUnit, Excluded, ImageFile
from n2a_bids.io.images import read_affine

Group = Literal["anat-repeats", "repeats-by-echo-time", "anat-echoes", "dwi"]
"""Images of one contrast, those whose contrast follows the echo time, echoes, diffusion series."""
_REPEATS: tuple[Group, ...] = ("anat-repeats", "repeats-by-echo-time")
_ANAT: tuple[Group, ...] = (*_REPEATS, "anat-echoes")
_DWI: tuple[Group, ...] = ("dwi",)
_ALL = (*_ANAT, *_DWI)
_TIMED = ("anat-repeats", "dwi-repeats")

_CONTRAST = "look whether they repeat one scan, and leave out what is not with --bids-filter-file"
_RECONSTRUCTION = (
    "noise, sharpness or shading may differ between them, and two reconstructions of one acquisition are no "
    "two measurements"
)
_DESCRIBED = "are they repetitions of one scan? Leave out what is not with --bids-filter-file"
_COIL = "their noise and shading may differ"
_SCANNER = "voxel sizes, distortion and shading may differ by some percent"
_PERSON = "are they images of one person? Leave out what is not with --bids-filter-file"

_ECHOES = "they are echoes of one acquisition, which no mean should join; name them echo-1, echo-2, ..."
_OF_ITS_OWN = "give it a name of its own (acq-) to denoise it with its like"
_OF_A_PERSON = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
_FALSE = frozenset(("false",))
_UNLIKE = "its settings are not those of the others"
_REMEDY = "they are no repetitions; give it a name of its own (acq-, ce-) to denoise it with its like"


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a sidecar, and what follows where images differ in it."""

    field: str
    effect: str
    """What the user should know, the end of a sentence."""
    note_above: float = 0.02
    """Relative difference of numbers from which on a note is written. Text differs or not."""
    refuse_above: float = math.inf
    """Relative difference from which on images are not denoised together. Text: any finite value refuses."""
    refused_in: tuple[Group, ...] = ()
    noted_in: tuple[Group, ...] = _ALL
    missing_differs: bool = False
    """Whether a field that only some images have is a difference."""
    noted_if_missing: bool = False
    """Whether it gets a note where an image whose other settings are told lacks it."""
    is_private: bool = False
    """Whether its values may name a person, so that no note repeats them."""


SETTINGS = (
    Setting("ContrastBolusIngredient", _CONTRAST, 0, 0, _ANAT, missing_differs=True),
    Setting("MTState", _CONTRAST, 0, 0, _ANAT, noted_if_missing=True),
    Setting("MagneticFieldStrength", _SCANNER, 0.05, 0.2, _ALL),
    Setting("RepetitionTime", _CONTRAST, 0.02, 0.5, _REPEATS),
    Setting("EchoTime", _CONTRAST, 0.02, 0.5, ("anat-repeats",), (*_REPEATS, "dwi")),
    Setting("EchoTime", _CONTRAST, math.inf, 0.15, ("repeats-by-echo-time",), ()),
    Setting("EchoTime", _CONTRAST, math.inf, 0.15, _DWI, ()),
    Setting("InversionTime", _CONTRAST, 0.02, 0.25, _REPEATS, noted_if_missing=True),
    Setting("FlipAngle", _CONTRAST, 0.02, 0.35, _REPEATS, _ANAT),
    Setting("PulseSequenceType", _CONTRAST),
    Setting("ScanningSequence", _CONTRAST),
    Setting("SequenceVariant", _CONTRAST),
    Setting("ImageType", _RECONSTRUCTION),
    Setting("NonlinearGradientCorrection", _RECONSTRUCTION),
    Setting("MatrixCoilMode", _RECONSTRUCTION),
    Setting("ParallelAcquisitionTechnique", _RECONSTRUCTION),
    Setting("ParallelReductionFactorInPlane", _RECONSTRUCTION),
    Setting("MultibandAccelerationFactor", _RECONSTRUCTION),
    Setting("PartialFourier", _RECONSTRUCTION),
    Setting("ReconMatrixPE", _RECONSTRUCTION),
    Setting("PixelBandwidth", _RECONSTRUCTION),
    Setting("ReceiveCoilName", _COIL),
    Setting("ReceiveCoilActiveElements", _COIL),
    Setting("Manufacturer", _SCANNER),
    Setting("ManufacturersModelName", _SCANNER),
    Setting("DeviceSerialNumber", _SCANNER),
    Setting("StationName", _SCANNER),
    Setting("SoftwareVersions", _SCANNER),
    *(Setting(field, _DESCRIBED, noted_in=_REPEATS) for field in DESCRIPTIONS),
    *(Setting(field, _PERSON, 0, is_private=True) for field in _OF_A_PERSON),
)
"""The one list of what must agree and of what is worth a note.

Limits for refusal: images whose flip angle, inversion or echo time differ by more are of another
contrast, which a linear match of intensities does not make equal; with another field strength relaxation
itself differs; signal of echo-planar and T2-weighted images falls by a seventh where the echo time grows
by 15 % (of 80 ms, with a T2 of 80 ms).
"""


def protocol_notes(unit: DenoisingUnit) -> list[str]:
    """A sentence for each consequence of what the sidecars of a unit's images differ in.

    Parameters
    ----------
    unit : DenoisingUnit
        Its images are used all the same: whether they repeat each other is decided by the images.

    Returns
    -------
    notes : list of str
        Empty where the settings are equal, to 2 %, or known of one image only. Echo times of echoes differ
        by design.
    """
    kind = group_of(unit)
    differing: dict[str, list[str]] = {}
    for setting in SETTINGS:
        values = [setting_value(image.metadata, setting.field) for image in unit.images]
        lacking = kind in _REPEATS and _is_missing_in_some(setting, values, unit.images)
        if lacking or (kind in setting.noted_in and _differ(setting, values, setting.note_above)):
            field, listed = _told(setting, unit.images)
            told = [value for value in listed if value is not None or setting.missing_differs or lacking]
            values_told = "" if setting.is_private else f" ({', '.join(spelled(value) for value in told)})"
            differing.setdefault(setting.effect, []).append(f"{field}{values_told}")
    notes = [
        f"the sidecars of these images differ in {', '.join(fields)}: {effect}"
        for effect, fields in differing.items()
    ]
    notes += other_date_notes(unit.images)
    return [*notes, *same_time_notes(unit.images)] if unit.kind in _TIMED else notes


def input_notes(unit: DenoisingUnit) -> list[str]:
    """Notes of the finders and of `protocol_notes`."""
    return [*unit.notes, *unit.companion_notes, *(protocol_notes(unit) if unit.datatype != "micr" else [])]


def reason_not_together(first: ImageFile, second: ImageFile, kind: Group) -> str:
    """What forbids to denoise two images together, or an empty string.

    Parameters
    ----------
    kind : str
        What they would be denoised as.

    Returns
    -------
    reason : str
        Half a sentence about `first`.
    """
    kinds = [image_kind(image.metadata) for image in (first, second)]
    if None not in kinds and kinds[0] != kinds[1]:
        own, its = (f"a {one or 'plain image'}" for one in kinds)
        return f"it is {own} by its ImageType, {second.path.name} {its}"
    if kind != "anat-echoes" and (evidence := echoes_of_one(first, second)):
        return f"{evidence}: {_ECHOES}"
    for setting in SETTINGS:
        values = [setting_value(image.metadata, setting.field) for image in (first, second)]
        if kind in setting.refused_in and _differ(setting, values, setting.refuse_above):
            field, told = _told(setting, (first, second))
            own, its = map(spelled, told)
            return f"its {field} is {own}, that of {second.path.name} {its}"
    return ""


def split_protocols(
    images: Sequence[ImageFile], kind: Group, ignoring: Sequence[str]
) -> tuple[list[ImageFile], list[Excluded]]:
    """Set apart images whose settings forbid to denoise them with the others of their names.

    Parameters
    ----------
    kind : str
        What they would be denoised as.
    ignoring : sequence of str
        Entities that may differ within a group.

    Returns
    -------
    kept : list of ImageFile
        Of each group the most that agree; of equally many, those of plain images without contrast agent,
        then the first.
    excluded : list of Excluded
    """
    kept: list[ImageFile] = []
    excluded = []
    for members in group_by(images, ignoring=ignoring):
        if len(members) == 1:
            kept += members
            continue
        affines = {image.path: read_affine(image.path) for image in members}
        why = partial(_why_apart, kind, affines)
        plain_first = sorted(members, key=_is_special)
        together = max((_agreeing(one, plain_first, why) for one in plain_first), key=len)
        kept += [image for image in members if image in together]
        for image in members:
            if image not in together:
                reason = next(filter(None, (why(image, one) for one in together)), f"{_UNLIKE}; {_REMEDY}")
                excluded.append(Excluded(image.path, f"{describe(image)}: {reason}"))
    return kept, excluded


def _why_apart(
    kind: Group, affines: Mapping[Path, NDArray[np.float64] | None], first: ImageFile, second: ImageFile
) -> str:
    """What forbids to denoise two images together, with the remedy; empty where nothing does."""
    reason = reason_not_together(first, second, kind)
    if reason:
        return reason if reason.endswith(_ECHOES) else f"{reason}; {_REMEDY}"
    own, its = affines[first.path], affines[second.path]
    unlike = "" if own is None or its is None else unlike_voxels(own, its, second.path.name)
    return f"{unlike}; {_OF_ITS_OWN}" if unlike else ""


def _is_special(image: ImageFile) -> bool:
    """Whether sidecars tell of a contrast agent, or of an image that is no plain one."""
    return bool(contrast_agents(image.metadata) or image_kind(image.metadata))


def _agreeing(
    first: ImageFile, members: Sequence[ImageFile], why: Callable[[ImageFile, ImageFile], str]
) -> list[ImageFile]:
    """Members that agree with one and with each other: what one does not tell, two others may tell apart."""
    together = [first]
    for image in members:
        if image is not first and not any(why(image, one) for one in together):
            together.append(image)
    return together


def group_of(unit: DenoisingUnit) -> Group:
    """The rules that apply to a unit."""
    if unit.has_echoes:
        return "anat-echoes"
    return repeats_group(find_contrast(unit.suffix)) if unit.datatype == "anat" else "dwi"


def repeats_group(contrast: Contrast) -> Group:
    """The rules that apply to repetitions of a contrast."""
    return "repeats-by-echo-time" if contrast.by_echo_time else "anat-repeats"


def _told(setting: Setting, images: Sequence[ImageFile]) -> tuple[str, list[object]]:
    """The field that tells a setting, and what it says of each image."""
    field = setting.field
    told = [image.metadata.get(field) for image in images]
    if field != "ContrastBolusIngredient":
        return field, told
    brands = [image.metadata.get(BRAND) for image in images]
    either = [brand if name is None else name for name, brand in zip(told, brands, strict=True)]
    return BRAND if told == [None] * len(told) else field, either


def _is_missing_in_some(
    setting: Setting, values: Sequence[float | frozenset[str] | None], images: Sequence[ImageFile]
) -> bool:
    """Whether an image lacks a setting that others tell as more than absent, and tells others itself."""
    if not setting.noted_if_missing or not any(value not in (None, _FALSE) for value in values):
        return False
    return any(lacks_setting(image.metadata, setting.field) for image in images)


def _differ(setting: Setting, values: Sequence[float | frozenset[str] | None], limit: float) -> bool:
    if math.isinf(limit):
        return False
    if setting.missing_differs:
        named = {value for value in values if value and value != UNNAMED_AGENT}
        return len(named) > 1 or any(values) != all(values)
    numbers = [value for value in values if isinstance(value, float)]
    if setting.field in TIMES:
        numbers = in_seconds(numbers)
    words = {value for value in values if isinstance(value, frozenset)}
    if len(words) > 1:
        return True
    return bool(numbers) and max(numbers) - min(numbers) > limit * max(map(abs, numbers))
