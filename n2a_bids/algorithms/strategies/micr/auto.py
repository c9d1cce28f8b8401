"""Strategy ``auto`` for micrographs: candidates, fine-tuning, and the choice of least estimated risk."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.masked_filters import box_within
from n2a_bids.algorithms.micrographs.stabilised import StableFields, hold_out_squares
from n2a_bids.algorithms.nn.planar_inference import FLIPS
from n2a_bids.algorithms.nn.weights import PretrainedWeights, check_zero_shot
from n2a_bids.algorithms.quality.gain import Gain
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.risk.candidates import PRETRAINED, SHIPPED, Candidate
from n2a_bids.algorithms.risk.choice import decide, decide_on_mean, describe_choice, list_candidates
from n2a_bids.algorithms.risk.comparison import compare
from n2a_bids.algorithms.risk.held_out import HeldOut
from n2a_bids.algorithms.risk.stacking import STRENGTH, Stack, average_blocks
from n2a_bids.algorithms.strategies.micr.candidates import PlaneCandidate, PlaneEstimator
from n2a_bids.algorithms.strategies.micr.channels import (
    DenoisedChannel,
    TrainingConfig,
    denoise_channels,
    denoise_whole,
    train_network,
    training_config,
)
from n2a_bids.algorithms.strategies.micr.gain import (
    ERROR_EXPONENT,
    ERROR_GROWTH,
    JudgedMethod,
    anchor_candidates,
    estimate_denoising_gain,
)
from n2a_bids.algorithms.strategies.micr.rings import correlate_halves
from n2a_bids.record.denoising import Choice, Epoch

_NOISE_FACTORS = (0.8, 1.0, 1.25)
"""Factors on the noise level that are tried with the pretrained network."""


@dataclass(frozen=True, slots=True)
class AutoConfig:
    """Settings of a recipe."""

    training: TrainingConfig
    shipped: PretrainedWeights | None = None
    """Of the network in the package, where other weights are used: it stays a candidate beside them."""


def config(recipe: str, weights: PretrainedWeights | None = None) -> AutoConfig:
    """Settings of a recipe.

    Raises
    ------
    ConfigError
        If nothing is pretrained and nothing may be trained.
    """
    check_zero_shot(recipe, weights)
    return AutoConfig(training_config(recipe, weights))


def denoise(repetitions: Repetitions, config: AutoConfig, context: Context) -> DenoisedImage:
    """Denoise with the combination of candidates of least estimated risk.

    Exposures are stabilised, so that their noise has one variance. Candidates are the mean, the pretrained
    network at several noise levels, and the network fine-tuned on recorrupted averages, each as it is and
    with the local means of the data; and the best network applied to each exposure before averaging. The
    mean is returned where nothing beats it beyond doubt. Channels and planes are images of their own.

    Parameters
    ----------
    repetitions : Repetitions
        At least two aligned exposures.
    """

    def denoise_channel(exposures: NDArray[np.float32], fields: StableFields) -> DenoisedChannel:
        return _denoise_channel(exposures, fields, config, context)

    return denoise_channels(repetitions, context, denoise_channel)


def _denoise_channel(
    exposures: NDArray[np.float32], fields: StableFields, config: AutoConfig, context: Context
) -> DenoisedChannel:
    trains = config.training.schedule.n_epochs > 0
    held_out = hold_out_squares(fields, context.generator, trains=trains)
    estimator, weighting = PlaneEstimator(context), fields.weighting
    candidates, history = _make_candidates(fields, held_out, config, context, estimator)
    context.report("comparing candidates on held-out squares")
    volumes = [estimator.as_candidate(one) for one in candidates]
    stack = compare_on_squares(volumes, fields, held_out, context)
    mean_error = fields.average_noise_sd**2
    mean_won, impossible = decide_on_mean(stack, mean_error)
    weights = np.eye(len(candidates))[0] if mean_won else stack.weights
    found = DenoisedChannel(
        image=weighting.average(exposures),
        chosen=describe_choice(volumes, weights, mean_won, impossible),
        scale=fields.scale,
        weighting=weighting,
        history=history,
        candidates=list_candidates(volumes, stack, mean_error, error_growth=ERROR_GROWTH),
        gain=Gain(weighting=weighting.gain),
    )
    if mean_won:
        return replace(found, rings=correlate_halves(fields, partial(estimator.blend, candidates, weights)))
    judged = _judged_method(estimator, candidates, weights, fields, config)
    best = candidates[int(np.argmin(stack.risks))]
    each = _each_is_better(best, stack.block_risks[:, candidates.index(best)], fields, held_out, estimator)
    if each:
        weights = np.eye(len(candidates))[candidates.index(best)]
        sentence = f"{best.name}, applied to each exposure before averaging"
        found = replace(found, chosen=Choice(f"{best.name}, each exposure", sentence))
    rings = correlate_halves(fields, partial(estimator.blend, candidates, weights))
    context.report("denoising the whole image")
    noise_sd = fields.noise_sd if each else fields.average_noise_sd
    method = PlaneEstimator(context, FLIPS[: config.training.n_flips]).blend(candidates, weights, noise_sd)
    image = denoise_whole(exposures, fields, method, context, each=each)
    gain = replace(found.gain, denoising=estimate_denoising_gain(judged, fields, held_out, context))
    rows = anchor_candidates(found.candidates, gain.denoising)
    return replace(found, image=image, candidates=rows, gain=gain, rings=rings)


def compare_on_squares(
    volumes: list[Candidate], fields: StableFields, held_out: HeldOut, context: Context
) -> Stack:
    """Risks of candidates on held-out squares.

    Parameters
    ----------
    volumes : list of Candidate
        The first is the mean.

    Returns
    -------
    stack : Stack
        In squares of the unit of the fields.
    """
    n_draws = 2 if len(fields.images) == 2 else 4
    return compare(volumes, fields.as_prepared(), held_out, 0.0, context, n_draws=n_draws)


def _make_candidates(
    fields: StableFields,
    held_out: HeldOut,
    config: AutoConfig,
    context: Context,
    estimator: PlaneEstimator,
) -> tuple[list[PlaneCandidate], tuple[Epoch, ...]]:
    """The mean, pretrained networks at their best levels, and the better one trained on the exposures."""
    training, history = config.training, ()
    candidates = [PlaneCandidate("mean")]
    network = context.new_network("resunet-2d", training.weights)
    if training.weights is not None:
        context.report("choosing the noise level of the pretrained network")
        tried = _at_levels(PRETRAINED, network)
        if config.shipped is not None:
            tried += _at_levels(SHIPPED, context.new_network("resunet-2d", config.shipped))
        volumes = [estimator.as_candidate(one) for one in (candidates[0], *tried)]
        stack = compare_on_squares(volumes, fields, held_out, context)
        best, *others = [tried[index] for index in np.argsort(stack.risks[1:], kind="stable")]
        # Of two networks the better one is followed up; the other stays a candidate.
        rival = [one for one in others if one.network is not best.network][:1]
        candidates += [*_with_local_means(best), *rival]
        network = best.network
    if training.schedule.n_epochs:
        trained = copy.deepcopy(network)
        history = train_network(trained, fields, training, context, held_out=held_out.mask)
        name = "trained network" if training.weights is None else "fine-tuned network"
        candidates += _with_local_means(PlaneCandidate(name, trained))
    return candidates, history


def _at_levels(name: str, network: nn.Module) -> list[PlaneCandidate]:
    return [PlaneCandidate(f"{name} (level {level:g})", network, level) for level in _NOISE_FACTORS]


def _with_local_means(candidate: PlaneCandidate) -> list[PlaneCandidate]:
    return [
        candidate,
        PlaneCandidate(
            f"{candidate.name} + local means",
            candidate.network,
            candidate.noise_factor,
            keep_local_means=True,
        ),
    ]


def _judged_method(
    estimator: PlaneEstimator,
    candidates: list[PlaneCandidate],
    weights: NDArray[np.float64],
    fields: StableFields,
    config: AutoConfig,
) -> JudgedMethod:
    """The blend, and the pretrained network where another one was trained, on recorrupted means."""
    noise_sd = fields.average_noise_sd * float(np.sqrt(1 + STRENGTH**2))
    method = estimator.blend(candidates, weights, noise_sd)
    if not config.training.schedule.n_epochs or config.training.weights is None:
        return JudgedMethod(method)
    return JudgedMethod(method, estimator.blend([candidates[1]], np.ones(1), noise_sd))


def _each_is_better(
    candidate: PlaneCandidate,
    block_risks: NDArray[np.float64],
    fields: StableFields,
    held_out: HeldOut,
    estimator: PlaneEstimator,
) -> bool:
    """Whether a candidate applied to each exposure, then averaged, beats it applied to their mean.

    `block_risks` are those of the candidate on recorrupted means.

    The squared error of a mean is the mean squared error of its parts less their variance around it. The
    error of a part shows against the other exposures, whose noise is independent of it; that of an exposure
    as it is, measured in the same way, is known, and takes the noise of the targets out.
    """
    if fields.weighting.is_weighted:
        # The noisier would be denoised as if all were alike.
        return False
    n_exposures, errors, sizes = len(fields.images), [], []
    for core, box in zip(held_out.cores, held_out.boxes):
        inner = box_within(core, box)[1:]
        counted = fields.counted[core][0]
        planes = fields.images[(slice(None), *box)][:, 0]
        parts = np.stack([estimator.estimate(candidate, plane, fields.noise_sd) for plane in planes])
        parts = parts[(slice(None), *inner)][:, counted].astype(np.float64)
        data = planes[(slice(None), *inner)][:, counted].astype(np.float64)
        targets = (data.sum(axis=0) - data) / (n_exposures - 1)
        error = np.mean((parts - targets) ** 2 - (data - targets) ** 2) + fields.noise_sd**2
        spread = np.mean(parts.var(axis=0))
        errors.append(error - spread)
        sizes.append(counted.sum())
    # What is compared was a little noisier than the mean.
    of_mean = block_risks + fields.noise_sd**2 / n_exposures
    of_mean = of_mean * (1 + STRENGTH**2) ** -ERROR_EXPONENT
    difference, doubt = average_blocks(np.array(errors) - of_mean, np.array(sizes) / np.sum(sizes))
    return decide(float(difference), float(doubt)) == "won"
