"""The ceiling of diffusion networks: what they learn from the truth, elsewhere in the same brain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.strategies.dwi.networks import (
    ScaledSeries,
    SeriesPairs,
    apply_network,
    noise2noise_config,
    train_network,
)
from n2a_bids.lab.benchmark.dwi.truths import Truth
from n2a_bids.lab.simulation.dwi import add_rician_noise, noise_sd_for_snr

_N_DRAWS = 2
"""Noisy series to learn from: as many as a pair has."""


def denoise_supervised(
    repetitions: Repetitions, truth: Truth, snr: float, recipe: str, context: Context
) -> NDArray[np.float32]:
    """Train the 10-layer network on noisy and clean series of the rest of the brain, and apply it here.

    The same network, number of steps and start as Noise2Noise, with what no real scan has: the
    truth as target, in the same head, with the same gradients and the true noise level. A network
    pretrained on other brains, whose gradients differ, has less to go by.

    Parameters
    ----------
    repetitions : Repetitions
    truth : Truth
        With `Truth.elsewhere`.
    snr : float
        Of the b0, as in the simulation.
    recipe : str
    context : Context

    Returns
    -------
    denoised : (X, Y, Z, C) float32 array
        Mean of the denoised series.

    Raises
    ------
    ValueError
        If the truth has no elsewhere.
    """
    if truth.elsewhere is None:
        raise ValueError("the supervised ceiling needs a truth with an elsewhere")
    rest = truth.elsewhere
    noise_sd = noise_sd_for_snr(truth.signal, truth.gradients, truth.mask, snr)
    series = ScaledSeries(repetitions)
    noisy = [add_rician_noise(rest.signal, noise_sd, context.generator) for _ in range(_N_DRAWS)]
    inputs = np.stack([series.scaled(one) for one in noisy])
    targets = [series.scaled(rest.signal)] * _N_DRAWS
    config = noise2noise_config(recipe)
    network, _ = train_network(SeriesPairs(inputs, targets, rest.mask), config, context, "supervised")
    denoised = [apply_network(network, own, context) for own in series.values]
    return series.restored(np.mean(denoised, axis=0))
