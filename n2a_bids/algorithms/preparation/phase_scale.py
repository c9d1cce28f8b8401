"""Unit of a phase image: radians, or one of the integer scales that scanners write."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Units = Literal["rad", "arbitrary", ""]
"""BIDS ``Units`` of a phase image; empty where the sidecar does not tell."""

_LEAST_OF_CIRCLE = 0.9
"""Part of a full turn that phases span, whose scale is read from their range: the air around a head, whose
phase is noise, fills all of it."""
_LEAST_SPAN_RAD = 0.3
"""Of phases in radians, which may be those of a brain without its air: noise alone gives them as much."""
_CYCLES = (-0.5, 0.5)
_NEAR_CYCLES = 0.005
"""Radians of a brain without its air may span as much as these, but hardly end at both of them."""
_OVERSHOOT = 0.01
"""Part of a turn that rounding may add at the ends."""


@dataclass(frozen=True, slots=True)
class PhaseScale:
    """A linear scale of phases."""

    name: str
    low: float
    """Value at the lower end of a turn."""
    turn: float
    """Values to one full turn."""
    zero: float = 0.0
    """Value of phase zero."""

    def radians(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Phases as stored in radians; NaN and infinity, which have no phase, as zero."""
        angle = (np.asarray(values, np.float32) - np.float32(self.zero)) * np.float32(2 * np.pi / self.turn)
        return np.where(np.isfinite(angle), angle, 0).astype(np.float32)

    def holds(self, low: float, high: float) -> bool:
        """Whether values from `low` to `high` lie on it."""
        margin = _OVERSHOOT * self.turn
        return self.low - margin <= low and high <= self.low + self.turn + margin

    def is_spanned(self, low: float, high: float) -> bool:
        """Whether they also fill it, so that no smaller scale would do."""
        return self.holds(low, high) and high - low >= _LEAST_OF_CIRCLE * self.turn


RADIANS = (
    PhaseScale("radians, -pi to pi", -math.pi, 2 * math.pi),
    PhaseScale("radians, 0 to 2 pi", 0.0, 2 * math.pi),
)
LEVELS = (
    PhaseScale("4096 levels, 0 to 4095", 0.0, 4096.0, zero=2048.0),
    PhaseScale("levels, -4096 to 4095", -4096.0, 8192.0),
    PhaseScale("4096 levels, -2048 to 2047", -2048.0, 4096.0),
    PhaseScale("milliradians, -3142 to 3142", -1000 * math.pi, 2000 * math.pi),
)
"""As scanners of Siemens (the first two, which converters leave or rescale), GE and Philips write them."""
_REFUSED = (
    PhaseScale("degrees", -180.0, 360.0),
    PhaseScale("degrees", 0.0, 360.0),
    PhaseScale("a scale of 0 to 1", 0.0, 1.0),
    PhaseScale("a scale of -1 to 1", -1.0, 2.0),
    PhaseScale("8-bit levels", 0.0, 256.0),
)
"""Scales that BIDS does not know: named, so that whoever made the file knows what to change."""


def find_phase_scale(low: float, high: float, units: Units = "") -> PhaseScale:
    """Scale of a phase image, from what its sidecar says and from its smallest and largest value.

    Parameters
    ----------
    low, high : float
        Of the whole image; its air, whose phase is noise, reaches both ends of the scale.
    units : str
        ``rad`` and ``arbitrary`` are those of BIDS.

    Raises
    ------
    ValueError
        If the values fit no scale that is known, or contradict the units; the message says what was found.

    Examples
    --------
    >>> find_phase_scale(-3.1415, 3.1413, "rad").name, find_phase_scale(0, 4095).turn
    ('radians, -pi to pi', 4096.0)
    >>> find_phase_scale(-179.9, 180.0, "rad")
    Traceback (most recent call last):
    ValueError: Units 'rad', but values from -179.9 to 180, which look like degrees
    """
    found = f"values from {low:.5g} to {high:.5g}"
    if not high > low:
        raise ValueError(f"the value {low:g} everywhere")
    if units == "rad" and high - low < _LEAST_SPAN_RAD:
        raise ValueError(f"Units 'rad', but {found}, which is less than the noise of a phase")
    refused = next((scale.name for scale in _REFUSED if scale.is_spanned(low, high)), "")
    if np.allclose((low, high), _CYCLES, rtol=0, atol=_NEAR_CYCLES):
        refused = "cycles, -0.5 to 0.5"
    looks = f", which look like {refused}" if refused else ""
    if units == "rad":
        scale = next((scale for scale in RADIANS if scale.holds(low, high)), None)
        if scale is None or refused:
            levels = next((one.name for one in LEVELS if one.is_spanned(low, high)), "")
            raise ValueError(
                f"Units 'rad', but {found}{looks or (f', which look like {levels}' if levels else '')}"
            )
        return scale
    candidates = {"arbitrary": LEVELS, "": (*RADIANS, *LEVELS)}.get(units, ())
    scale = next((scale for scale in candidates if scale.is_spanned(low, high)), None)
    if scale is None:
        is_radians = any(one.is_spanned(low, high) for one in RADIANS)
        told = f"Units '{units}', but {found}" if units else f"no Units, and {found}"
        raise ValueError(f"{told}{', which look like radians' if is_radians else looks}")
    return scale
