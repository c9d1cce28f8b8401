"""Methods of the T1w benchmark: strategies of the app, classical baselines, supervised oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.nn.inference import FLIPS, predict
from n2a_bids.algorithms.nn.weights import build_network
from n2a_bids.algorithms.noise.rician import remove_noise_floor, rician_bias
from n2a_bids.algorithms.normalization import LinearScale
from n2a_bids.errors import ConfigError, DenoisingError
from n2a_bids.io.weights import load_weights
from n2a_bids.lab.benchmark.anat.cells import CellData
from n2a_bids.lab.benchmark.baselines import (
    BASELINES,
    ECHO_BASELINE,
    available_baselines,
    bm4d_echoes,
    denoise_with_baseline,
)
from n2a_bids.lab.benchmark.strategies import MethodSettings, denoise_by_strategy, split_variant
from n2a_bids.record.typed_json import JsonObject, to_json
from n2a_bids.strategy_table import strategies_of

_ORACLE_NETWORK, _PUBLISHED_NETWORK = "resunet-t1w", "munet-t1w"

Result = tuple[NDArray[np.float32], JsonObject]


def available_methods() -> list[str]:
    """Names for the option ``--strategies``; a strategy may carry a recipe: ``auto:thorough``."""
    return [
        "single",
        *sorted(row.name for row in strategies_of("anat")),
        "oracle",
        "munet",
        *available_baselines(),
        *([ECHO_BASELINE] if "bm4d" in available_baselines() else []),
    ]


_TAKE_FLOOR = "-floor"
"""Ending of a baseline whose Rician bias is taken out, at the true noise level: ``bm4d-floor``."""
_WEIGHTED = "-weighted"
"""Ending of a baseline that gets the best weighted mean where noise is unequal: ``bm4d-weighted-floor``."""


def check_method(name: str) -> None:
    """Raise ConfigError for a name that is not known, or whose package is not installed."""
    baseline = _base_of(name)
    if baseline in available_baselines() or (baseline == ECHO_BASELINE and baseline in available_methods()):
        return
    if baseline.removesuffix("-each") in BASELINES:
        known = available_baselines()
    else:
        known = available_methods()
    base, variant = split_variant(name)
    if base.split(":")[0] not in known:
        raise ConfigError(f"expected a method among {', '.join(available_methods())}, found {name!r}")
    if variant and base.split(":")[0] not in ("auto", "recorrupted"):
        raise ConfigError(f"expected {variant} behind auto or recorrupted, found {name!r}; drop it")


def run_method(name: str, data: CellData, settings: MethodSettings) -> Result:
    """Denoise one cell by one method.

    Parameters
    ----------
    name : str
        ``single`` (first repetition as it is), a strategy, ``strategy:recipe``, ``oracle``, ``munet``
        (the published network, pretrained, applied to the mean), or a baseline. One of `VARIANTS` may follow
        a strategy; ``-floor`` behind a baseline takes the Rician bias out of its result, ``-weighted`` gives
        it the best weighted mean.
    data : CellData
        Baselines and the oracle are told the true noise level and gains; strategies find them out.

    Returns
    -------
    image : (X, Y, Z) float32 array
        In the unit of the first repetition.
    metrics : dict
        Record of the method; empty for baselines.
    """
    torch.set_num_threads(settings.n_threads)
    if name == "single":
        return data.repetitions.data[0, ..., 0], {}
    if name == "oracle":
        inputs = oracle_input(data, settings)
        return inputs.scale.invert(inputs.denoise(FLIPS)), {}
    if name == "munet":
        inputs = oracle_input(data, settings, _PUBLISHED_NETWORK)
        return inputs.scale.invert(inputs.denoise(FLIPS[:1])), {}
    if _base_of(name).removesuffix("-each") in (*BASELINES, ECHO_BASELINE):
        return _baseline(name, data, settings), {}
    return _strategy(name, data, settings)


def _base_of(name: str) -> str:
    """A baseline without the endings that say what it gets and what is done to its result."""
    return name.removesuffix(_TAKE_FLOOR).removesuffix(_WEIGHTED)


def _strategy(name: str, data: CellData, settings: MethodSettings) -> Result:
    denoised = denoise_by_strategy(name, data.repetitions, settings)
    image = denoised.data
    if not data.repetitions.same_contrast and denoised.repetitions is not None:
        image = denoised.repetitions[0]
    return image[..., 0], to_json(denoised.record)


def _baseline(name: str, data: CellData, settings: MethodSettings) -> NDArray[np.float32]:
    baseline, mask = _base_of(name), data.repetitions.mask
    told = data.best_weighted if _WEIGHTED in name else data
    if baseline == ECHO_BASELINE:
        if data.repetitions.same_contrast:
            raise DenoisingError(f"{baseline} denoises echoes together; these repetitions have one contrast")
        image = bm4d_echoes(data.matched, data.mean_noise_sd)
    else:
        image = denoise_with_baseline(
            baseline,
            told.comparable,
            mask,
            told.mean_noise_sd,
            settings.n_threads,
            noise_map=told.noise_sd / np.float32(max(told.mean_noise_sd, np.finfo(np.float32).tiny)),
            noise_spectrum=told.noise_spectrum,
        )
    if not name.endswith(_TAKE_FLOOR):
        return image
    # The bias grows with the variance of repetitions; weighted as here, they have R times that of their mean.
    n_averaged = len(data.comparable) / len(told.comparable)
    return remove_noise_floor(image, told.noise_sd * np.float32(np.sqrt(n_averaged)))


@dataclass(frozen=True, slots=True)
class OracleInput:
    """What supervised learning gets when nothing has to be estimated."""

    network: nn.Module
    """Trained with the truth of other brains, not fine-tuned."""
    scale: LinearScale
    """z-scores to the unit of the truth."""
    mean: NDArray[np.float32]
    """(X, Y, Z) mean of the repetitions, true gains taken out, z-scores."""
    noise_sd: NDArray[np.float32]
    """(X, Y, Z) its true noise SD, z-scores."""
    n_repetitions: int
    device: torch.device
    memory_gb: float

    def bias(self, guide: NDArray[np.float32]) -> NDArray[np.float32]:
        """(X, Y, Z) Rician bias of the mean, z-scores, where the clean image is as the guide says."""
        zero = np.float32(-self.scale.offset / self.scale.gain)
        return rician_bias(guide - zero, self.noise_sd * np.sqrt(self.n_repetitions))

    def denoise(self, flips: tuple[tuple[int, ...], ...]) -> NDArray[np.float32]:
        """(X, Y, Z) estimate of the network in z-scores, averaged over mirror images."""
        return predict(
            self.network, self.mean, self.noise_sd, device=self.device, memory_gb=self.memory_gb, flips=flips
        )


def oracle_network(settings: MethodSettings, name: str = _ORACLE_NETWORK) -> nn.Module:
    """The pretrained network on the device; ConfigError if there are no weights."""
    weights = load_weights(name, settings.weights_dir)
    if weights is None:
        raise ConfigError("pretrained weights are needed: give their folder by --weights-dir")
    return build_network(name, weights).to(settings.device)


def tissue_scale(truth: NDArray[np.float32], mask: NDArray[np.bool_]) -> LinearScale:
    """z-scores of the tissue to the unit of the truth."""
    inside = truth[mask]
    return LinearScale(gain=float(inside.std()), offset=float(inside.mean()))


def oracle_input(data: CellData, settings: MethodSettings, network: str = _ORACLE_NETWORK) -> OracleInput:
    """Bring the mean of a cell and its true noise to z-scores, and load the network.

    Parameters
    ----------
    network : str
        Name of its weights.

    Raises
    ------
    ConfigError
        If there are no pretrained weights.
    """
    scale = tissue_scale(data.truth, data.repetitions.mask)
    return OracleInput(
        network=oracle_network(settings, network),
        scale=scale,
        mean=scale.apply(data.comparable.mean(axis=0)),
        noise_sd=data.noise_sd / np.float32(scale.gain * np.sqrt(len(data.comparable))),
        n_repetitions=len(data.comparable),
        device=torch.device(settings.device),
        memory_gb=settings.memory_gb,
    )
