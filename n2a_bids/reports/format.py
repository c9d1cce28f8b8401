"""Formats numbers, durations and lists as text for reports."""

from __future__ import annotations


def number(value: float | None) -> str:
    """Three significant digits, no exponent where it can be avoided.

    Examples
    --------
    >>> number(21.342), number(1523.0), number(2.0), number(None)
    ('21.3', '1520', '2', 'not measured')
    """
    if value is None:
        return "not measured"
    rounded = float(f"{value:.3g}")
    if rounded == int(rounded) and abs(rounded) < 1e7:
        return str(int(rounded))
    return f"{rounded:.3g}".replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """Time in the units people use.

    Examples
    --------
    >>> duration(42.3), duration(563), duration(7300)
    ('42 s', '9 min 23 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
