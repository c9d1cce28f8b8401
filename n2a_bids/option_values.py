"""Numbers on command lines: text in, checked value out, with the words that argparse shows."""

from __future__ import annotations

import argparse

from n2a_bids.resources import parse_memory


def positive_int(text: str) -> int:
    """Whole number from 1.

    Examples
    --------
    >>> positive_int("2")
    2
    """
    return _whole_number(text, 1)


def natural_int(text: str) -> int:
    """Whole number from 0.

    Examples
    --------
    >>> natural_int("0")
    0
    """
    return _whole_number(text, 0)


def memory_gb(text: str) -> float:
    """Amount of memory in GB: ``1.5G``, ``8000M`` or a plain number in GB.

    Examples
    --------
    >>> memory_gb("512M")
    0.5
    """
    try:
        return parse_memory(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _whole_number(text: str, lowest: int) -> int:
    if not text.strip().isdecimal() or int(text) < lowest:
        raise argparse.ArgumentTypeError(f"expected a whole number from {lowest}, found {text!r}")
    return int(text)


def part_of_one(text: str) -> float:
    """A number above 0 and up to 1.

    Examples
    --------
    >>> part_of_one("0.95")
    0.95
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and up to 1, found {text!r}")
    return value


def b_value(text: str) -> float:
    """A b-value in s/mm2: a finite number of at least 0.

    Examples
    --------
    >>> b_value("100")
    100.0
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a b-value in s/mm2 of at least 0, found {text!r}")
    return value
