"""Strategy ``auto`` for T1w: makes candidates, fine-tunes, and keeps what has the least estimated risk."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.context import Context, Stopwatch
from n2a_bids.algorithms.filters.nonlocal_bayes import PatchSearch
from n2a_bids.algorithms.nn.inference import FLIPS
from n2a_bids.algorithms.nn.weights import PretrainedWeights, build_network
from n2a_bids.algorithms.noise.covariance import NoiseCovariance
from n2a_bids.algorithms.preparation.repetitions import Prepared, prepare, restore
from n2a_bids.algorithms.quality.gain import Gain, decibels, denoising_gain, weighting_gain
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.risk.blend import estimate_blend
from n2a_bids.algorithms.risk.candidates import Candidate, compare, estimate_average
from n2a_bids.algorithms.risk.held_out import HeldOut, hold_out
from n2a_bids.algorithms.risk.repetition_weights import WEIGHTED_MEAN, weigh_repetitions
from n2a_bids.algorithms.risk.stacking import Stack, describe_blend, list_risks
from n2a_bids.algorithms.risk.uncertainty import expected_error, with_uncertainty
from n2a_bids.algorithms.strategies.anat import echoes as joint_echoes
from n2a_bids.algorithms.strategies.anat import noise2average, recorrupted, single
from n2a_bids.record.denoising import CandidateRisk, Choice, RepetitionRecord, StrategyRecord

_CERTAINTY = 2.0
"""Standard errors by which a candidate must beat the mean."""


_ERROR_UNCERTAINTY = 0.1
"""Of the mean's error, which is known as well as the noise variance is: a candidate that seems to take
away this much more than there was may be a perfect one."""


@dataclass(frozen=True, slots=True)
class AutoConfig:
    """Settings of a recipe."""

    recorrupted: recorrupted.RecorruptedConfig
    echoes_from_scratch: noise2average.Noise2AverageConfig
    """Where repetitions differ in contrast and nothing is pretrained."""
    noise_factors: tuple[float, ...] = (0.7, 0.85, 1.0, 1.2, 1.45)
    """Factors on the estimated noise level that are tried."""

    nonlocal_passes: tuple[int, ...] = (1, 2)
    """Passes of non-local Bayes that are tried; a third brings 0.01 dB."""
    fusion: PretrainedWeights | None = None
    """Of the network that corrects the last pass."""
    keep_noise_floor: bool = False
    """Leave the Rician bias in targets and result, also where the air shows magnitudes."""

    @property
    def weights(self) -> PretrainedWeights | None:
        """Pretrained weights, if any."""
        return self.recorrupted.weights


def config(
    recipe: str, weights: PretrainedWeights | None = None, fusion: PretrainedWeights | None = None
) -> AutoConfig:
    """Settings of a recipe; `fusion` takes part only where the first network is pretrained too."""
    return AutoConfig(
        recorrupted=recorrupted.config(recipe, weights),
        echoes_from_scratch=noise2average.config(recipe),
        fusion=fusion if weights else None,
    )


def denoise(repetitions: Repetitions, config: AutoConfig, context: Context) -> DenoisedImage:
    """Denoise with the combination of candidates of least estimated risk.

    Candidates are the mean (weighted by noise where that is clearly unequal), the
    pretrained network at several noise levels, and the network fine-tuned on
    recorrupted averages: alone, as the guide of non-local Bayes, and both together
    by a second network. The mean is returned where nothing beats it beyond doubt.

    Parameters
    ----------
    repetitions : Repetitions
        One channel; echoes are denoised by :mod:`joint_echoes`, one repetition alone by :mod:`single`.
    config : AutoConfig
    context : Context

    Returns
    -------
    denoised : DenoisedImage
    """
    if repetitions.n_repetitions == 1 or not repetitions.same_contrast:
        special = _denoise_alone if repetitions.n_repetitions == 1 else _denoise_echoes
        return special(repetitions, config, context)
    watch = Stopwatch(context.clock)
    prepared = prepare(repetitions, keep_noise_floor=config.keep_noise_floor)
    held_out = hold_out(prepared.mask, context.generator)
    watch.lap("noise")
    candidates, prepared, bias = _pretrained_candidates(prepared, held_out, config, context)
    watch.lap("risk")
    network = (
        copy.deepcopy(candidates[-1].network) if config.weights else recorrupted.new_network(None, context)
    )
    factor = candidates[-1].noise_factor if config.weights else 1.0
    history = recorrupted.fine_tune(
        network, prepared, config.recorrupted, context, bias=bias, noise_factor=factor, held_out=held_out.mask
    )
    candidates += _tuned_candidates(network, factor, prepared.covariance, config, context)
    watch.lap("fit")
    context.report("comparing candidates on held-out blocks")
    stack = compare(candidates, prepared, held_out, bias, context)
    watch.lap("risk")
    mean_error = _mean_error(prepared, held_out, bias)
    mean_won, impossible = _judge(stack, mean_error)
    weights = np.eye(len(candidates))[0] if mean_won else stack.weights
    context.report("denoising the whole volume")
    flips = FLIPS[: config.recorrupted.n_flips]
    estimate, clues = estimate_blend(candidates, weights, prepared, context, flips)
    watch.lap("predict")
    error_sd = None if mean_won else expected_error(clues, estimate, stack, prepared, held_out, bias)
    watch.lap("uncertainty")
    record = StrategyRecord(
        chosen=describe_choice(candidates, weights, mean_won, impossible),
        candidates=list_candidates(candidates, stack, mean_error),
        history=history,
        networks=(config.fusion.name,) if config.fusion else (),
        seconds=watch.seconds(),
    )
    gain = estimate_gain(prepared, held_out, bias, None if mean_won else stack.combined_risk)
    return with_uncertainty(finish(prepared, estimate, record, gain), prepared, bias, error_sd)


def _judge(stack: Stack, mean_error: float) -> tuple[bool, bool]:
    """Whether the mean is kept, since nothing beats it beyond doubt, or since what does cannot be true."""
    surely = stack.combined_risk + _CERTAINTY * stack.combined_standard_error
    impossible = surely < -(1 + _ERROR_UNCERTAINTY) * mean_error
    return impossible or surely >= 0, impossible


def _denoise_alone(repetitions: Repetitions, config: AutoConfig, context: Context) -> DenoisedImage:
    """Nothing is repeated: the pretrained networks as they are."""
    flips, keep_floor = config.recorrupted.n_flips, config.keep_noise_floor
    alone = single.SingleConfig(config.weights, config.fusion, flips, keep_floor)
    return single.denoise(repetitions, alone, context)


def _denoise_echoes(repetitions: Repetitions, config: AutoConfig, context: Context) -> DenoisedImage:
    """Contrasts differ: all together where a network is pretrained, by Noise2Average otherwise."""
    if config.weights is None:
        return noise2average.denoise(repetitions, config.echoes_from_scratch, context)
    settings = joint_echoes.JointEchoesConfig(
        config.weights, config.recorrupted.n_flips, config.keep_noise_floor
    )
    return joint_echoes.denoise(repetitions, settings, context)


def _pretrained_candidates(
    prepared: Prepared, held_out: HeldOut, config: AutoConfig, context: Context
) -> tuple[list[Candidate], Prepared, NDArray[np.float32] | float]:
    """The mean and the pretrained network at its best level, after the weights and with the Rician bias."""
    if config.weights is None:
        # Nothing tells the clean signal yet, from which the bias would follow: it stays.
        return [mean_candidate(prepared)], replace(prepared, magnitude=None), 0.0
    network = recorrupted.new_network(config.weights, context)
    context.report("choosing the noise level of the pretrained network")
    # First the weights: with unequal noise, that of inputs and targets would be correlated.
    prepared = weigh_repetitions(Candidate("pretrained", network), prepared, held_out, context)
    mean = mean_candidate(prepared)
    tried = [
        Candidate(f"pretrained network (level {noise_factor:g})", network, noise_factor)
        for noise_factor in config.noise_factors
    ]
    stack = compare([mean, *tried], prepared, held_out, 0.0, context, n_draws=1)
    best = tried[int(np.argmin(stack.risks[1:]))]
    bias: NDArray[np.float32] | float = 0.0
    if prepared.magnitude is not None:
        first = estimate_average([best], prepared, context)[0]
        bias = prepared.estimated_bias(first, prepared.repetition_noise_sd)
    return [mean, *(other for other in tried if _is_neighbour(other, best)), best], prepared, bias


def mean_candidate(prepared: Prepared) -> Candidate:
    """The average as it is, under the name of what it is: plain, or weighted by noise."""
    return Candidate(WEIGHTED_MEAN if prepared.is_weighted else "mean")


def _tuned_candidates(
    network: nn.Module,
    noise_factor: float,
    covariance: NoiseCovariance | None,
    config: AutoConfig,
    context: Context,
) -> list[Candidate]:
    """The fine-tuned network alone, and what follows it."""
    tuned = "fine-tuned network" if config.weights else "trained network"
    correlation = None if covariance is None else covariance.patch_correlation(PatchSearch().edge)
    first = Candidate(tuned, network, noise_factor, correlation=correlation)
    candidates = [first] + [
        replace(first, name=f"{tuned} + non-local Bayes {passes}x", nonlocal_passes=passes)
        for passes in config.nonlocal_passes
    ]
    if config.fusion is not None:
        fusion = build_network(config.fusion.name, config.fusion)
        fusion = fusion.to(context.device, memory_format=torch.channels_last_3d)
        passes = max(config.nonlocal_passes)
        name = f"{tuned} + non-local Bayes + fusion"
        candidates.append(replace(first, name=name, nonlocal_passes=passes, fusion=fusion))
    last = candidates[-1]
    return [*candidates, replace(last, name=f"{last.name} + local means", keep_local_means=False)]


def _is_neighbour(candidate: Candidate, best: Candidate) -> bool:
    """Levels next to the best one: their blend is a finer choice of level."""
    return candidate is not best and 0.8 < candidate.noise_factor / best.noise_factor < 1.25


def describe_choice(
    candidates: list[Candidate], weights: NDArray[np.float64], mean_won: bool, impossible: bool = False
) -> Choice:
    """The choice as a record: a name, one sentence, and the weights of a blend."""
    if not mean_won:
        return describe_blend([candidate.name for candidate in candidates], weights)
    name = candidates[0].name
    mean = "the mean weighted by noise" if name == WEIGHTED_MEAN else "the plain mean"
    if impossible:
        sentence = (
            f"{mean}: the estimated error came out below zero, so the repetitions differ by more than "
            "independent noise (misaligned, or not of one contrast?)"
        )
    else:
        sentence = f"{mean}: no candidate beat it on the held-out blocks"
    return Choice(name, sentence, mean_won=True)


def estimate_gain(
    prepared: Prepared, held_out: HeldOut, bias: NDArray[np.float32] | float, risk: float | None
) -> Gain:
    """What weighting and denoising gained over the plain mean.

    Parameters
    ----------
    prepared : Prepared
    held_out : HeldOut
        Where the risk was measured.
    bias : (X, Y, Z) float array or 0.0
        Rician bias of the average.
    risk : float or None
        Squared error of the denoised image minus that of the average, squared z-scores; None where the
        average itself is the result.
    """
    weighting = weighting_gain(prepared.weights, prepared.variance_ratio)
    if risk is None:
        return Gain(weighting)
    noise_variance = _mean_error(prepared, held_out, 0.0)
    return Gain(weighting, denoising_gain(noise_variance, _mean_error(prepared, held_out, bias), risk))


def _mean_error(prepared: Prepared, held_out: HeldOut, bias: NDArray[np.float32] | float) -> float:
    """Mean squared error of the mean on the held-out blocks, squared z-scores."""
    counted = held_out.mask & prepared.mask
    noise = (prepared.repetition_noise_sd[counted] * prepared.average_noise_factor) ** 2
    offset = np.broadcast_to(np.float32(bias), prepared.mask.shape)[counted]
    return float((noise + offset**2).mean())


def list_candidates(
    candidates: list[Candidate], stack: Stack, mean_error: float
) -> tuple[CandidateRisk, ...]:
    """Risks relative to the mean, and the same as a gain in dB."""
    return tuple(
        replace(row, gain_over_mean_db=decibels(denoising_gain(mean_error, mean_error, row.risk)))
        for row in list_risks([candidate.name for candidate in candidates], stack)
    )


def finish(
    prepared: Prepared, estimate: NDArray[np.float32], record: StrategyRecord, gain: Gain | None = None
) -> DenoisedImage:
    """The restored image, with what is known of the repetitions and what was gained."""
    repetitions = tuple(
        RepetitionRecord(gain=s.gain, offset=s.offset, weight=float(w), noise_sd=float(noise))
        for s, w, noise in zip(prepared.scales, prepared.weights, _repetition_noise(prepared))
    )
    magnitude, left = prepared.magnitude, prepared.floor_left
    record = replace(
        record,
        repetitions=repetitions,
        rician=magnitude is not None,
        n_coils=round(magnitude.n_coils, 2) if magnitude and magnitude.n_coils > 1 else None,
        warnings=(*record.warnings, left) if left else record.warnings,
    )
    return replace(restore(prepared, estimate, record), gain=gain)


def _repetition_noise(prepared: Prepared) -> NDArray[np.float64]:
    """Median noise SD in the brain of each repetition, in its own intensity unit."""
    typical = float(np.median(prepared.repetition_noise_sd[prepared.mask]))
    gains = np.array([scale.gain for scale in prepared.scales])
    return typical * np.sqrt(prepared.variance_ratio) * gains
