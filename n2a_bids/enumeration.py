"""Names the first of many things in a message, and says how many more there are."""

from __future__ import annotations

from collections.abc import Sequence


def enumerated(items: Sequence[object], most: int) -> str:
    """The first things of a list, and the number of the others.

    Parameters
    ----------
    items : sequence
        Each as it is to be named.
    most : int
        Named at most.

    Examples
    --------
    >>> enumerated([3, 4, 7, 8], 2), enumerated(["run-1"], 2)
    ('3, 4 and 2 more', 'run-1')
    """
    named = ", ".join(str(item) for item in items[:most])
    return f"{named} and {len(items) - most} more" if len(items) > most else named
