"""Strategy ``auto`` for multi-echo images: echoes are denoised jointly, as their contrasts differ.

No echo repeats another one, so that no pair of images with the same signal is at hand to learn from.
What they share is used otherwise: a pretrained network denoises orthonormal combinations of the echoes,
and non-local Bayes denoises patches that reach through all echoes. The risk of each is measured on
recorruptions with simulated noise of the estimated level (Pang et al., CVPR 2021,
"Recorrupted-to-Recorrupted"): ``y + a n`` and ``y - n / a`` have the same signal and uncorrelated noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.context import Context, Stopwatch
from n2a_bids.algorithms.filters.nonlocal_bayes import BayesSettings, guided_nonlocal_bayes
from n2a_bids.algorithms.filters.patch_search import DEFAULT_SEARCH
from n2a_bids.algorithms.masked_filters import box_within
from n2a_bids.algorithms.nn.inference import FLIPS, predict
from n2a_bids.algorithms.nn.weights import PretrainedWeights, place_network
from n2a_bids.algorithms.noise.covariance import draw_noise
from n2a_bids.algorithms.normalization import MaskedSmoother, match_scales
from n2a_bids.algorithms.preparation.echoes import Echoes, prepare_echoes
from n2a_bids.algorithms.quality.gain import Gain
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.risk.choice import Decision, decide
from n2a_bids.algorithms.risk.held_out import HeldOut, hold_out
from n2a_bids.algorithms.risk.stacking import Stack, describe_blend, list_risks, stack_candidates
from n2a_bids.record.denoising import Choice, RepetitionRecord, StrategyRecord

_MEASURED = "echoes as measured"
_STAGES = (_MEASURED, "joint network", "joint non-local Bayes 1x", "joint non-local Bayes 2x")
"""What is compared; each stage is the guide of the next."""

_POWER_UNCERTAINTY = 0.1
"""Of the noise power, known to 5 % of the SD. Twice as much enters the risk of a smooth result against the
echoes as measured: for noise power s2 taken to be s2', it is off by 2 (s2 - s2') (1 - divergence). The
comparison of the other candidates is hardly touched; a gain in dB would pretend to more, so that none is
given."""

_COLOURED_NOISE = 1.3
"""Noise SD over that of the finest detail from which noise counts as correlated between neighbours."""

_STRENGTH = 0.4
"""Of the recorruption by which risks are measured."""

_LOCAL_MEAN_VOXELS = (2.0, 4.0)
"""SD of the Gaussian over which the strongest combination, and the others, keep the mean of the data. At 2
voxels 5 % of the SD of white noise is left in such a mean, at 4 voxels 2 %; the others hold more noise than
signal (2 voxels for all cost 0.1 to 0.4 dB, and 4 voxels nothing)."""

Flips = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class JointEchoesConfig:
    """Settings of a recipe of `auto` for echoes."""

    weights: PretrainedWeights
    n_flips: int = 2
    """Mirror images that the final prediction of the network averages over."""
    keep_noise_floor: bool = False
    """Leave the Rician bias in the result, also where the air shows magnitudes."""


def denoise(repetitions: Repetitions, config: JointEchoesConfig, context: Context) -> DenoisedImage:
    """Denoise echoes with the combination of stages of least estimated risk.

    Parameters
    ----------
    repetitions : Repetitions
        At least two echoes, one channel.

    Returns
    -------
    denoised : DenoisedImage
        With every echo in its own intensity scale; the combined image is their mean after a linear
        match to the first.
    """
    watch = Stopwatch(context.clock)
    echoes = prepare_echoes(repetitions, keep_noise_floor=config.keep_noise_floor)
    held_out = hold_out(echoes.mask, context.generator)
    network = place_network("resunet-t1w", config.weights, context.device)
    watch.lap("noise")
    context.report("comparing candidates on held-out blocks")
    estimator = _Estimator(echoes, network, context)
    stack, noise_power, bias_power = _compare(estimator, held_out)
    watch.lap("risk")
    outcome = _decide(stack, noise_power, bias_power)
    weights = stack.weights if outcome == "won" else np.eye(len(_STAGES))[0]
    context.report("denoising the whole volume")
    whole = (slice(None),) * 3
    n_stages = int(np.flatnonzero(weights)[-1]) + 1
    stages = estimator.estimate(echoes.images, whole, n_stages, FLIPS[: config.n_flips])
    estimate = sum(np.float32(weight) * stage for weight, stage in zip(weights, stages))
    watch.lap("predict")
    record = StrategyRecord(
        chosen=_describe_choice(weights, outcome),
        candidates=list_risks(_STAGES, stack),
        rician=echoes.magnitudes is not None,
        warnings=_warn(echoes),
        seconds=watch.seconds(),
    )
    denoised = _restore(repetitions, echoes, estimate, record)
    # The gain of a denoised image would pretend to more than is known: see _POWER_UNCERTAINTY.
    return denoised if outcome == "won" else replace(denoised, gain=Gain())


@dataclass(frozen=True, slots=True)
class _Estimator:
    """The stages, for a part of the volume or all of it."""

    echoes: Echoes
    network: nn.Module
    context: Context

    def estimate(
        self,
        noisy: NDArray[np.float32],
        box: tuple[slice, ...],
        n_stages: int,
        flips: Flips = ((),),
        *,
        noise_factor: float = 1.0,
    ) -> list[NDArray[np.float32]]:
        """The first `n_stages` of `_STAGES` for (E, X, Y, Z) echoes of a box."""
        noise_sd = self.echoes.noise_sd[box] * np.float32(noise_factor)
        stages = [noisy]
        for _ in range(n_stages - 1):
            guide = stages[-1] if len(stages) > 1 else self._apply_network(noisy, noise_sd, flips)
            unbiased = (noisy - self.echoes.bias(guide, self.echoes.noise_sd[box])).astype(np.float32)
            found = guide
            if len(stages) > 1:
                found = self._apply_nonlocal_bayes(unbiased, guide, noise_sd, self.echoes.head[box])
            stages.append(self._keep_local_means(unbiased, found, box))
        return stages

    def _apply_network(
        self, noisy: NDArray[np.float32], noise_sd: NDArray[np.float32], flips: Flips
    ) -> NDArray[np.float32]:
        # The network has no biases: it commutes with the unit, which can stay that of the noise.
        settings = {"device": self.context.device, "memory_gb": self.context.memory_gb, "flips": flips}
        combinations = self.echoes.combine(noisy)
        denoised = [predict(self.network, image, noise_sd, **settings) for image in combinations]
        return self.echoes.separate(np.stack(denoised))

    def _apply_nonlocal_bayes(
        self,
        unbiased: NDArray[np.float32],
        guide: NDArray[np.float32],
        noise_sd: NDArray[np.float32],
        where: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        last = (np.ascontiguousarray(np.moveaxis(images, 0, -1)) for images in (unbiased, guide))
        covariance = self.echoes.covariance
        correlation = None if covariance is None else covariance.patch_correlation(DEFAULT_SEARCH.edge)
        settings = BayesSettings(
            self.context.device, correlation=correlation, memory_gb=self.context.memory_gb
        )
        found = guided_nonlocal_bayes(*last, noise_sd, where, settings)
        return np.moveaxis(found, -1, 0)

    def _keep_local_means(
        self, unbiased: NDArray[np.float32], estimate: NDArray[np.float32], box: tuple[slice, ...]
    ) -> NDArray[np.float32]:
        """Give back what was taken away where it is smooth."""
        # Where a noise floor is left in on purpose, it stays in the air too.
        head = self.echoes.head[box]
        where = np.ones_like(head) if self.echoes.magnitudes is None else head
        strongest, others = (MaskedSmoother(where, sd) for sd in _LOCAL_MEAN_VOXELS)
        first, *rest = self.echoes.combine(unbiased - estimate)
        kept = self.echoes.separate(np.stack([strongest(first), *map(others, rest)]))
        return np.where(where, estimate + kept, estimate)


def _compare(estimator: _Estimator, held_out: HeldOut) -> tuple[Stack, float, float]:
    """Risk of every stage inside the brain part of the held-out blocks; noise and bias power there."""
    echoes, context = estimator.echoes, estimator.context
    rng = np.random.default_rng(int(torch.randint(2**31 - 1, (), generator=context.generator)))
    predictions, targets, noise_powers, bias_powers = [], [], [], []
    for core, box in zip(held_out.cores, held_out.boxes):
        inner = box_within(core, box)
        counted = echoes.mask[core]
        images, noise_sd = echoes.images[(slice(None), *box)], echoes.noise_sd[box]
        noise = np.stack([draw_noise(noise_sd, echoes.covariance, rng) for _ in images])
        stages = estimator.estimate(
            images + np.float32(_STRENGTH) * noise,
            box,
            len(_STAGES),
            noise_factor=float(np.sqrt(1 + _STRENGTH**2)),
        )
        bias = np.broadcast_to(echoes.bias(stages[1], noise_sd), images.shape)
        target = images - bias - noise / np.float32(_STRENGTH)
        predictions.append(np.stack([stage[(slice(None), *inner)][:, counted].ravel() for stage in stages]))
        targets.append(target[(slice(None), *inner)][:, counted].ravel())
        noise_powers.append((echoes.noise_sd[core][counted] ** 2).mean())
        bias_powers.append((bias[(slice(None), *inner)][:, counted] ** 2).mean())
    noise_power = float(np.mean(noise_powers))
    stack = stack_candidates(predictions, targets, correction=_STRENGTH**2 * noise_power)
    return stack, noise_power, float(np.mean(bias_powers))


def _decide(stack: Stack, noise_power: float, bias_power: float) -> Decision:
    """Whether the blend beats the echoes as measured beyond doubt, and can be true."""
    doubt = 2 * _POWER_UNCERTAINTY * noise_power
    most_gain = noise_power + bias_power + doubt
    return decide(stack.combined_risk, stack.combined_standard_error, most_gain, doubt)


def _describe_choice(weights: NDArray[np.float64], outcome: Decision) -> Choice:
    """The choice as a record: a name, one sentence, and the weights of a blend."""
    if outcome == "won":
        return describe_blend(_STAGES, weights)
    sentence = {
        "lost": "the echoes as measured: no candidate beat them on the held-out blocks",
        "impossible": "the echoes as measured: the estimated error came out below zero, so their noise is "
        "weaker than it was taken to be (do structures of one echo alone count as noise?)",
    }[outcome]
    # The combined image is then their plain mean.
    return Choice(_MEASURED, sentence, mean_won=True)


def _warn(echoes: Echoes) -> tuple[str, ...]:
    """What the risk cannot see, which takes all that the weakest combination holds for noise."""
    excess = float(np.median(echoes.noise_sd[echoes.mask]))
    if excess < _COLOURED_NOISE:
        return ()
    return (
        f"the noise of the echoes is {excess:.1f} times as strong as their finest detail: it is correlated "
        "between neighbours (interpolated or filtered by the scanner?), unless structure that one echo shows "
        "alone counts as noise; look at the residual",
    )


def _restore(
    repetitions: Repetitions, echoes: Echoes, estimate: NDArray[np.float32], record: StrategyRecord
) -> DenoisedImage:
    """Back to intensities, each echo's own and those of the first."""
    # Magnitudes stay positive in the air, whatever a network says.
    lowest = echoes.images.min(axis=(1, 2, 3), keepdims=True)
    own = [scale.invert(image) for scale, image in zip(echoes.scales, np.maximum(estimate, lowest))]
    matches = match_scales(repetitions.data[..., 0], repetitions.mask)
    combined = np.mean([match.apply(image) for match, image in zip(matches, own)], axis=0)
    factors = [scale.gain / match.gain for scale, match in zip(echoes.scales, matches)]
    noise_sd = echoes.noise_sd * np.float32(np.sqrt(np.mean(np.square(factors))) * matches[0].gain)
    typical = float(np.median(echoes.noise_sd[echoes.mask]))
    rows = tuple(
        RepetitionRecord("", match.gain, match.offset, weight=1 / len(own), noise_sd=typical * scale.gain)
        for match, scale in zip(matches, echoes.scales)
    )
    return DenoisedImage(
        data=matches[0].invert(combined)[..., None],
        repetitions=np.stack(own)[..., None],
        noise_sd=noise_sd[..., None],
        record=replace(record, repetitions=rows),
    )
