"""DWI pairs of opposite phase encoding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from n2a_bids.dataset.common_volumes import CommonPart, common_part
from n2a_bids.dataset.gradient_tables import Series
from n2a_bids.dataset.grouping import shared_entities
from n2a_bids.dataset.names import comparable
from n2a_bids.dataset.units import DenoisingUnit

_READOUT_TOLERANCE = 0.01


def find_reverse_pe(series: Sequence[Series]) -> list[DenoisingUnit]:
    """Pair series whose phase is encoded in opposite directions.

    The direction comes from ``PhaseEncodingDirection`` of the sidecar, never from the
    label of ``dir-``. Where several pairs are possible, those that share most of
    their gradient table are taken first, then those with the same ``run``.

    Parameters
    ----------
    series : sequence of Series
        Of one participant and session, with names that differ in ``dir`` and ``run`` only.

    Returns
    -------
    units : list of DenoisingUnit
        Pairs, the series that comes first in `series` first; no series is in two.
    """
    ranked = []
    for (i, first), (j, second) in combinations(enumerate(series), 2):
        if are_opposite(first, second) and (common := common_part((first, second))) and common.has_b0:
            ranked.append((-common.n_weighted, _run(first) != _run(second), i + j, i, j, common))
    units, taken = [], set()
    for *_, i, j, common in sorted(ranked, key=lambda item: item[:5]):
        if not taken & {i, j}:
            taken |= {i, j}
            units.append(_pair((series[i], series[j]), common))
    return units


def are_opposite(first: Series, second: Series) -> bool:
    """Whether sidecars of both tell of one axis of phase encoding, in opposite directions."""
    plus, minus = sorted((first.phase_encoding, second.phase_encoding), key=len)
    return bool(plus) and plus + "-" == minus


def _pair(pair: tuple[Series, Series], common: CommonPart) -> DenoisingUnit:
    images = tuple(one.image for one in pair)
    directions = " and ".join(one.phase_encoding for one in pair)
    return DenoisingUnit(
        kind="dwi-reverse-pe",
        images=images,
        entities=shared_entities(images),
        reason=f"phase encoding {directions} (from the sidecars), {common.summary}",
        volumes=common.volumes,
        notes=(*common.notes, *_readout_notes(pair)),
    )


def _readout_notes(pair: tuple[Series, Series]) -> list[str]:
    times = {one.image.path.name: one.image.metadata.get("TotalReadoutTime") for one in pair}
    missing = [name for name, value in times.items() if not isinstance(value, int | float)]
    if missing:
        return [
            f"TotalReadoutTime is missing for {' and '.join(missing)}: both readouts are taken as equally "
            "long, the displacement is known in voxels and the field not in Hz"
        ]
    low, high = sorted(times.values())
    if high - low > _READOUT_TOLERANCE * high:
        return [f"TotalReadoutTime differs ({low:g} and {high:g} s): the displacements are not mirror images"]
    return []


def _run(series: Series) -> str:
    return comparable("run", series.image.entities.get("run", ""))
