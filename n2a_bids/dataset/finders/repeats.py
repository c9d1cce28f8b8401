"""T1w repetitions: images that differ in ``run`` only."""

from __future__ import annotations

from collections.abc import Sequence

from n2a_bids.dataset.grouping import group_by, shared_entities
from n2a_bids.dataset.units import DenoisingUnit, ImageFile


def find_repeats(images: Sequence[ImageFile]) -> list[DenoisingUnit]:
    """Group T1w images whose names differ in ``run`` only.

    Parameters
    ----------
    images : sequence of ImageFile
        T1w images that may be repetitions (see `n2a_bids.dataset.anatomical`).

    Returns
    -------
    units : list of DenoisingUnit
        One per group of two or more; the same contrast is assumed within each.
    """
    units = []
    for members in group_by(images, ignoring={"run"}):
        if len(members) > 1:
            entities = shared_entities(members)
            of_echo = f" of echo {entities['echo']}" if "echo" in entities else ""
            units.append(
                DenoisingUnit(
                    kind="t1w-repeats",
                    images=members,
                    entities=entities,
                    reason=f"{len(members)} runs{of_echo}: the names differ in run only",
                )
            )
    return units
