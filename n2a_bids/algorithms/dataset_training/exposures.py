"""Micrograph exposures of one field of view, prepared to train or judge a 2D network of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.micrographs.stabilised import StableFields, hold_out_squares, stable_channels
from n2a_bids.algorithms.nn.batches import BatchSettings
from n2a_bids.algorithms.nn.planar_batches import exposure_pairs, recorrupted_pairs, square_batches
from n2a_bids.algorithms.nn.training import Batch
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.candidates import Candidate
from n2a_bids.algorithms.strategies.micr.auto import compare_on_squares
from n2a_bids.algorithms.strategies.micr.candidates import PlaneCandidate, PlaneEstimator


@dataclass(frozen=True, slots=True)
class ExposureGroup:
    """Exposures of one field of view."""

    subject: str
    """Or the field of view, where there are too few subjects: what is kept apart."""
    channels: tuple[StableFields, ...]

    @property
    def noise_sd(self) -> float:
        """Typical noise SD of the average, in SDs of the image."""
        return float(np.median([fields.average_noise_sd for fields in self.channels]))

    @property
    def least_edge(self) -> int:
        """Shortest edge of all planes and windows, in pixels."""
        return min(size for fields in self.channels for size in fields.counted.shape[1:])


def prepare_exposures(subject: str, repetitions: Repetitions, context: Context) -> ExposureGroup:
    """Find noise, scale and weights of every channel, as the strategies for micrographs do.

    Parameters
    ----------
    repetitions : Repetitions
        At least two aligned exposures.
    context : Context
        Its generator chooses windows of large images.

    Raises
    ------
    ValueError
        If the exposures of a channel do not differ, or hold values that are not finite.
    """
    channels = stable_channels(repetitions, context.generator)
    return ExposureGroup(subject, tuple(channel.fields for channel in channels))


def exposure_source(
    group: ExposureGroup,
    targets: Literal["recorrupted", "noise2noise"],
    level_weight: float,
    edge: int,
    generator: torch.Generator,
) -> Callable[[], Batch]:
    """One random square at a time, of a random channel.

    Parameters
    ----------
    targets : {'recorrupted', 'noise2noise'}
    level_weight : float
        Of all pixels in the loss.
    edge : int
        Of the squares, pixels.
    """
    sources = []
    for fields in group.channels:
        draw_pair = (
            recorrupted_pairs(fields.weighting)
            if targets == "recorrupted"
            else exposure_pairs(len(fields.images))
        )
        weight = fields.counted.astype(np.float32) * np.float32(level_weight)
        source = square_batches(
            fields.images, weight, fields.noise_sd, draw_pair, BatchSettings(1, generator), edge=edge
        )
        sources.append(source)
    if len(sources) == 1:
        return sources[0]
    return lambda: sources[int(torch.randint(len(sources), (), generator=generator))]()


def exposure_errors(
    networks: Mapping[str, nn.Module],
    group: ExposureGroup,
    context: Context,
    levels: tuple[float, ...],
    most_squares: int,
) -> dict[str, float]:
    """Squared error of each network at its best level over that of the mean, on squares, without a truth.

    Parameters
    ----------
    networks : mapping of str to nn.Module
    context : Context
        Its generator chooses squares and recorruptions.
    levels : tuple of float
        Factors on the noise level that networks are told.
    most_squares : int
        Of each channel.

    Returns
    -------
    error_left : dict
        For each network, the mean over channels.
    """
    left = []
    for fields in group.channels:
        held_out = hold_out_squares(fields, context.generator, most=most_squares)
        estimator = PlaneEstimator(context)
        tried = [
            estimator.as_candidate(PlaneCandidate(name, network, level))
            for name, network in networks.items()
            for level in levels
        ]
        stack = compare_on_squares([Candidate("mean"), *tried], fields, held_out, context)
        of_levels = (1 + stack.risks[1:] / fields.average_noise_sd**2).reshape(len(networks), len(levels))
        left.append(of_levels.min(axis=1))
    return dict(zip(networks, map(float, np.mean(left, axis=0)), strict=True))
