"""Warnings about masks that users gave, or that lie in another space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def mask_warnings(
    derivatives: Mapping[str, Path], given: Path | None, method: str, elsewhere: Sequence[Path] = ()
) -> list[str]:
    """A sentence for those who brought derivatives, where no mask in them fits a group.

    Parameters
    ----------
    derivatives : mapping of str to Path
        Name and root of each derivative dataset.
    given : Path or None
        The mask that was taken.
    method : str
        How the brain was found, in a few words.
    elsewhere : sequence of Path
        Masks that were passed over because they lie in another space.

    Examples
    --------
    >>> mask_warnings({"masks": Path("/data/masks")}, None, "by deepbet")
    ['no brain mask in the derivatives masks fits this group: the brain was found by deepbet']
    """
    if given is not None or not derivatives:
        return []
    names = ", ".join(derivatives)
    ignored = f" ({', '.join(path.name for path in elsewhere)}: not in the space of the images)"
    return [
        f"no brain mask in the derivatives {names} fits this group{ignored if elsewhere else ''}: the brain "
        f"was found {method}"
    ]
