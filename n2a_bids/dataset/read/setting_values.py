"""Reads scanner settings from a sidecar, whatever type or unit converters gave them, to compare them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from n2a_bids.dataset.read.acquisition import quoted
from n2a_bids.io.json import listed

_STORAGE = {"mosaic"}
"""Words of ImageType that tell how slices were filed."""
_NO_AGENT = {"", "none", "no", "n/a", "na"}
_TESLA = 0.0001
"""Of a Gauss: no scanner has a hundred Tesla, so that larger numbers are in Gauss."""
BRAND = "ContrastBolusAgent"
"""Tells of a contrast agent, too, by a name that is no ingredient."""
UNNAMED_AGENT = frozenset(("an agent",))
"""Value of ``ContrastBolusIngredient`` where only its brand is told."""
DESCRIPTIONS = ("SeriesDescription", "ProtocolName")
_INVERTED = re.compile(r"(?<![A-Z])IR(?![A-Z])")
_SPACE = re.compile(r"[\s_\-;,:()/]+")
_NUMBERED = re.compile(r"^([a-z]{3,})\d+$")
"""A word with a number, as MPR1; T1 is none."""
_OF_RUNS = re.compile(
    r"(run|rep|repeat|rpt|rr|scan|nr|no|nd|norm|re|again|first|second|third|fourth)?\d*|[a-z]|\d+(st|nd|rd|th)"
)
"""Words that number runs, or tell of a normalisation, which ImageType tells, too."""
TIMES = ("RepetitionTime", "EchoTime", "InversionTime")
"""In seconds by BIDS; some converters leave milliseconds."""
_QUANTITIES = (*TIMES, "FlipAngle", "MagneticFieldStrength")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
"""Of a quantity that is written as text, which some converters do."""
_OTHER_UNIT = 500.0
"""Ratio of two times of one kind above which one is in milliseconds: no two protocols differ that much."""


def setting_value(metadata: Mapping[str, object], field: str) -> float | frozenset[str] | None:
    """A number, or words in any order; None for what is missing or of a wrong type."""
    value = metadata.get(field)
    if field == "ContrastBolusIngredient":
        named = _words(value) - _NO_AGENT
        return named or (UNNAMED_AGENT if contrast_agents(metadata) else frozenset())
    if field in DESCRIPTIONS:
        return _description(value) or None
    if isinstance(value, bool):
        return frozenset((str(value).casefold(),))
    if field in _QUANTITIES and isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, int | float):
        number = float(value) if abs(value) < 1e12 else math.nan
        if field in TIMES and number <= 0:
            return None
        if field == "MagneticFieldStrength" and number > 100:
            number *= _TESLA
        return number if math.isfinite(number) else None
    return (_words(value) - _STORAGE) or None


def lacks_setting(metadata: Mapping[str, object], field: str) -> bool:
    """Whether a sidecar tells of a scan but not of a setting.

    Examples
    --------
    >>> lacks_setting({"EchoTime": 0.09}, "InversionTime")
    True
    >>> lacks_setting({"EchoTime": 0.09, "ScanningSequence": ["SE", "IR"]}, "InversionTime")
    False
    """
    sequence = ";".join(text for text in listed(metadata.get("ScanningSequence")) if isinstance(text, str))
    if field == "InversionTime" and _INVERTED.search(sequence):
        # It has one, of which only the time is not told.
        return False
    return setting_value(metadata, field) is None and any(metadata.get(time) for time in TIMES)


def contrast_agents(metadata: Mapping[str, object]) -> frozenset[str]:
    """Words for the contrast agents of a scan; none where it had none, or its sidecar tells nothing."""
    return (_words(metadata.get("ContrastBolusIngredient")) | _words(metadata.get(BRAND))) - _NO_AGENT


def _description(value: object) -> frozenset[str]:
    """Words of a description, without those by which scanners and operators number runs of one scan."""
    text = " ".join(part for part in listed(value) if isinstance(part, str)).casefold()
    words = (_NUMBERED.sub(r"\1", word) for word in _SPACE.split(text) if word)
    return frozenset(word for word in words if not _OF_RUNS.fullmatch(word))


def _words(value: object) -> frozenset[str]:
    """Of text, or of a list of texts, in lower case; lists of codes come in any order."""
    parts = [
        part for text in listed(value) if isinstance(text, str) for part in text.replace("\\", ";").split(";")
    ]
    return frozenset(part.strip().casefold() for part in parts if part.strip())


def in_seconds(times: Sequence[float]) -> list[float]:
    """Times of which some sidecars give milliseconds where others give seconds.

    Examples
    --------
    >>> in_seconds([2.3, 2300.0, 2.0])
    [2.3, 2.3, 2.0]
    """
    shortest = min((time for time in times if time > 0), default=math.inf)
    return [time / 1000 if time > _OTHER_UNIT * shortest else time for time in times]


def spelled(value: object) -> str:
    """A value of a sidecar in the text of a message; of a list of texts each, parted by a stroke."""
    if value is None:
        return "not given"
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "/".join(value)
    return quoted(value).strip('"')
