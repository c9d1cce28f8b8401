"""Risk of the candidates of `auto`: each denoises recorrupted averages of held-out blocks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from itertools import islice, product

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.masked_filters import box_within
from n2a_bids.algorithms.nn.blocks import Index
from n2a_bids.algorithms.preparation.repetitions import Prepared
from n2a_bids.algorithms.risk.candidates import Candidate, NoisyImage, combine_repetitions, estimate_all
from n2a_bids.algorithms.risk.held_out import HeldOut
from n2a_bids.algorithms.risk.stacking import STRENGTH, Stack, draw_contrasts, stack_candidates
from n2a_bids.algorithms.threads import map_side_by_side

Volume = NDArray[np.float32]

_MARGIN_VOXELS = 0
"""Reflected around held-out blocks, whose context is enough: on a real pair the network's residual in their
middle differs by 0.015 of its SD from that of the whole volume, by 0.007 with a margin, which takes twice
the time."""


def compare(
    candidates: Sequence[Candidate],
    prepared: Prepared,
    held_out: HeldOut,
    bias: NDArray[np.float32] | float,
    context: Context,
    *,
    strength: float = STRENGTH,
    n_draws: int = 2,
) -> Stack:
    """Risk of every candidate on recorrupted averages, inside the brain part of the held-out blocks.

    Parameters
    ----------
    candidates : sequence of Candidate
        The first one must be the plain mean.
    bias : (X, Y, Z) float array or 0.0
        Rician bias of the repetitions: subtracted from the targets, so that a
        candidate which keeps it pays for it.
    strength : float
        Recorruption strength: small keeps the input close to the average that
        is denoised in the end, large keeps the targets' noise low.
    n_draws : int
        Recorruptions of each block, as `draw_contrasts` draws them.
    """
    contrasts = draw_contrasts(prepared.weighting, context.generator, n_draws)
    offset = np.broadcast_to(np.float32(bias), prepared.mask.shape)
    places = zip(held_out.cores, held_out.boxes, strict=True)

    def estimate(piece: tuple[tuple[Index, Index], NDArray[np.float64]]) -> tuple[Volume, Volume]:
        return _estimate_draw(candidates, prepared, piece[0], offset, piece[1], strength, context)

    # Other functions than networks may not bear to be called while they run.
    apply = map if any(one.function for one in candidates) else partial(map_side_by_side, context.device)
    estimates = apply(estimate, product(places, contrasts))
    costly = _with_own_prediction(candidates)
    return stack_draws(estimates, prepared, held_out, len(contrasts), strength=strength, costly=costly)


def stack_draws(
    estimates: Iterable[tuple[Volume, Volume]],
    prepared: Prepared,
    held_out: HeldOut,
    n_draws: int,
    *,
    strength: float = STRENGTH,
    costly: Collection[int] = (),
) -> Stack:
    """Risk of candidates from what they made of the draws of each block.

    Parameters
    ----------
    estimates : iterable of (K, N) and (N,) arrays
        Estimates and targets in the core of a block: the draws of the first block, then those of the next.
    n_draws : int
        Of each block.
    strength : float
        Of the recorruption.
    costly : collection of int
        See `stack_candidates`.
    """
    added, block_values, block_targets = [], [], []
    left = iter(estimates)
    for core in held_out.cores:
        draws = list(islice(left, n_draws))
        # Draws of one block share its anatomy and most of its noise: they are no independent evidence.
        block_values.append(np.hstack([values for values, _ in draws]))
        block_targets.append(np.hstack([targets for _, targets in draws]))
        added.append(strength**2 * prepared.average_noise_variance(core))
    return stack_candidates(block_values, block_targets, added, costly=costly)


def _estimate_draw(
    candidates: Sequence[Candidate],
    prepared: Prepared,
    places: tuple[Index, Index],
    offset: NDArray[np.float32],
    contrast: NDArray[np.float64],
    strength: float,
    context: Context,
) -> tuple[Volume, Volume]:
    """(K, N) estimates of a recorrupted average in the core of one block, and (N,) targets for them."""
    core, box = places
    inner = box_within(core, box)
    counted, weighting = prepared.mask[core], prepared.weighting
    images, repetition_sd = prepared.images[(slice(None), *box)], prepared.repetition_noise_sd[box]
    noisy = NoisyImage(
        combine_repetitions(images, weighting.weights + strength * contrast),
        repetition_sd * np.float32(weighting.noise_factor) * np.float32(np.sqrt(1 + strength**2)),
        prepared.head[box],
        partial(prepared.bias, noise_sd=repetition_sd),
    )
    estimates = estimate_all(candidates, noisy, context, margin_voxels=_MARGIN_VOXELS)
    target = combine_repetitions(images, weighting.weights - contrast / strength)[inner] - offset[core]
    return np.stack([estimate[inner][counted] for estimate in estimates]), target[counted]


def _with_own_prediction(candidates: Sequence[Candidate]) -> list[int]:
    """Which candidates alone need some network at some noise level."""
    predictions = [(id(one.network), one.noise_factor) for one in candidates]
    return [
        index
        for index, one in enumerate(candidates)
        if one.network is not None and predictions.count(predictions[index]) == 1
    ]
