"""Weights of repetitions whose noise is unequal."""

from __future__ import annotations

import numpy as np

from n2a_bids.algorithms.candidates import Candidate, estimate_average
from n2a_bids.algorithms.noise import high_pass, repetition_noise_ratio
from n2a_bids.algorithms.preparation import Prepared, reweight
from n2a_bids.algorithms.realizations import Context
from n2a_bids.algorithms.risk import HeldOut

_ROUNDS = 4
"""Each finds most of what the ones before it left of a difference in noise."""


def weigh_repetitions(
    candidate: Candidate, prepared: Prepared, held_out: HeldOut, context: Context
) -> Prepared:
    """Weigh repetitions by their noise, as a denoised average shows it on some blocks.

    Parameters
    ----------
    candidate : Candidate
        What denoises.
    prepared : Prepared
        At least two repetitions.
    held_out : HeldOut
        Blocks that are looked at.
    context : Context

    Returns
    -------
    weighted : Prepared
        `prepared` itself where the noise is equal within measurement.
    """
    for _ in range(_ROUNDS):
        residuals, deviations = [], []
        for box in held_out.boxes:
            images, counted = prepared.images[(slice(None), *box)], (prepared.mask & held_out.mask)[box]
            (estimate,) = estimate_average([candidate], prepared, context, box=box)
            residuals.append(np.stack([high_pass(image - estimate)[counted] for image in images]))
            centre = images.mean(axis=0)
            deviations.append(np.stack([high_pass(image - centre)[counted] for image in images]))
        ratio = repetition_noise_ratio(np.hstack(residuals), np.hstack(deviations))
        weighted = reweight(prepared, ratio)
        if weighted is prepared:
            break
        prepared = weighted
    return prepared
