"""Finds diffusion series of opposite phase encoding: pairs, and the runs that repeat them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from n2a_bids.dataset.grouping.dwi_volumes import CommonPart, common_part, common_part_with
from n2a_bids.dataset.grouping.entities import DIRECTION, shared_entities
from n2a_bids.dataset.names import comparable
from n2a_bids.dataset.read.acquisition import NOTATION
from n2a_bids.dataset.read.gradient_tables import Series, encodings
from n2a_bids.dataset.units import DenoisingUnit, PhaseEncoding

Relation = Literal["opposite", "same", "across", "same axis", "unknown"]

_MISSING, _DIFFERS = "TotalReadoutTime is missing for", "TotalReadoutTime differs"
_READOUT_TOLERANCE = 0.05
"""Of readout times, as a part of the longest: it moves what is distorted by 10 mm by half a millimetre."""
_LARGEST_ANGLE_DEG = 25.0
"""Between the axes of phase encoding: cuts of one head, and heads, are rotated by up to twenty degrees."""


def find_reverse_pe(series: Sequence[Series], *, trust_labels: bool = False) -> list[DenoisingUnit]:
    """Group series whose phase is encoded in opposite directions of the head.

    The direction comes from ``PhaseEncodingDirection`` of the sidecar, through the affine of the image. Where
    several pairs are possible, those that share most of their gradient table are taken first, then those with
    the same ``run``. Further series that have the table of a pair, and its axis, join it.

    Parameters
    ----------
    series : sequence of Series
        Of one participant and session, with names that differ in ``dir`` and ``run`` only.
    trust_labels : bool
        Also pair series whose sidecars tell the axis alone (``PhaseEncodingAxis``) and whose labels do not
        say that they are the same: whether they are opposite is left to the estimate of the distortion.

    Returns
    -------
    units : list of DenoisingUnit
        Of two or more, in the order of `series`; no series is in two.
    """
    ranked = []
    for (i, first), (j, second) in combinations(enumerate(series), 2):
        encoding = opposite_encoding(first, second, trust_labels=trust_labels)
        if encoding and (common := common_part((first, second))) and common.has_b0:
            unlabelled = compare_labels(first, second) != "opposite"
            order = (-common.n_weighted, unlabelled, _run(first) != _run(second), i + j, i, j)
            ranked.append((order, common, encoding))
    units, taken = [], set()
    for (*_, i, j), common, encoding in sorted(ranked, key=lambda item: item[0]):
        if not taken & {i, j}:
            free = [index for index in range(len(series)) if index not in taken | {i, j}]
            members = _join_repeats(series, (i, j), free)
            taken |= set(members)
            repeated = [series[index] for index in members]
            if len(members) > 2:
                common, encoding = common_part(repeated), encodings(repeated)
            units.append(_unit(repeated, common, encoding))
    return units


def _join_repeats(series: Sequence[Series], pair: tuple[int, int], free: Sequence[int]) -> list[int]:
    """A pair and all that repeat either of the two, by index, in order.

    Sidecars must tell the polarity of each: that of a pair alone can be found from the images.
    """
    members = list(pair)
    for index in free:
        others = [series[member] for member in members]
        if all(compare_encoding(other, series[index]) in ("same", "opposite") for other in others):
            common = common_part_with(others, series[index])
            if common is not None and common.has_b0:
                members.append(index)
    return sorted(members)


def are_opposite(first: Series, second: Series) -> bool:
    """Whether sidecars of both tell of one axis of phase encoding, in opposite directions of the head."""
    return compare_encoding(first, second) == "opposite"


def compare_encoding(first: Series, second: Series) -> Relation:
    """How the phase encoding of two series compares in the head.

    Returns
    -------
    relation : str
        ``opposite``, ``same``, ``across`` (another axis), ``same axis`` (a sidecar tells no polarity) or
        ``unknown``.
    """
    own, its = first.acquisition, second.acquisition
    if not own.phase_encoding_axis or not its.phase_encoding_axis:
        return "unknown"
    agreement = float(
        first.along(own.phase_encoding or own.phase_encoding_axis)
        @ second.along(its.phase_encoding or its.phase_encoding_axis)
    )
    if abs(agreement) < np.cos(np.radians(_LARGEST_ANGLE_DEG)):
        return "across"
    if not own.phase_encoding or not its.phase_encoding:
        return "same axis"
    return "same" if agreement > 0 else "opposite"


def opposite_encoding(
    first: Series, second: Series, *, trust_labels: bool = False
) -> tuple[PhaseEncoding, PhaseEncoding] | None:
    """Phase encoding of two series if they are opposite, else None.

    Parameters
    ----------
    trust_labels : bool
        See `find_reverse_pe`.
    """
    relation = compare_encoding(first, second)
    own, its = first.acquisition, second.acquisition
    if relation == "opposite":
        directions = first.along(own.phase_encoding), second.along(its.phase_encoding)
    elif relation == "same axis" and trust_labels and compare_labels(first, second) != "same":
        if its.phase_encoding:
            directions = -second.along(its.phase_encoding), second.along(its.phase_encoding)
        else:
            known = first.along(own.phase_encoding or own.phase_encoding_axis)
            directions = known, -known
    else:
        return None
    is_known = bool(own.phase_encoding or its.phase_encoding)
    times = own.readout_time_s, its.readout_time_s
    pair = (
        PhaseEncoding(tuple(float(part) for part in direction), is_known, time)
        for direction, time in zip(directions, times, strict=True)
    )
    return tuple(pair)


def compare_labels(first: Series, second: Series) -> Literal["same", "opposite", "unknown"]:
    """How phase encoding compares by ``dir-``, or by descriptions of the scanner (AP and PA)."""
    labels = [one.image.entities.get("dir", "") for one in (first, second)]
    if all(labels):
        return "same" if comparable("dir", labels[0]) == comparable("dir", labels[1]) else "opposite"
    own, its = _named_direction(first), _named_direction(second)
    if not own or its not in (own, own[::-1]):
        return "unknown"
    return "same" if its == own else "opposite"


def spelled_apart(first: Series, second: Series) -> str:
    """Half a sentence on sidecars that cannot be read but do not say the same; empty where they may.

    AP and PA, or A>>P and P>>A, are no notation of BIDS, and yet no repetitions.
    """
    own, its = first.acquisition, second.acquisition
    told = f"of {first.image.path.name} and {{}} of {second.image.path.name}"
    if own.unread and its.unread and _plain(own.unread) != _plain(its.unread):
        return (
            f"PhaseEncodingDirection is {own.unread} {told.format(its.unread)}, which differ, but neither is "
            f"{NOTATION}: write both so"
        )
    unknown = not (own.phase_encoding_axis or its.phase_encoding_axis)
    if unknown and own.in_plane and its.in_plane and own.in_plane != its.in_plane:
        return (
            f"InPlanePhaseEncodingDirectionDICOM is {own.in_plane} {told.format(its.in_plane)}: their "
            f"distortion is not the same; add PhaseEncodingDirection ({NOTATION})"
        )
    return ""


def missing_direction(series: Series, of: str = "") -> str:
    """Half a sentence on a sidecar that does not tell the phase encoding, or not in the notation of BIDS.

    Parameters
    ----------
    of : str
        Whose it is, where that needs to be said.
    """
    unread = series.acquisition.unread
    return f"PhaseEncodingDirection{of} is {f'{unread}, not {NOTATION}' if unread else 'missing'}"


def _plain(text: str) -> str:
    return "".join(text.split()).casefold()


def _named_direction(series: Series) -> str:
    texts = [series.image.entities.get("dir", "")]
    texts += [str(series.image.metadata.get(key, "")) for key in ("SeriesDescription", "ProtocolName")]
    for text in texts:
        found = DIRECTION.findall(text.upper())
        if found:
            return found[-1].replace("H", "S").replace("F", "I")
    return ""


def _unit(series: Sequence[Series], common: CommonPart, encoding: tuple[PhaseEncoding, ...]) -> DenoisingUnit:
    images = tuple(one.image for one in series)
    from_sidecars = all(one.phase_encoding for one in series)
    notes = [] if from_sidecars else [_polarity_note(series, encoding)]
    how = f"phase encoding {_named(series)} (from the sidecars)" if from_sidecars else _by_labels(series)
    if len(series) > 2:
        how = f"{len(series)} series, {how}"
    return DenoisingUnit(
        kind="dwi-reverse-pe",
        images=images,
        entities=shared_entities(images),
        reason=f"{how}, {common.summary}",
        volumes=common.volumes,
        phase_encoding=encoding,
        notes=(*notes, *common.notes, *readout_notes(series)),
    )


def _by_labels(pair: Sequence[Series]) -> str:
    axis = pair[0].acquisition.phase_encoding_axis
    labelled = compare_labels(*pair) == "opposite"
    labels = "opposite by their labels" if labelled else "opposite if the images say so"
    return f"phase encoding along {axis}, {labels} (--dwi-pairing reverse-pe was asked for)"


def _named(series: Sequence[Series]) -> str:
    """Codes of the phase encoding, each once, the first series' first."""
    codes = list(dict.fromkeys(one.phase_encoding for one in series))
    names = " and ".join(codes if len(codes) > 1 else codes * 2)
    mirrored = len({code[0] for code in codes}) > 1 or len(set(map(len, codes))) == 1
    return names + ", opposite in the head since the images are stored in different orders" * mirrored


def _polarity_note(pair: Sequence[Series], encoding: tuple[PhaseEncoding, ...]) -> str:
    names = " and ".join(one.image.path.name for one in pair if not one.phase_encoding)
    if encoding[0].polarity_is_known:
        return f"the polarity of phase encoding of {names} is taken as opposite to that of its partner"
    return (
        f"the sidecars of {names} tell the axis of phase encoding but not its polarity: which of them is "
        "which is found by trying both"
    )


def readout_notes(series: Sequence[Series], *, opposite: bool = True) -> list[str]:
    """What readout times that are missing or differ mean for the distortion: one sentence at most.

    Parameters
    ----------
    series : sequence of Series
        Two or more.
    opposite : bool
        Their distortion is estimated from each other, for which the readout times are needed.
    """
    times_s = {one.image.path.name: one.acquisition.readout_time_s for one in series}
    missing = [name for name, value in times_s.items() if value is None]
    if missing and opposite:
        return [
            f"{_MISSING} {' and '.join(missing)}: "
            f"{'both' if len(series) == 2 else 'all'} readouts are taken as equally long, the displacement "
            "is known in voxels and the field not in Hz"
        ]
    known = sorted((value, name) for name, value in times_s.items() if value is not None)
    if not known or known[-1][0] - known[0][0] <= _READOUT_TOLERANCE * known[-1][0]:
        return []
    told = ", ".join(f"{value:g} s of {name}" for value, name in (known[0], known[-1]))
    return [
        f"{_DIFFERS} ({told}): if the sidecars are right, the distortion differs by as much; its correction "
        "takes that into account, and where it is not corrected the series do not lie on each other"
    ]


def is_readout_note_of(note: str, name: str) -> bool:
    """Whether `readout_notes` told this of a series and the b0 image of that name."""
    return note.startswith(_MISSING) or (note.startswith(_DIFFERS) and name in note)


def _run(series: Series) -> str:
    return comparable("run", series.image.entities.get("run", ""))
