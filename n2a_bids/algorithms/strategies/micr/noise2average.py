"""Strategy ``noise2average`` for micrographs: residuals towards the average of the exposures.

Li et al., "Noise2Average: an iterative residual learning strategy for image denoising without clean data",
Imaging Neuroscience 4 (2026), doi 10.1162/imag.a.1163; here in 2D. A further iteration is kept where the
estimated error on held-out squares falls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.micrographs.stabilised import StableFields, hold_out_squares
from n2a_bids.algorithms.nn.planar_batches import exposure_pairs
from n2a_bids.algorithms.nn.planar_inference import predict_plane
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.risk.held_out import HeldOut
from n2a_bids.algorithms.strategies.micr.channels import (
    DenoisedChannel,
    TrainingConfig,
    denoise_channels,
    denoise_with_network,
    train_network,
    training_config,
)
from n2a_bids.record.denoising import Choice, Epoch


@dataclass(frozen=True, slots=True)
class Noise2AverageConfig:
    """Settings of a recipe."""

    training: TrainingConfig
    """Of each iteration, which starts from the same weights."""
    n_iterations: int
    """At most."""


def config(recipe: str, weights: PretrainedWeights | None = None) -> Noise2AverageConfig:
    """Settings of a recipe; ``faithful`` takes two iterations, as the paper does."""
    iterations = {"fast": 2, "default": 3, "thorough": 4, "faithful": 2}[recipe]
    return Noise2AverageConfig(training_config(recipe, weights), iterations)


def denoise(repetitions: Repetitions, config: Noise2AverageConfig, context: Context) -> DenoisedImage:
    """Run Noise2Average.

    Parameters
    ----------
    repetitions : Repetitions
        At least two aligned exposures.
    """

    def denoise_channel(exposures: NDArray[np.float32], fields: StableFields) -> DenoisedChannel:
        network, iteration, history = _iterate(fields, config, context)
        flips = config.training.n_flips
        image = denoise_with_network(exposures, fields, network, flips, context, each=True)
        chosen = Choice("noise2average", f"Noise2Average, {iteration} iterations")
        return DenoisedChannel(image, chosen, fields.scale, fields.weighting, history)

    return denoise_channels(repetitions, context, denoise_channel)


def _iterate(
    fields: StableFields, config: Noise2AverageConfig, context: Context
) -> tuple[nn.Module, int, tuple[Epoch, ...]]:
    """The network of the best iteration, its number, and the losses of all."""
    held_out = hold_out_squares(fields, context.generator)
    target = fields.images.mean(axis=0)
    seed, pairs = context.draw_seed(), exposure_pairs(len(fields.images))
    kept, least, history = None, np.inf, ()
    for iteration in range(1, config.n_iterations + 1):
        network = context.new_network("resunet-2d", config.training.weights, seed)
        history += train_network(
            network,
            fields,
            config.training,
            context,
            draw_pair=pairs,
            held_out=held_out.mask,
            target=target,
            phase=f"iteration {iteration}",
        )
        denoised = _predict_all(network, fields, context)
        risk = _cross_risk(denoised, fields, held_out)
        if risk >= least:
            break
        kept, least = (network, iteration), risk
        target = denoised.mean(axis=0)
    assert kept is not None  # the first risk is below infinity
    return *kept, history


def _predict_all(network: nn.Module, fields: StableFields, context: Context) -> NDArray[np.float32]:
    """(R, N, X, Y) every exposure denoised."""
    level = np.float32(fields.noise_sd)
    return np.stack(
        [
            [predict_plane(network, plane, level, device=context.device) for plane in exposure]
            for exposure in fields.images
        ]
    )


def _cross_risk(denoised: NDArray[np.float32], fields: StableFields, held_out: HeldOut) -> float:
    """Mean squared distance of every denoised exposure to the others, where nothing was learned from."""
    counted = held_out.mask & fields.counted
    n_exposures, total = len(denoised), 0.0
    for index in range(n_exposures):
        others = [other for other in range(n_exposures) if other != index]
        target = fields.images[others][:, counted].mean(axis=0)
        total += float(np.mean((denoised[index][counted] - target) ** 2))
    return total / n_exposures
