"""Evaluates a trained network on held-out subjects without a truth, from their noisy repetitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.dataset_training.exposures import ExposureGroup, exposure_errors
from n2a_bids.algorithms.dataset_training.groups import TrainingGroup
from n2a_bids.algorithms.quality.gain import decibels, denoising_gain
from n2a_bids.algorithms.risk.candidates import Candidate
from n2a_bids.algorithms.risk.comparison import compare
from n2a_bids.algorithms.risk.held_out import hold_out
from n2a_bids.algorithms.risk.single_image import compare_alone
from n2a_bids.algorithms.strategies.anat.auto import error_of_mean

LEVELS = (0.7, 0.85, 1.0, 1.2, 1.45)
"""Factors on the noise level that a network is told: `auto` takes the best, and so does the last test."""

_BLOCK_FRACTION = 0.06
"""Of the brain, that is judged."""
_SQUARES, _FEWEST_SQUARES = 48, 6
"""Of all groups of micrographs that are judged together, and of each."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well networks denoise one group of repetitions."""

    subject: str
    error_left: dict[str, float]
    """Squared error of each network over that of the mean of the repetitions, estimated without a truth: it
    may come out below zero on few voxels."""

    def gain_db(self, name: str) -> float:
        """Gain of a network over the mean."""
        return _gain_db(self.error_left[name])


def evaluate(
    networks: Mapping[str, nn.Module],
    groups: Sequence[TrainingGroup | ExposureGroup],
    context: Context,
    *,
    levels: tuple[float, ...] = (1.0,),
    seed: int,
) -> list[Evaluation]:
    """Estimate the gain of networks over the mean, on blocks of the brain or squares, by recorruption.

    The same seed means the same blocks and the same noise, so that differences between networks, and between
    epochs of one network, are paired.

    Parameters
    ----------
    networks : mapping of str to nn.Module
        In eval mode.
    groups : sequence of TrainingGroup or of ExposureGroup
        Of subjects that the networks have not learned from.
    context : Context
        Its generator is not used.
    levels : tuple of float
        Factors on the noise level; the best counts, for each network and group.

    Returns
    -------
    evaluations : list of Evaluation
        One for each group.
    """
    found = []
    for index, group in enumerate(groups):
        generator = torch.Generator().manual_seed(seed + index)
        own = Context(generator, context.device, context.memory_gb, context.report, context.clock)
        if isinstance(group, ExposureGroup):
            most = max(_SQUARES // len(groups), _FEWEST_SQUARES)
            errors = exposure_errors(networks, group, own, levels, most)
        else:
            errors = _errors(networks, group, own, levels, seed + index)
        found.append(Evaluation(group.subject, errors))
    return found


def _errors(
    networks: Mapping[str, nn.Module],
    group: TrainingGroup,
    context: Context,
    levels: tuple[float, ...],
    seed: int,
) -> dict[str, float]:
    blocks = hold_out(group.prepared.mask, context.generator, fraction=_BLOCK_FRACTION)
    names = [name for name in networks for _ in levels]
    tried = [Candidate(name, network, level) for name, network in networks.items() for level in levels]
    candidates = [Candidate("mean"), *tried]
    if group.is_alone:
        rng = np.random.default_rng(seed)
        stack, noise, bias = compare_alone(candidates, group.prepared, blocks, group.bias, context, rng)
        error = noise + bias
    else:
        stack = compare(candidates, group.prepared, blocks, group.bias, context)
        error = error_of_mean(group.prepared, blocks, group.bias).total
    left: dict[str, float] = {}
    for name, risk in zip(names, stack.risks[1:], strict=True):
        left[name] = min(1 + float(risk) / error, left.get(name, np.inf))
    return left


def _gain_db(error_left: float) -> float:
    return decibels(denoising_gain(1.0, 1.0, error_left - 1))


def mean_gain(evaluations: Sequence[Evaluation], name: str) -> float:
    """Gain in dB of a network from the mean of what it leaves of the error; each subject counts once.

    Examples
    --------
    >>> of_01 = [Evaluation("01", {"n": 0.1}), Evaluation("01", {"n": 0.3})]
    >>> mean_gain([*of_01, Evaluation("02", {"n": 0.6})], "n")
    3.979
    """
    by_subject: dict[str, list[float]] = {}
    for one in evaluations:
        by_subject.setdefault(one.subject, []).append(one.error_left[name])
    return _gain_db(float(np.mean([np.mean(errors) for errors in by_subject.values()])))
