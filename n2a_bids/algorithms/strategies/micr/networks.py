"""Strategies ``noise2noise`` and ``recorrupted`` for micrographs: one 2D network trained on the exposures."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.micrographs.stabilised import StableFields
from n2a_bids.algorithms.nn.planar_batches import exposure_pairs
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.strategies.micr.channels import (
    DenoisedChannel,
    TrainingConfig,
    denoise_channels,
    denoise_with_network,
    train_network,
    training_config,
)
from n2a_bids.record.denoising import Choice

config = training_config
"""Settings of a recipe; both take the same steps."""


def noise2noise(repetitions: Repetitions, config: TrainingConfig, context: Context) -> DenoisedImage:
    """Let every exposure learn to predict every other one; the result is the mean of the denoised exposures.

    Lehtinen et al., "Noise2Noise: learning image restoration without clean data", ICML 2018.

    Parameters
    ----------
    repetitions : Repetitions
        At least two aligned exposures.
    """
    chosen = Choice("noise2noise", "Noise2Noise")
    return denoise_channels(repetitions, context, partial(_denoise_channel, chosen, config, context))


def recorrupted(repetitions: Repetitions, config: TrainingConfig, context: Context) -> DenoisedImage:
    """Fine-tune on recorrupted averages of all pixels and denoise the mean; see `noise2noise`."""
    chosen = Choice("recorrupted", "network fine-tuned on recorrupted averages")
    return denoise_channels(repetitions, context, partial(_denoise_channel, chosen, config, context))


def _denoise_channel(
    chosen: Choice,
    config: TrainingConfig,
    context: Context,
    exposures: NDArray[np.float32],
    fields: StableFields,
) -> DenoisedChannel:
    network = context.new_network("resunet-2d", config.weights)
    each = chosen.name == "noise2noise"
    pairs = exposure_pairs(len(exposures)) if each else None
    history = train_network(network, fields, config, context, draw_pair=pairs, phase=chosen.name)
    image = denoise_with_network(exposures, fields, network, config.n_flips, context, each=each)
    return DenoisedChannel(image, chosen, fields.scale, fields.weighting, history)
