"""Candidates of ``auto`` for T1w (mean, networks, non-local Bayes), and its settings for each recipe."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.filters.patch_search import DEFAULT_SEARCH
from n2a_bids.algorithms.nn.weights import PretrainedWeights, place_network
from n2a_bids.algorithms.preparation.repetitions import Prepared
from n2a_bids.algorithms.risk.candidates import PRETRAINED, SHIPPED, Candidate, estimate_average
from n2a_bids.algorithms.risk.comparison import compare
from n2a_bids.algorithms.risk.held_out import HeldOut
from n2a_bids.algorithms.risk.repetition_weights import WEIGHTED_MEAN, weigh_repetitions
from n2a_bids.algorithms.strategies.anat import noise2average, recorrupted
from n2a_bids.record.denoising import Epoch


@dataclass(frozen=True, slots=True)
class AutoConfig:
    """Settings of a recipe of `auto` for anatomical repetitions."""

    recorrupted: recorrupted.RecorruptedConfig
    echoes_from_scratch: noise2average.Noise2AverageConfig
    """Where repetitions differ in contrast and nothing is pretrained."""
    noise_factors: tuple[float, ...] = (0.7, 0.85, 1.0, 1.2, 1.45)
    """Factors on the estimated noise level that are tried."""

    kernel_exponents: tuple[float, ...] = (0.7, 1.0, 1.5)
    """Powers of the measured noise correlation that are tried for non-local Bayes: what repetitions differ in
    besides noise, and where they were interpolated, bends what is measured."""

    nonlocal_passes: tuple[int, ...] = (1, 2)
    """Passes of non-local Bayes that are tried; a third brings 0.01 dB."""
    n_flips: int = 1
    """Mirror images that predictions are averaged over: a second one brings 0.01 dB where non-local
    Bayes follows. Echoes and single images, which train nothing, have those of `recorrupted`."""
    fusion: PretrainedWeights | None = None
    """Of the network that corrects the last pass."""
    shipped: PretrainedWeights | None = None
    """Of the network in the package, where other weights are used: it stays a candidate beside them."""
    keep_noise_floor: bool = False
    """Leave the Rician bias in targets and result, also where the air shows magnitudes."""

    @property
    def trains(self) -> bool:
        """Whether a network is trained on the images."""
        return self.recorrupted.schedule.n_epochs > 0

    @property
    def weights(self) -> PretrainedWeights | None:
        """Pretrained weights, if any."""
        return self.recorrupted.weights


def pretrained_candidates(
    prepared: Prepared, held_out: HeldOut, config: AutoConfig, context: Context
) -> tuple[list[Candidate], Prepared, NDArray[np.float32] | float]:
    """The mean and the pretrained network at its best level, after the weights and with the Rician bias.

    Returns
    -------
    candidates : list of Candidate
        The mean first.
    prepared : Prepared
        With the weights of the repetitions, if these are unequal.
    bias : (X, Y, Z) float array or 0.0
        Rician bias of the repetitions.
    """
    if config.weights is None:
        # Nothing tells the clean signal yet, from which the bias would follow: it stays.
        return [mean_candidate(prepared)], replace(prepared, magnitude=None), 0.0
    network = context.new_network("resunet-t1w", config.weights)
    context.report("choosing the noise level of the pretrained network")
    # First the weights: with unequal noise, that of inputs and targets would be correlated.
    prepared = weigh_repetitions(Candidate("pretrained", network), prepared, held_out, context)
    mean = mean_candidate(prepared)
    tried = _at_levels(PRETRAINED, network, config)
    if config.shipped is not None:
        tried += _at_levels(SHIPPED, context.new_network("resunet-t1w", config.shipped), config)
    stack = compare([mean, *tried], prepared, held_out, 0.0, context)
    ranked = [tried[index] for index in np.argsort(stack.risks[1:], kind="stable")]
    best = ranked[0]
    # Of two networks the better one is followed up; the other stays a candidate.
    rival = [one for one in ranked if one.network is not best.network][:1]
    bias: NDArray[np.float32] | float = 0.0
    if prepared.magnitude is not None:
        first = estimate_average([best], prepared, context)[0]
        bias = prepared.estimated_bias(first, prepared.repetition_noise_sd)
    neighbours = [other for other in tried if config.trains and _is_neighbour(other, best)]
    return [mean, *rival, *neighbours, best], prepared, bias


def _at_levels(name: str, network: nn.Module, config: AutoConfig) -> list[Candidate]:
    return [Candidate(f"{name} (level {factor:g})", network, factor) for factor in config.noise_factors]


def mean_candidate(prepared: Prepared) -> Candidate:
    """The average as it is, under the name of what it is: plain, or weighted by noise."""
    return Candidate(WEIGHTED_MEAN if prepared.weighting.is_weighted else "mean")


def further_candidates(
    best: Candidate,
    prepared: Prepared,
    held_out: HeldOut,
    bias: NDArray[np.float32] | float,
    config: AutoConfig,
    context: Context,
) -> tuple[list[Candidate], tuple[Epoch, ...]]:
    """The trained network with what follows it; where nothing is trained, what follows the pretrained one.

    Parameters
    ----------
    best : Candidate
        Pretrained network at its best level.
    bias : (X, Y, Z) float array or 0.0
        Rician bias of the repetitions.

    Returns
    -------
    candidates : list of Candidate
        Beside those that there are.
    history : tuple of Epoch
        Of the training; empty where nothing was trained.
    """
    if not config.trains:
        first = replace(best, name=best.name.partition(" (")[0])
        return _followed(with_kernel(first, prepared, held_out, bias, config, context), config, context)[
            1:
        ], ()
    network = copy.deepcopy(best.network) if config.weights else context.new_network("resunet-t1w", None)
    factor = best.noise_factor if config.weights else 1.0
    history = recorrupted.fine_tune(
        network, prepared, config.recorrupted, context, bias=bias, noise_factor=factor, held_out=held_out.mask
    )
    first = Candidate("fine-tuned network" if config.weights else "trained network", network, factor)
    return _followed(with_kernel(first, prepared, held_out, bias, config, context), config, context), history


def with_kernel(
    first: Candidate,
    prepared: Prepared,
    held_out: HeldOut,
    bias: NDArray[np.float32] | float,
    config: AutoConfig,
    context: Context,
) -> Candidate:
    """A network with the noise correlation that non-local Bayes behind it does best with, by risk.

    Parameters
    ----------
    first : Candidate
        Network that guides it.
    held_out : HeldOut
        Every other block is looked at.
    bias : (X, Y, Z) float array or 0.0
        Rician bias of the repetitions.

    Returns
    -------
    first : Candidate
        The same object where noise is white.
    """
    if prepared.covariance is None:
        return first
    context.report("choosing how alike the noise of neighbours is")
    tried = [
        replace(first, correlation=prepared.covariance.patch_correlation(DEFAULT_SEARCH.edge, exponent))
        for exponent in config.kernel_exponents
    ]
    passed = [replace(one, nonlocal_passes=1) for one in tried]
    # The same blocks judge all: half of them tell which is best, in half of the time.
    some = replace(held_out, cores=held_out.cores[::2], boxes=held_out.boxes[::2])
    stack = compare([mean_candidate(prepared), *passed], prepared, some, bias, context)
    chosen = int(np.argmin(stack.risks[1:]))
    context.report(f"noise correlation to the power {config.kernel_exponents[chosen]:g}")
    return tried[chosen]


def _followed(first: Candidate, config: AutoConfig, context: Context) -> list[Candidate]:
    """A network alone, and what follows it."""
    candidates = [first] + [
        replace(first, name=f"{first.name} + non-local Bayes {passes}x", nonlocal_passes=passes)
        for passes in config.nonlocal_passes
    ]
    if config.fusion is not None:
        fusion = place_network(config.fusion.name, config.fusion, context.device)
        passes = max(config.nonlocal_passes)
        name = f"{first.name} + non-local Bayes + fusion"
        candidates.append(replace(first, name=name, nonlocal_passes=passes, fusion=fusion))
    last = candidates[-1]
    return [*candidates, replace(last, name=f"{last.name} + local means", keep_local_means=False)]


def _is_neighbour(candidate: Candidate, best: Candidate) -> bool:
    """Levels next to the best one: their blend is a finer choice of level."""
    is_other = candidate is not best and candidate.network is best.network
    return is_other and 0.8 < candidate.noise_factor / best.noise_factor < 1.25
