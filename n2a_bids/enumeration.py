"""Lists and counts things in a sentence: all of them, or the first and how many more there are."""

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


def counted(number: int, noun: str) -> str:
    """A number of things, whose plural ends with s.

    Examples
    --------
    >>> counted(1, "image"), counted(2, "image")
    ('1 image', '2 images')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listing(words: Sequence[str], separator: str = ", ") -> str:
    """Words as a list in a sentence.

    Examples
    --------
    >>> listing(["a", "b", "c"])
    'a, b and c'
    """
    return f"{separator.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
