"""Strategy ``noise2noise`` for micrographs: every exposure learns to predict every other one.

Lehtinen et al., "Noise2Noise: learning image restoration without clean data", ICML 2018. The output is the
mean over the denoised exposures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.micrographs.fields import StableFields
from n2a_bids.algorithms.nn.planar_batches import exposure_pairs
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.strategies.micr.channels import (
    DenoisedChannel,
    TrainingConfig,
    denoise_channels,
    denoise_with_network,
    new_network,
    train_network,
    training_config,
)
from n2a_bids.record.denoising import Choice


def config(recipe: str, weights: PretrainedWeights | None = None) -> TrainingConfig:
    """Settings of a recipe; the same steps as the other strategies take."""
    return training_config(recipe, weights)


def denoise(repetitions: Repetitions, config: TrainingConfig, context: Context) -> DenoisedImage:
    """Run Noise2Noise.

    Parameters
    ----------
    repetitions : Repetitions
        At least two aligned exposures.
    config : TrainingConfig
    context : Context
    """

    def denoise_channel(exposures: NDArray[np.float32], fields: StableFields) -> DenoisedChannel:
        network = new_network(config.weights, context)
        pairs = exposure_pairs(len(exposures))
        history = train_network(network, fields, config, context, draw_pair=pairs, phase="noise2noise")
        image = denoise_with_network(exposures, fields, network, config.n_flips, context, each=True)
        chosen = Choice("noise2noise", "Noise2Noise")
        return DenoisedChannel(image, chosen, fields.scale, fields.weighting, history)

    return denoise_channels(repetitions, context, denoise_channel)
