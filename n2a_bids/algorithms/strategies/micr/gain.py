"""Gain of micrographs: squared error of intensities on squares, steadied by the pretrained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.masked_filters import box_within
from n2a_bids.algorithms.micrographs.planes import TileEstimate
from n2a_bids.algorithms.micrographs.stabilised import (
    CAP_VARIANCES,
    ENOUGH_PIXELS,
    StableFields,
    hold_out_squares,
)
from n2a_bids.algorithms.quality.gain import decibels, denoising_gain
from n2a_bids.algorithms.risk.candidates import combine_repetitions
from n2a_bids.algorithms.risk.held_out import HeldOut
from n2a_bids.algorithms.risk.stacking import STRENGTH, draw_contrasts
from n2a_bids.record.denoising import CandidateRisk

ERROR_EXPONENT = 0.65
"""The squared error of a denoised image rises with about this power of the noise variance."""
ERROR_GROWTH = (1 + STRENGTH**2) ** ERROR_EXPONENT
"""Of what is compared, recorrupted and therefore a little noisier than the mean: without it, gains of five
sections of an electron microscope were told 0.4 dB too low."""


@dataclass(frozen=True, slots=True)
class JudgedMethod:
    """A way to denoise whose gain is to be told, and one that is surer of its own, which steadies it."""

    method: TileEstimate
    """Of recorrupted averages, as what follows."""
    untrained: TileEstimate | None = None
    """One that learned nothing from the exposures: it can be judged on all of them."""


def estimate_denoising_gain(
    judged: JudgedMethod, fields: StableFields, held_out: HeldOut, context: Context
) -> float:
    """Noise variance of the mean over the squared error of the denoised image, both of intensities.

    Squares that training did not see are few in small images: alone they told gains up to 1 dB off, by their
    noise and by what happens to lie in them. The error of the pretrained network, which did not learn from
    any pixel, is known from all of them, and the squares tell only by how much the method differs from it.

    Parameters
    ----------
    judged : JudgedMethod
    fields : StableFields
    held_out : HeldOut
        Squares that training did not see.
    """
    contrasts = draw_contrasts(fields.weighting, context.generator, 2)
    enough = np.count_nonzero(held_out.mask & fields.counted) >= ENOUGH_PIXELS
    if judged.untrained is None or enough:
        error = _relative_errors([judged.method], fields, held_out, contrasts)[0]
    else:
        everywhere = hold_out_squares(fields, context.generator, trains=False)
        reference, own = _relative_errors([judged.untrained, judged.method], fields, held_out, contrasts)
        error = own - reference + _relative_errors([judged.untrained], fields, everywhere, contrasts)[0]
    return denoising_gain(ERROR_GROWTH, 1.0, error - 1.0)


def anchor_candidates(rows: tuple[CandidateRisk, ...], gain: float) -> tuple[CandidateRisk, ...]:
    """Gains of candidates on the scale of what was chosen: the last one has its gain, the mean none.

    Candidates are compared as stabilised, on squares that training did not see.
    """
    chosen = rows[-1].gain_over_mean_db
    if not chosen or chosen < 0:
        return rows
    scale = decibels(gain) / chosen
    return tuple(replace(row, gain_over_mean_db=round(row.gain_over_mean_db * scale, 3)) for row in rows)


def _relative_errors(
    methods: Sequence[TileEstimate],
    fields: StableFields,
    squares: HeldOut,
    contrasts: Sequence[NDArray[np.float64]],
) -> NDArray[np.float64]:
    """(K,) squared errors of recorrupted averages, denoised, over the noise variance of the average.

    Errors of stabilised values count as they do in intensities: by the noise variance of the pixel, which
    rises with its intensity. Bright places, where noise is strong and a denoiser can take most away, weigh
    little where all pixels count alike: gains of five sections were told 0.5 dB below those of intensities.
    """
    weights, n_effective = fields.weighting.weights, fields.weighting.n_effective
    totals, noise = np.zeros(len(methods)), 0.0
    for core, box in zip(squares.cores, squares.boxes, strict=True):
        inner, counted = box_within(core, box)[1:], fields.counted[core][0]
        planes = fields.images[(slice(None), *box)][:, 0]
        variance = planes[(slice(None), *inner)][:, counted].var(axis=0, ddof=1, dtype=np.float64)
        usual = np.minimum(variance, CAP_VARIANCES * fields.noise_sd**2) / n_effective
        for contrast in contrasts:
            noisy = combine_repetitions(planes, weights + STRENGTH * contrast)
            target = combine_repetitions(planes, weights - contrast / STRENGTH)[inner][counted]
            values = np.stack([one.estimate(noisy)[inner][counted] for one in methods])
            before = (noisy[inner][counted] - target) ** 2
            importance = _noise_variance(values[0], fields)
            totals += ((values - target) ** 2 - before).astype(np.float64) @ importance
            noise += float(usual @ importance)
    # Of few counts the stabilised noise is less where it is dark: its variance is that of these pixels.
    return totals / noise + (1 + STRENGTH**2)


def _noise_variance(stable: NDArray[np.float32], fields: StableFields) -> NDArray[np.float64]:
    """Noise variance of the intensities whose stabilised exposures have this mean."""
    return fields.scale.noise.variance(fields.scale.invert(stable)).astype(np.float64)
