"""Multi-echo T1w: images that differ in ``echo`` only, so their contrast differs."""

from __future__ import annotations

from collections.abc import Sequence

from n2a_bids.dataset.grouping import group_by, shared_entities
from n2a_bids.dataset.units import DenoisingUnit, ImageFile


def find_echoes(images: Sequence[ImageFile]) -> list[DenoisingUnit]:
    """Group T1w images whose names differ in ``echo`` only.

    Parameters
    ----------
    images : sequence of ImageFile
        T1w images, without those that are already in a group of repeated runs.

    Returns
    -------
    units : list of DenoisingUnit
        One per group of two or more echoes; images without ``echo`` never join one,
        since they are combinations of echoes or other scans.
    """
    units = []
    with_echo = [image for image in images if "echo" in image.entities]
    for members in group_by(with_echo, ignoring={"echo"}):
        if len(members) > 1:
            units.append(
                DenoisingUnit(
                    kind="t1w-echoes",
                    images=members,
                    entities=shared_entities(members),
                    reason=f"{len(members)} echoes: the names differ in echo only, so the contrast differs",
                )
            )
    return units
