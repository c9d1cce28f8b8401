"""Volumes of a series whose signal does not fit their b-value: maps stored as b0, tables in another order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_OF_B0 = 1.33
"""Signal of one b0 over that of another. In six real series, volumes of one b-value are within 5 % of their
median; a trace image of b=1000 has 0.3 of a b0, and an ADC map whatever its unit makes of it."""
_LEAST_OF_SHELL = 0.4
"""Where all fibres run one way, directions make volumes of b=1000 unequal by that much; in heads by 5 %."""
_FEWEST_OF_SHELL = 4
"""Volumes whose median stands for a shell."""
_LEAST_B = 700.0
"""In s/mm2: from here on a b0 is brighter than any weighted volume, by a fifth even across fibres."""
_LEAST_CONTRAST = 1.1
"""In the real series b0s have 2.2 to 4.3 times the signal."""
_LEAST_HEAD = 0.4
"""Of the brightest voxels."""
_SAMPLES = 48
"""Along each axis."""


@dataclass(frozen=True, slots=True)
class VolumeSignal:
    """A volume whose signal is not that of the others of its b-value."""

    volume: int
    shell: float
    """In s/mm2, 0 for b0."""
    ratio: float
    """Signal in the head over that of the others."""


def signal_of_volumes(volumes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Signal of each volume in the head: the median over voxels that are bright in the mean.

    Parameters
    ----------
    volumes : (X, Y, Z, C) array
        Magnitudes.

    Returns
    -------
    signal : (C,) array
    """
    steps = tuple(slice(None, None, max(1, size // _SAMPLES)) for size in volumes.shape[:3])
    sampled = np.nan_to_num(np.asarray(volumes[steps], np.float32))
    # Each volume counts alike, whatever the unit of a map among them.
    scale = np.percentile(sampled.reshape(-1, sampled.shape[-1]), 98, axis=0)
    mean = np.mean(sampled / np.where(scale > 0, scale, 1), axis=-1)
    head = mean > _LEAST_HEAD * np.percentile(mean, 98)
    return np.median(sampled[head], axis=0).astype(float)


def unlike_b0s(signal: NDArray[np.float64], shells: NDArray[np.float64]) -> list[VolumeSignal]:
    """Find b0s whose signal differs from that of the other b0s of the series.

    Parameters
    ----------
    signal : (C,) array
        See `signal_of_volumes`.
    shells : (C,) array
        b-value of each volume, 0 for b0.

    Returns
    -------
    volumes : list of VolumeSignal
        Those outside the largest group of b0s that agree; of equal groups the one that comes first is right.
    """
    usual = _usual_b0s(signal, shells)
    ratio = signal / (np.median(signal[usual]) or 1.0) if usual.size else signal
    odd = np.setdiff1d(np.flatnonzero(shells == 0), usual)
    return [VolumeSignal(int(index), 0.0, float(ratio[index])) for index in odd]


def _usual_b0s(signal: NDArray[np.float64], shells: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the most b0s that agree."""
    b0s = np.flatnonzero(shells == 0)
    if b0s.size < 2:
        return b0s
    order = b0s[np.argsort(signal[b0s], kind="stable")]
    apart = np.flatnonzero(signal[order[1:]] > _MOST_OF_B0 * signal[order[:-1]]) + 1
    return max(np.split(order, apart), key=lambda members: (len(members), -min(members)))


def unlike_shell(signal: NDArray[np.float64], shells: NDArray[np.float64]) -> list[VolumeSignal]:
    """Find diffusion-weighted volumes as bright as a b0, or much darker than the others of their shell.

    Parameters
    ----------
    signal, shells : (C,) arrays
        See `unlike_b0s`.
    """
    bright = np.zeros(len(shells), bool)
    if (b0s := _usual_b0s(signal, shells)).size:
        bright = (shells >= _LEAST_B) & (_LEAST_CONTRAST * signal > np.median(signal[b0s]))
    found = []
    for shell in np.unique(shells[shells > 0]):
        members = np.flatnonzero(shells == shell)
        usual = float(np.median(signal[members]))
        if members.size >= _FEWEST_OF_SHELL and usual > 0:
            odd = members[bright[members] | (signal[members] < _LEAST_OF_SHELL * usual)]
            found += [VolumeSignal(int(index), float(shell), float(signal[index] / usual)) for index in odd]
    return sorted(found, key=lambda one: one.volume)


def lacks_contrast(signal: NDArray[np.float64], shells: NDArray[np.float64]) -> bool:
    """Whether b0s are no brighter than volumes with diffusion weighting, which no tissue explains.

    Parameters
    ----------
    signal, shells : (C,) arrays
        See `unlike_b0s`.
    """
    b0s, weighted = shells == 0, shells >= _LEAST_B
    if not b0s.any() or not weighted.any():
        return False
    return bool(np.median(signal[b0s]) < _LEAST_CONTRAST * np.median(signal[weighted]))
