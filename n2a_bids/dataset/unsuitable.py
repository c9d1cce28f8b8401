"""Groups that the strategy asked for cannot denoise: left out before anything is computed."""

from __future__ import annotations

from n2a_bids.dataset.units import Collection, DenoisingUnit, LeftOut
from n2a_bids.strategy_table import reason_against


def leave_out_unsuitable(collection: Collection, strategy: str) -> Collection:
    """Move groups that a strategy cannot take to the images left out.

    Parameters
    ----------
    collection : Collection
        Everything found.
    strategy : str
        Value of ``--strategy``.

    Returns
    -------
    collection : Collection
    """
    units = tuple(unit for unit in collection.units if not _reason(unit, strategy))
    others = [
        LeftOut(image.path, f"{unit.label}: {_reason(unit, strategy)}")
        for unit in collection.units
        if unit not in units
        for image in unit.images
    ]
    left_out = sorted([*collection.left_out, *others], key=lambda item: item.path.parts)
    return Collection(units, tuple(left_out))


def _reason(unit: DenoisingUnit, strategy: str) -> str:
    why = reason_against(strategy, unit.kind)
    return f"--strategy {strategy} {why}; use --strategy auto" if why else ""
