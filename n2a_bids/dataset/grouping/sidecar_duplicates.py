"""One acquisition in several files, by sidecars: with and without normalisation, or its echoes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date

from n2a_bids.dataset.grouping.entities import describe, group_by
from n2a_bids.dataset.read.acquisition import image_kind, image_type, is_phase, positive_number
from n2a_bids.dataset.units import Excluded, ImageFile

_SAME_TIME_S = 1e-3
_LARGEST_NUMBER = 1e12
_STEPS = {
    "NORM": 1,
    "DIS2D": 1,
    "DIS3D": 1,
    "FIL": 1,
    "FILTERED": 1,
    "SECONDARY": 1,
    "RESAMPLED": 1,
    "MOCO": 1,
    "DERIVED": 2,
    "AVERAGE": 2,
    "MEAN": 2,
    "ADD": 2,
    "SUB": 2,
    "MIP": 2,
    "PROJECTION IMAGE": 2,
}
"""Words of ImageType that tell of processing after the reconstruction; 2 where images were combined."""
_RECONSTRUCTION = ("ImageType", "SeriesNumber", "SeriesInstanceUID", "SeriesDescription", "SeriesTime")
_SETTINGS = ("EchoTime", "EchoNumber", "FlipAngle", "InversionTime", "PhaseEncodingDirection")
_DATES = ("AcquisitionDate", "SeriesDate", "StudyDate", "ContentDate")
_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:T.*)?")
_MOST_DAYS = 30
"""Between scans, in which a brain changes little."""
_SAME_ECHO_TIME = 0.02
"""Echo times of one echo differ by less, by rounding."""
_TIME = re.compile(r"(\d{1,2}):?(\d{2}):?(\d{1,2}(?:\.\d*)?)")


def split_same_acquisition(images: Sequence[ImageFile]) -> tuple[list[ImageFile], list[Excluded]]:
    """Set apart images whose sidecars say that they are another image, processed further.

    A scanner starts one acquisition at a time, so that one AcquisitionTime to the fraction of a second, or
    one SeriesInstanceUID, in sidecars that otherwise tell of two reconstructions, means one acquisition.
    Times without a fraction, or midnight, are what anonymisation leaves, and sidecars that are equal in
    everything may have been copied along: there the noise of the images decides later.

    Parameters
    ----------
    images : sequence of ImageFile
        Compared where their names differ in ``run`` only: echoes, parts and directions of phase encoding may
        share their time.

    Returns
    -------
    kept : list of ImageFile
        Of each acquisition the image with the fewest steps of processing; of equals the first.
    excluded : list of Excluded
    """
    kept, excluded = [], []
    for members in group_by(images, ignoring={"run"}):
        order = {image.path: index for index, image in enumerate(members)}
        found: list[ImageFile] = []
        for image in sorted(members, key=lambda one: (count_processing(one.metadata), order[one.path])):
            evidence = [(one, text) for one in found if (text := _evidence(one.metadata, image.metadata))]
            if not evidence:
                found.append(image)
                continue
            first, text = evidence[0]
            excluded.append(
                Excluded(
                    image.path,
                    f"{describe(image)}: one acquisition with {first.path.name} ({text}), "
                    f"{_how(image, first)}: counted once",
                )
            )
        kept += sorted(found, key=lambda one: order[one.path])
    return kept, excluded


def same_time_notes(images: Sequence[ImageFile]) -> list[str]:
    """A sentence where sidecars tell of one start for several images, but not that they are one image."""
    times = [_seconds(image.metadata) for image in images]
    names = [
        image.path.name
        for image, time in zip(images, times, strict=True)
        if time is not None and _is_precise(time) and sum(_equal(time, other) for other in times) > 1
    ]
    if not names:
        return []
    return [
        f"{', '.join(names)} have one AcquisitionTime in their sidecars: whether they are one acquisition "
        "is told by their noise"
    ]


def other_date_notes(images: Sequence[ImageFile]) -> list[str]:
    """A sentence where sidecars tell of scans that are more than a month apart; no date is told."""
    days = [day for image in images if (day := _day(image.metadata)) is not None]
    apart = max(days, default=0) - min(days, default=0)
    if apart <= _MOST_DAYS:
        return []
    return [
        f"these images were acquired {apart} days apart, by the dates in their sidecars: anatomy may have "
        "changed, and the result shows the mean of what it was; are they of one session? Leave out what is "
        "not with --bids-filter-file"
    ]


def _day(metadata: Mapping[str, object]) -> int | None:
    """Number of the day of an acquisition; None where it is not told."""
    for key in ("AcquisitionDateTime", *_DATES):
        found = _DATE.fullmatch(str(metadata.get(key, "")).strip())
        try:
            if found:
                return date(*map(int, found.groups())).toordinal()
        except ValueError:
            continue  # a date that is none, as anonymisation leaves it
    return None


def echoes_of_one(first: ImageFile, second: ImageFile) -> str:
    """What tells that two images are echoes of one acquisition, or an empty string.

    Converters that know no ``echo-`` number the files of a multi-echo scan as runs.

    Returns
    -------
    evidence : str
        Half a sentence about `first`.
    """
    own, its = first.metadata, second.metadata
    name = second.path.name
    numbers = [positive_number(one.get("EchoNumber")) for one in (own, its)]
    if None not in numbers and numbers[0] != numbers[1]:
        return f"its EchoNumber is {numbers[0]:g}, that of {name} {numbers[1]:g}"
    times = [positive_number(one.get("EchoTime")) for one in (own, its)]
    if None in times or max(times) - min(times) <= _SAME_ECHO_TIME * max(times):
        return ""
    shared = _start_or_series(own, its)
    if not shared:
        return ""
    return f"its EchoTime is {times[0]:g}, that of {name} {times[1]:g}, with one {shared}"


def _start_or_series(first: Mapping[str, object], second: Mapping[str, object]) -> str:
    """The field by which two scans are one, which starts and dates do not contradict; empty without one."""
    if any(_known_to_differ(first, second, key) for key in _DATES):
        return ""
    field = _start_or_uid(first, second)
    if field is None or field:
        return field or ""
    number = first.get("SeriesNumber")
    is_one = None not in (_seconds(first), _seconds(second), number)
    return "AcquisitionTime and SeriesNumber" if is_one and number == second.get("SeriesNumber") else ""


def _start_or_uid(first: Mapping[str, object], second: Mapping[str, object]) -> str | None:
    """The field by which two scans are one by itself; empty without one, None where their starts differ."""
    own, its = _seconds(first), _seconds(second)
    if own is not None and its is not None:
        if not _equal(own, its):
            return None
        if _is_precise(own):
            return "AcquisitionTime"
    uid = first.get("SeriesInstanceUID")
    is_one = isinstance(uid, str) and uid.strip() and uid == second.get("SeriesInstanceUID")
    return "SeriesInstanceUID" if is_one else ""


def count_processing(metadata: Mapping[str, object]) -> int:
    """Steps of processing after reconstruction that a sidecar tells of.

    Examples
    --------
    >>> count_processing({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]})
    0
    >>> count_processing({"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS3D"]})
    2
    """
    words = image_type(metadata)
    corrected = metadata.get("NonlinearGradientCorrection") is True and not words & {"DIS2D", "DIS3D"}
    return sum(_STEPS.get(word, 0) for word in words) + corrected


def _how(image: ImageFile, first: ImageFile) -> str:
    more = sorted((image_type(image.metadata) - image_type(first.metadata)) & _STEPS.keys())
    return f"processed further ({', '.join(more)})" if more else "stored twice"


def _evidence(first: Mapping[str, object], second: Mapping[str, object]) -> str:
    """What tells that two sidecars are of one acquisition, or an empty string."""
    if not any(_known_to_differ(first, second, key) for key in _RECONSTRUCTION):
        return ""
    # Water and fat, magnitude and phase are of one acquisition, and no copies.
    if image_kind(first) != image_kind(second) or is_phase(first) != is_phase(second):
        return ""
    if any(_known_to_differ(first, second, key) for key in (*_SETTINGS, "AcquisitionNumber", *_DATES)):
        return ""
    field = _start_or_uid(first, second)
    if field == "AcquisitionTime":
        return f"AcquisitionTime {_spell(_seconds(first))} of both"
    return f"{field} of both" if field else ""


def _known_to_differ(first: Mapping[str, object], second: Mapping[str, object], key: str) -> bool:
    if key == "ImageType":
        own, its = image_type(first), image_type(second)
        return bool(own and its) and own != its
    values = [first.get(key), second.get(key)]
    if any(value is None or value == "" for value in values):
        return False
    if all(isinstance(value, int | float) and abs(value) < _LARGEST_NUMBER for value in values):
        return not math.isclose(*values, rel_tol=1e-3)
    return values[0] != values[1]


def _seconds(metadata: Mapping[str, object]) -> float | None:
    """Start of the acquisition, in seconds of its day; None where it is not told."""
    for key in ("AcquisitionTime", "AcquisitionDateTime"):
        value = metadata.get(key)
        text = value if isinstance(value, str) else ""
        if isinstance(value, int | float) and 0 <= value < _LARGEST_NUMBER:
            text = f"{value:013.6f}"
        text = text.partition("T")[2] or text
        found = _TIME.fullmatch(text.strip().removesuffix("Z"))
        if found:
            return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])
    return None


def _is_precise(seconds: float) -> bool:
    """Whether a time holds a fraction of a second: no anonymised or rounded one does."""
    return abs(seconds - round(seconds)) > _SAME_TIME_S


def _equal(first: float | None, second: float | None) -> bool:
    return first is not None and second is not None and abs(first - second) < _SAME_TIME_S


def _spell(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:02d}:{minutes:02d}:{rest:07.4f}"
