"""Reads phase encoding, readout time (s, not ms) and ImageType from a sidecar."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from n2a_bids.io.json import listed

_AXES = {"i": "i", "j": "j", "k": "k", "x": "i", "y": "j", "z": "k"}
NOTATION = "i, j or k, with - where reversed"
"""How BIDS writes a direction of phase encoding."""
_DIRECTION = re.compile(r"([ijkxyz])([+-]?)")
_READOUT_RANGE_S = (0.001, 1.0)
"""No echo-planar readout comes near: a larger number is in milliseconds, a smaller one is of one line."""
_LEAST_CROPPED = 0.5
"""Part of the reconstructed lines that a cropped image holds more than: a head would not fit into less."""
_LONGEST_QUOTE = 40
_MAPS = {
    "TRACEW": "trace-weighted image",
    "TRACE": "trace-weighted image",
    "ADC": "map of apparent diffusion",
    "EADC": "map of apparent diffusion",
    "EXP": "map of apparent diffusion",
    "FA": "map of anisotropy",
    "COLFA": "map of anisotropy",
    "DIFFUSION ANISO": "map of anisotropy",
    "TENSOR": "tensor map",
    "CALC BVALUE": "image of a computed b-value",
}
"""Words of ImageType with which scanners mark what they computed from diffusion-weighted volumes."""
_MAGNITUDE = {"M", "MAGNITUDE"}
_PHASE = {"P", "PHASE"}
_DIXON_PHASE = {"IN", "OPP", "OUT", "OPPOSED", "IP", "OP"}
"""Words that stand before PHASE where it is not the image but fat and water that have one."""
_KINDS = {
    "WATER": "water image",
    "FAT": "fat image",
    "W": "water image",
    "F": "fat image",
    "IN PHASE": "in-phase image",
    "IP": "in-phase image",
    "OPP PHASE": "opposed-phase image",
    "OPPOSED PHASE": "opposed-phase image",
    "OUT PHASE": "opposed-phase image",
    "OP": "opposed-phase image",
    "INV1": "first inversion image",
    "INV2": "second inversion image",
    "UNI-DEN": "uniform image without noise in the air",
    "UNI DEN": "uniform image without noise in the air",
    "UNI": "uniform image",
    "SUBTRACTION": "difference of images",
    "SUB": "difference of images",
    "MIP": "projection",
    "MINIP": "projection",
    "PROJECTION IMAGE": "projection",
    "T1 MAP": "map of T1",
    "T2 MAP": "map of T2",
    "T2* MAP": "map of T2*",
    "T2STAR MAP": "map of T2*",
    "R": "real part",
    "REAL": "real part",
    "I": "imaginary part",
    "IMAGINARY": "imaginary part",
}
"""Words of ImageType that tell what an image shows; the first that fit tell most."""


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Fields of a sidecar that were believed after a look."""

    phase_encoding: str = ""
    """``i``, ``j`` or ``k``, with ``-`` where reversed; empty where the sidecar does not say."""
    phase_encoding_axis: str = ""
    """``i``, ``j`` or ``k``: known without the polarity where a sidecar holds ``PhaseEncodingAxis`` only."""
    readout_time_s: float | None = None
    """``TotalReadoutTime``, finite and positive; None where it is not known."""
    notes: tuple[str, ...] = ()
    """What was not believed, and why: one sentence each."""
    unread: str = ""
    """A ``PhaseEncodingDirection`` that cannot be read, as the sidecar spells it."""
    in_plane: str = ""
    """``COL`` or ``ROW`` of ``InPlanePhaseEncodingDirectionDICOM``: what is left where nothing else tells."""


def read_acquisition(metadata: Mapping[str, object], shape: Sequence[int] = ()) -> Acquisition:
    """Take from a sidecar what the correction of distortion needs.

    Parameters
    ----------
    metadata : mapping
        Content of the sidecar, inheritance applied.
    shape : sequence of int, optional
        Voxels of the image along its axes: the lines of an echo-planar readout, where ``ReconMatrixPE`` does
        not tell them, or tells what cannot be of this image.

    Returns
    -------
    acquisition : Acquisition
        ``x y z`` are read as ``i j k``, and a trailing ``+`` and spaces are dropped. A readout time that is
        no finite positive number is computed from ``EffectiveEchoSpacing`` and the lines, or taken for
        missing; values that are not believed are quoted in the notes.

    Examples
    --------
    >>> read_acquisition({"PhaseEncodingDirection": " y- ", "TotalReadoutTime": 0.05}).phase_encoding
    'j-'
    >>> spacing = {"PhaseEncodingDirection": "j", "EffectiveEchoSpacing": 0.0005}
    >>> read_acquisition(spacing, (96, 101, 60)).readout_time_s
    0.05
    """
    direction, notes = _direction(metadata, "PhaseEncodingDirection")
    axis, more = _direction(metadata, "PhaseEncodingAxis") if not direction else (direction, ())
    axis = axis.rstrip("-")
    lines = dict(zip("ijk", shape)).get(axis)
    readout_time_s, still_more = _readout_time_s(metadata, lines)
    unread = quoted(metadata["PhaseEncodingDirection"]) if notes else ""
    in_plane = metadata.get("InPlanePhaseEncodingDirectionDICOM")
    return Acquisition(
        direction,
        axis,
        readout_time_s,
        (*notes, *more, *still_more),
        unread,
        in_plane.strip().upper() if isinstance(in_plane, str) else "",
    )


def computed_map(metadata: Mapping[str, object]) -> str:
    """Name what the scanner computed from diffusion-weighted volumes, by the sidecar; empty for volumes.

    Examples
    --------
    >>> computed_map({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "NORM"]})
    'trace-weighted image'
    """
    words = image_type(metadata)
    return next((meaning for marks, meaning in _MAPS.items() if words.issuperset(marks.split())), "")


def is_phase(metadata: Mapping[str, object]) -> bool:
    """Whether ImageType says that an image shows the phase of the signal.

    Examples
    --------
    >>> is_phase({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND", "PHASE"]})
    True
    >>> is_phase({"ImageType": ["DERIVED", "PRIMARY", "DIXON", "OPP", "PHASE"]})
    False
    """
    words = _single_words(metadata)
    return bool(words & _PHASE) and not words & (_MAGNITUDE | _DIXON_PHASE)


def image_kind(metadata: Mapping[str, object]) -> str | None:
    """What an image shows by ImageType, if it is no plain magnitude; None where ImageType tells nothing.

    Examples
    --------
    >>> image_kind({"ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]})
    'water image'
    >>> image_kind({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}), image_kind({})
    ('', None)
    """
    words = _single_words(metadata)
    if not words:
        return None
    return next((kind for marks, kind in _KINDS.items() if words.issuperset(marks.split())), "")


def _single_words(metadata: Mapping[str, object]) -> set[str]:
    """Words of ImageType, also of values of several words."""
    return {word for text in image_type(metadata) for word in (text, *text.split())}


def image_type(metadata: Mapping[str, object]) -> set[str]:
    """Words of ImageType, however they are parted; without that which tells how slices were filed.

    Examples
    --------
    >>> sorted(image_type({"ImageType": ["ORIGINAL", "m_nd", "MOSAIC"]}))
    ['M', 'ND', 'ORIGINAL']
    """
    texts = [text for text in listed(metadata.get("ImageType")) if isinstance(text, str)]
    words = {word.strip().upper() for text in texts for word in re.split(r"[\\_;]", text)}
    return words - {"", "MOSAIC"}


def positive_number(value: object) -> float | None:
    """A number that is finite and above zero; None for all else (text, truth values, NaN, infinity).

    Examples
    --------
    >>> positive_number(2), positive_number(True), positive_number(10**400)
    (2.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= sys.float_info.max else None


def quoted(value: object) -> str:
    """A value of a sidecar as a message shows it: short, in one line."""
    # As JSON writers of Python spell it.
    text = json.dumps(value) if isinstance(value, int | float | str | bool) else repr(value)
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "..."


def _direction(metadata: Mapping[str, object], field: str) -> tuple[str, tuple[str, ...]]:
    value = metadata.get(field)
    if value is None:
        return "", ()
    # Some tools write a typographic minus.
    text = "".join(value.split()).casefold().replace("\N{MINUS SIGN}", "-") if isinstance(value, str) else ""
    found = _DIRECTION.fullmatch(text)
    if found is None:
        allowed = NOTATION if field == "PhaseEncodingDirection" else "i, j or k"
        return "", (f"{field} is {quoted(value)}, not {allowed}: taken for missing",)
    return _AXES[found[1]] + found[2].replace("+", ""), ()


def _readout_time_s(
    metadata: Mapping[str, object], image_lines: int | None
) -> tuple[float | None, tuple[str, ...]]:
    value = metadata.get("TotalReadoutTime")
    given = positive_number(value)
    if given is not None and _is_plausible(given):
        return given, ()
    spacing = positive_number(metadata.get("EffectiveEchoSpacing"))
    lines, of_lines, doubt = _lines(metadata, image_lines)
    computed = spacing * (lines - 1) if spacing and lines and lines > 1 else None
    notes = (doubt,) if doubt and computed is not None else ()
    if computed is not None and not _is_plausible(computed):
        low, high = _READOUT_RANGE_S
        made = f"a readout of {computed:.3g} s by {of_lines}, not of {low:g} to {high:g} s: taken for missing"
        notes, computed = (*notes, f"EffectiveEchoSpacing is {spacing:g} s, which makes {made}"), None
    if value is None:
        return computed, notes
    kind = "a finite, positive number of seconds"
    if given:
        low, high = _READOUT_RANGE_S
        kind = "seconds (in milliseconds?)" if given > high else f"at least {low:g} s"
    instead = "taken for missing"
    if computed is not None:
        instead = f"{computed:.4g} s was computed from EffectiveEchoSpacing and {of_lines}"
    return computed, (
        *notes,
        f"TotalReadoutTime is {quoted(value)}, not {kind}: {instead}",
    )


def _lines(metadata: Mapping[str, object], image_lines: int | None) -> tuple[float | None, str, str]:
    """Lines of the readout, what tells them, and a sentence where sidecar and image do not agree."""
    field, image = "ReconMatrixPE", "the lines of the image"
    told = positive_number(metadata.get(field))
    if told is None or image_lines is None or told == image_lines:
        return told or image_lines, field if told else image, ""
    differs = f"{field} is {told:g}, but the image has {image_lines} lines along its phase encoding"
    if _LEAST_CROPPED < image_lines / told < 1:
        # What was cut off was read out all the same.
        return told, field, f"{differs}: taken for cropped, and the readout for that of {told:g} lines"
    return image_lines, image, f"{differs}: the readout is computed from {image_lines}; correct {field}"


def _is_plausible(readout_s: float) -> bool:
    low, high = _READOUT_RANGE_S
    return low <= readout_s <= high
