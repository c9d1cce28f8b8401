"""Channels of aligned exposures, each stabilised: what strategies denoise, and what networks learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.algorithms.micrographs.fields import StableFields, find_void, prepare_fields
from n2a_bids.algorithms.normalization import with_equal_gain
from n2a_bids.algorithms.repetitions import Repetitions


@dataclass(frozen=True, slots=True)
class StableChannel:
    """One channel of the exposures."""

    exposures: NDArray[np.float32]
    """(R, X, Y, Z) intensities in the unit of the first exposure."""
    fields: StableFields
    void: NDArray[np.bool_]
    """(X, Y, Z) areas where all exposures hold the same values."""


def stable_channels(repetitions: Repetitions, generator: torch.Generator) -> Iterator[StableChannel]:
    """Stabilise one channel after the other.

    Parameters
    ----------
    repetitions : Repetitions
        At least two aligned exposures.
    generator : torch.Generator
        Chooses windows of large images, of each channel when its turn comes.

    Raises
    ------
    ValueError
        If the exposures of a channel do not differ, or hold values that are not finite.
    """
    data, shared = with_equal_gain(repetitions), repetitions.shared
    counted = repetitions.mask if shared is None else repetitions.mask & shared
    for channel in range(data.shape[-1]):
        exposures = data[..., channel]
        void = find_void(exposures)
        if shared is not None:
            # Where one exposure alone was measured, the others hold its values.
            void &= shared
        if not (counted & ~void).any():
            raise ValueError("the exposures do not differ: they are copies of one, or show nothing")
        yield StableChannel(exposures, prepare_fields(exposures, counted & ~void, generator), void)
