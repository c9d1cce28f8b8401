"""What repetitions differ in besides noise: shading and shape of another day, ghosts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.lab.simulation.parallel_imaging import PHASE_AXIS
from n2a_bids.lab.simulation.random_fields import smooth_field

_SHADING_SD = 0.1
"""Of the logarithm of the shading."""
_SHADING_KNOTS = 4
_WARP_VOXELS = 0.3
"""Root mean square displacement along each axis."""
_WARP_KNOTS = 9
_GHOST = 0.05


@dataclass(frozen=True, slots=True)
class Variation:
    """Clean repetitions, and what a perfect method would make of them."""

    signals: NDArray[np.float32]
    """(R, X, Y, Z) or (R, X, Y, Z, C)."""
    reference: NDArray[np.float32]
    """One of them less."""


def other_sessions(
    signal: NDArray[np.floating], mask: NDArray[np.bool_], n_repetitions: int, generator: np.random.Generator
) -> Variation:
    """Each run but the first with another shading and small displacements.

    The shape of the first is kept, so that a mask fits; `reference` is the mean of the clean runs.
    """
    runs = [np.asarray(signal, np.float32)]
    for _ in range(1, n_repetitions):
        shading = np.exp(smooth_field(generator, mask.shape, _SHADING_KNOTS, _SHADING_SD))
        shift = [smooth_field(generator, mask.shape, _WARP_KNOTS, 1.0) for _ in range(3)]
        runs.append(_per_volume(signal, partial(_on_another_day, mask=mask, shift=shift, shading=shading)))
    signals = np.stack(runs)
    return Variation(signals, signals.mean(axis=0))


def ghosts(
    signal: NDArray[np.floating], mask: NDArray[np.bool_], n_repetitions: int, generator: np.random.Generator
) -> Variation:
    """A faint copy in every run, half the field of view away along phase encoding; `reference` has none.

    Its strength and sign are drawn anew in each run (and in each volume of a series), up to 5 %.
    """

    def haunted(volume: NDArray[np.floating]) -> NDArray[np.float32]:
        strength = _GHOST * generator.uniform(-1, 1)
        copy = np.roll(volume, volume.shape[PHASE_AXIS] // 2, axis=PHASE_AXIS)
        return np.abs(volume + strength * copy).astype(np.float32)

    runs = [_per_volume(signal, haunted) for _ in range(n_repetitions)]
    return Variation(np.stack(runs), np.asarray(signal, np.float32))


def _per_volume(signal: NDArray, change: Callable[[NDArray], NDArray]) -> NDArray[np.float32]:
    if signal.ndim == 3:
        return np.asarray(change(signal), np.float32)
    volumes = [change(signal[..., number]) for number in range(signal.shape[-1])]
    return np.stack(volumes, axis=-1).astype(np.float32)


def _on_another_day(
    volume: NDArray[np.floating],
    mask: NDArray[np.bool_],
    shift: list[NDArray[np.float32]],
    shading: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The volume moved by the shifts, scaled to their size, and shaded."""
    places = np.indices(volume.shape, dtype=np.float32)
    for axis, along in enumerate(shift):
        along = along - along[mask].mean()
        size = max(float(np.sqrt(np.mean(along[mask] ** 2))), 1e-9)
        if volume.shape[axis] > 1:
            places[axis] += along * np.float32(_WARP_VOXELS / size)
    return ndimage.map_coordinates(volume, places, order=3, mode="nearest") * shading
