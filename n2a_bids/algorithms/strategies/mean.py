"""Strategy ``mean``: the plain average of repetitions, which every other strategy must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.normalization import apply_scales, match_scales, with_equal_gain
from n2a_bids.algorithms.quality.gain import Gain
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.record.denoising import Choice, StrategyRecord


@dataclass(frozen=True, slots=True)
class MeanConfig:
    """Settings of the plain mean: there are none."""


def config(recipe: str, weights: object = None) -> MeanConfig:
    """The mean has one recipe only and no weights."""
    return MeanConfig()


def denoise(repetitions: Repetitions, config: MeanConfig, context: Context) -> DenoisedImage:
    """Average the repetitions in the intensity unit of the first."""
    context.report("averaging")
    data = average_matched(repetitions)
    chosen = Choice("mean", "the plain mean of the repetitions", mean_won=True)
    return DenoisedImage(data=data, gain=Gain(), record=StrategyRecord(chosen=chosen))


def average_matched(repetitions: Repetitions) -> np.ndarray:
    """(X, Y, Z, C) mean of the repetitions in the intensity scale of the first.

    Diffusion series get one gain for all volumes, and no offset: magnitudes have their zero, and
    volumes of little signal their noise floor, which is no offset. So do micrographs, which count.
    """
    if repetitions.gradients is not None or repetitions.micrograph:
        return with_equal_gain(repetitions).mean(axis=0)
    channels = []
    for channel in range(repetitions.data.shape[-1]):
        data = repetitions.data[..., channel]
        scales = match_scales(data, repetitions.mask)
        z_mean = apply_scales(scales, data).mean(axis=0, dtype=np.float32)
        channels.append(scales[0].invert(z_mean))
    return np.stack(channels, axis=-1)
