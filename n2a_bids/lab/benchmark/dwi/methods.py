"""Methods of the diffusion benchmark: strategies, baselines, and one that learned from the truth."""

from __future__ import annotations

import numpy as np
import torch
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
from n2a_bids.lab.benchmark.baselines import find_denoiser
from n2a_bids.lab.benchmark.dwi.baselines import COMPLEX_BASELINES, DWI_BASELINES, MAGNITUDE
from n2a_bids.lab.benchmark.dwi.phantoms import Simulated, Truth
from n2a_bids.lab.benchmark.strategies import MethodSettings, denoise_by_strategy
from n2a_bids.lab.simulation.dwi import add_rician_noise, noise_sd_for_snr
from n2a_bids.strategy_table import strategies_of

SUPERVISED = "supervised"
"""The ceiling of networks: learns from the truth elsewhere in the same brain."""
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
    truth : Truth
        With `Truth.elsewhere`.
    snr : float
        Of the b0, as in the simulation.

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


def denoise_simulated(
    method: str, simulated: Simulated, settings: MethodSettings, snr: float
) -> tuple[NDArray[np.float32], dict[str, str]]:
    """Denoise simulated repetitions by one method; the record says what a strategy has chosen."""
    torch.set_num_threads(settings.n_threads)
    method, _, form = method.partition(":")
    repetitions = simulated.magnitudes if form == MAGNITUDE else simulated.repetitions
    if method in COMPLEX_BASELINES and simulated.unphased is not None:
        noise_sd = simulated.noise_sd / np.sqrt(repetitions.n_repetitions)
        denoise = find_denoiser(method, COMPLEX_BASELINES)
        image = denoise(simulated.unphased.mean(axis=0), repetitions.mask, float(noise_sd))
        return image, {"chosen": ""}
    if method == SUPERVISED:
        image = denoise_supervised(repetitions, simulated.truth, snr, settings.recipe, settings.context)
        return image, {"chosen": ""}
    return denoise_series(method, repetitions, settings)


def denoise_series(
    method: str, repetitions: Repetitions, settings: MethodSettings
) -> tuple[NDArray[np.float32], dict[str, str]]:
    """Denoise series, simulated or real, by a strategy, or their mean by one of `DWI_BASELINES`."""
    torch.set_num_threads(settings.n_threads)
    mean = repetitions.data.mean(axis=0)
    if method == "noisy":
        return mean, {"chosen": ""}
    if method in DWI_BASELINES:
        denoise = find_denoiser(method, DWI_BASELINES)
        return denoise(mean, repetitions.mask, repetitions.gradients), {"chosen": ""}
    result = denoise_by_strategy(method, repetitions, settings)
    return result.data, {"chosen": result.record.chosen.name}


def known_methods() -> list[str]:
    """What ``--strategies`` takes for diffusion series; complex ones can be given as magnitudes."""
    of_series = ["noisy", *(row.name for row in strategies_of("dwi")), *DWI_BASELINES]
    return [*of_series, SUPERVISED, *COMPLEX_BASELINES, *(f"{name}:{MAGNITUDE}" for name in of_series)]
