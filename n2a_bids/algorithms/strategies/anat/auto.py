"""Strategy ``auto`` for T1w repetitions: candidates, fine-tuned networks, and the choice of least risk."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context, Stopwatch
from n2a_bids.algorithms.nn.inference import FLIPS
from n2a_bids.algorithms.nn.weights import PretrainedWeights, check_zero_shot
from n2a_bids.algorithms.preparation.repetitions import Prepared, prepare, restore
from n2a_bids.algorithms.quality.gain import Gain, denoising_gain
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.risk.acquired_matrix import on_acquired_matrix, on_stored_grid
from n2a_bids.algorithms.risk.blend import estimate_blend
from n2a_bids.algorithms.risk.choice import decide_on_mean, describe_choice, list_candidates
from n2a_bids.algorithms.risk.comparison import compare
from n2a_bids.algorithms.risk.held_out import HeldOut, hold_out
from n2a_bids.algorithms.risk.stacking import Stack
from n2a_bids.algorithms.risk.uncertainty import expected_error, risk_beside_expectation, with_uncertainty
from n2a_bids.algorithms.strategies.anat import echoes as joint_echoes
from n2a_bids.algorithms.strategies.anat import noise2average, recorrupted, single
from n2a_bids.algorithms.strategies.anat.auto_candidates import (
    AutoConfig,
    further_candidates,
    pretrained_candidates,
)
from n2a_bids.record.denoising import RepetitionRecord, StrategyRecord


def config(
    recipe: str, weights: PretrainedWeights | None = None, fusion: PretrainedWeights | None = None
) -> AutoConfig:
    """Settings of a recipe; `fusion` takes part only where the first network is pretrained too.

    Raises
    ------
    ConfigError
        If nothing is pretrained and nothing may be trained.
    """
    check_zero_shot(recipe, weights)
    return AutoConfig(
        recorrupted=recorrupted.config(recipe, weights),
        echoes_from_scratch=noise2average.config("fast" if recipe == "zero-shot" else recipe),
        n_flips=8 if recipe == "thorough" else 1,
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
    """
    if repetitions.n_repetitions == 1 or not repetitions.same_contrast:
        special = _denoise_alone if repetitions.n_repetitions == 1 else _denoise_echoes
        return special(repetitions, config, context)
    watch = Stopwatch(context.clock)
    stored = prepare(repetitions, keep_noise_floor=config.keep_noise_floor)
    prepared = on_acquired_matrix(stored, context)
    return on_stored_grid(_denoise_prepared(prepared, config, context, watch), stored, prepared)


def _denoise_prepared(
    prepared: Prepared, config: AutoConfig, context: Context, watch: Stopwatch
) -> DenoisedImage:
    held_out = hold_out(prepared.mask, context.generator)
    watch.lap("noise")
    candidates, prepared, bias = pretrained_candidates(prepared, held_out, config, context)
    watch.lap("risk")
    further, history = further_candidates(candidates[-1], prepared, held_out, bias, config, context)
    candidates += further
    watch.lap("fit")
    context.report("comparing candidates on held-out blocks")
    stack = compare(candidates, prepared, held_out, bias, context)
    watch.lap("risk")
    mean_error = error_of_mean(prepared, held_out, bias)
    mean_won, impossible = decide_on_mean(stack, mean_error.total)
    weights = np.eye(len(candidates))[0] if mean_won else stack.weights
    context.report("denoising the whole volume")
    flips = FLIPS[: config.n_flips]
    estimate, clues = estimate_blend(candidates, weights, prepared, context, flips)
    watch.lap("predict")
    error_sd = None if mean_won else expected_error(clues, estimate, stack, prepared, held_out, bias)
    watch.lap("uncertainty")
    record = StrategyRecord(
        chosen=describe_choice(candidates, weights, mean_won, impossible),
        candidates=list_candidates(candidates, stack, mean_error.total),
        history=history,
        networks=(config.fusion.name,) if config.fusion else (),
        seconds=watch.seconds(),
    )
    risk = None if error_sd is None else _likely_risk(stack, mean_error.total, error_sd, prepared, held_out)
    gain = estimate_gain(prepared, mean_error, risk)
    return with_uncertainty(finish(prepared, estimate, record, gain), prepared, bias, error_sd)


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


def _likely_risk(
    stack: Stack, mean_error: float, error_sd: NDArray[np.float32], prepared: Prepared, held_out: HeldOut
) -> float:
    """Risk of the combination, as measured, and as the map of the expected error says, each as sure as it is.

    Believed only where it told more error, the map left the gain of five simulated pairs 1.2 dB off on
    average; weighed both ways, 0.6 dB.
    """
    counted = held_out.mask & prepared.mask
    expected = float((error_sd[counted].astype(np.float64) ** 2).mean())
    return risk_beside_expectation(stack.combined_risk, stack.combined_standard_error, mean_error, expected)


@dataclass(frozen=True, slots=True)
class MeanError:
    """Mean squared error of the mean on the held-out blocks, squared z-scores."""

    noise: float
    bias: float

    @property
    def total(self) -> float:
        """Noise and bias together."""
        return self.noise + self.bias


def estimate_gain(prepared: Prepared, mean_error: MeanError, risk: float | None) -> Gain:
    """What weighting and denoising gained over the plain mean.

    Parameters
    ----------
    mean_error : MeanError
        Where the risk was measured.
    risk : float or None
        Squared error of the denoised image minus that of the average, squared z-scores; None where the
        average itself is the result.
    """
    weighting = prepared.weighting.gain
    if risk is None:
        return Gain(weighting)
    return Gain(weighting, denoising_gain(mean_error.noise, mean_error.total, risk))


def error_of_mean(prepared: Prepared, held_out: HeldOut, bias: NDArray[np.float32] | float) -> MeanError:
    """Measure the error of the mean of the repetitions in the held-out blocks: its noise and its bias.

    Parameters
    ----------
    bias : (X, Y, Z) float array or 0.0
        Rician bias of the average.
    """
    offset = np.broadcast_to(np.float32(bias), prepared.mask.shape)[held_out.mask & prepared.mask]
    sizes = [np.count_nonzero(prepared.mask[core]) for core in held_out.cores]
    noise = [prepared.average_noise_variance(core) for core in held_out.cores]
    return MeanError(float(np.average(noise, weights=sizes)), float((offset**2).mean()))


def finish(
    prepared: Prepared, estimate: NDArray[np.float32], record: StrategyRecord, gain: Gain | None = None
) -> DenoisedImage:
    """Bring an estimate back to intensities, with what is known of the repetitions and what was gained."""
    repetitions = tuple(
        RepetitionRecord(gain=s.gain, offset=s.offset, weight=float(w), noise_sd=float(noise))
        for s, w, noise in zip(prepared.scales, prepared.weighting.weights, _repetition_noise(prepared))
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
    return typical * np.sqrt(prepared.weighting.variance_ratio) * gains
