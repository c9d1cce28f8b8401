"""Settings of the scanner in which images that should repeat each other differ."""

from __future__ import annotations

from collections.abc import Sequence

from n2a_bids.dataset.units import DenoisingUnit, ImageFile

_NUMBERS = ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "MagneticFieldStrength")
_NAMES = ("PulseSequenceType", "ScanningSequence", "SequenceVariant")
_ROUNDING = 0.02


def protocol_notes(unit: DenoisingUnit) -> list[str]:
    """A sentence where the sidecars of a unit's images tell of different protocols.

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
    numbers = [key for key in _NUMBERS if not (unit.kind == "t1w-echoes" and key == "EchoTime")]
    differing = [
        f"{key} ({', '.join(str(value) for value in values)})"
        for keys, differ in ((numbers, _numbers_differ), (_NAMES, _names_differ))
        for key in keys
        if differ(values := _values(unit.images, key))
    ]
    if not differing:
        return []
    return [
        f"the sidecars of these images differ in {', '.join(differing)}: look whether they repeat "
        "one scan, and leave out what is not with --bids-filter-file"
    ]


def _values(images: Sequence[ImageFile], key: str) -> list[object]:
    """Of those images that have the field, in their order."""
    return [image.metadata[key] for image in images if image.metadata.get(key) is not None]


def _numbers_differ(values: Sequence[object]) -> bool:
    known = [
        float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return bool(known) and max(known) - min(known) > _ROUNDING * max(abs(value) for value in known)


def _names_differ(values: Sequence[object]) -> bool:
    # A sequence is one name or a list of codes, in any order.
    return (
        len({tuple(sorted(map(str, value if isinstance(value, list) else [value]))) for value in values}) > 1
    )
