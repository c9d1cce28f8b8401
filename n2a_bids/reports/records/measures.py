"""Definitions of the numbers in pages and group table, read from ``data/measures.yml``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from n2a_bids.packaged import packaged_yaml


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that is reported for every unit."""

    name: str
    """Column of the group table."""
    path: str
    title: str
    units: str
    read: str
    """One sentence: how to read it."""
    outliers: bool = True
    """Whether unusual values are pointed out in the group page."""
    of_repetitions: bool = False
    """Says nothing of a single series."""
    title_single: str = ""
    """Title where there is a single series, which has no mean."""
    read_single: str = ""
    scale: str = "linear"
    """``log`` for positive numbers that vary by factors."""


@cache
def measures() -> tuple[Measure, ...]:
    """All measures, in the order of the tables."""
    return tuple(Measure(**entry) for entry in packaged_yaml("measures.yml"))
