"""Finds repeated diffusion series: same gradient table, names that differ in ``run`` only."""

from __future__ import annotations

from collections.abc import Sequence

from n2a_bids.dataset.grouping.dwi_reverse_pe import (
    compare_encoding,
    compare_labels,
    readout_notes,
    spelled_apart,
)
from n2a_bids.dataset.grouping.dwi_volumes import common_part, common_part_with
from n2a_bids.dataset.grouping.entities import group_by, shared_entities
from n2a_bids.dataset.read.gradient_tables import Series, encodings
from n2a_bids.dataset.units import DenoisingUnit


def find_dwi_repeats(
    series: Sequence[Series], *, corrected: bool = False, trust_labels: bool = False
) -> list[DenoisingUnit]:
    """Group series of one gradient table and one phase encoding that differ in ``run`` only.

    Tables are equal in the world, up to the sign of directions and a tolerance on b. Of two runs, at least
    half of the volumes of the longer one must be common to both; a further one joins as long as these lose
    no more than a tenth of what they share.

    Parameters
    ----------
    series : sequence of Series
        Of one participant and session.
    corrected : bool
        Distortion has been taken out already, so that phase encoding, and ``dir`` with it, may differ.
    trust_labels : bool
        Also group series of which a sidecar does not tell the phase encoding or its polarity, unless labels
        say that they are opposite.

    Returns
    -------
    units : list of DenoisingUnit
        Groups of two or more; no series is in two.
    """
    by_path = {one.image.path: one for one in series}
    units = []
    for members in group_by([one.image for one in series], ignoring={"run", "dir"} if corrected else {"run"}):
        left = [by_path[image.path] for image in members]
        while left:
            group, left = _grow(left, corrected, trust_labels)
            if len(group) > 1:
                units.append(_unit(group, corrected))
    return units


def _grow(series: Sequence[Series], corrected: bool, trust_labels: bool) -> tuple[list[Series], list[Series]]:
    """The longest series with all that repeat it, and the others, each in their order."""
    longest_first = sorted(range(len(series)), key=lambda index: -int(series[index].weighted.sum()))
    taken = longest_first[:1]
    for index in longest_first[1:]:
        group = [series[one] for one in taken]
        same_encoding = corrected or may_repeat(group[0], series[index], trust_labels=trust_labels)
        if same_encoding and common_part_with(group, series[index]) is not None:
            taken.append(index)
    others = [one for index, one in enumerate(series) if index not in taken]
    return [series[index] for index in sorted(taken)], others


def may_repeat(first: Series, second: Series, *, trust_labels: bool = False) -> bool:
    """Whether two series have one phase encoding in the head, or sidecars that say nothing else.

    Parameters
    ----------
    trust_labels : bool
        See `find_dwi_repeats`.
    """
    relation = compare_encoding(first, second)
    if relation == "same":
        return True
    if compare_labels(first, second) == "opposite" or spelled_apart(first, second):
        return False
    if trust_labels and relation in ("same axis", "unknown"):
        return True
    own, its = first.acquisition, second.acquisition
    if bool(own.unread) != bool(its.unread):
        return False
    return own.phase_encoding == its.phase_encoding == "" and (
        own.phase_encoding_axis == its.phase_encoding_axis == "" or relation == "same axis"
    )


def _unit(group: Sequence[Series], corrected: bool) -> DenoisingUnit:
    images = tuple(one.image for one in group)
    common = common_part(group)
    differ = "run or dir only (distortion is corrected already)" if corrected else "run only"
    return DenoisingUnit(
        kind="dwi-repeats",
        images=images,
        entities=shared_entities(images),
        reason=f"{len(images)} runs: the names differ in {differ}, {common.summary}",
        volumes=common.volumes,
        phase_encoding=encodings(group),
        notes=(*common.notes, *([] if corrected else readout_notes(group, opposite=False))),
    )
