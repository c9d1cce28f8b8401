"""Methods of the micrograph benchmark: strategies, and classical denoisers of the stabilised mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.algorithms.micrographs.counting_noise import fit_counting_noise
from n2a_bids.algorithms.micrographs.stabilised import StableScale
from n2a_bids.errors import ConfigError
from n2a_bids.lab.benchmark.baselines import is_installed
from n2a_bids.lab.benchmark.micr.cells import MicrographData
from n2a_bids.lab.benchmark.strategies import MethodSettings, denoise_by_strategy, split_variant
from n2a_bids.record.typed_json import JsonObject, to_json
from n2a_bids.strategy_table import strategies_of

Image = NDArray[np.float32]

_TV_STRENGTHS = (0.5, 0.8, 1.2, 1.8)
"""In noise SDs; the best one for the truth counts, which favours it."""
_NLM_STRENGTHS = (0.6, 0.8, 1.0)


def _nlm(stable: Image, noise_sd: float, strength: float) -> Image:
    from skimage.restoration import denoise_nl_means

    return denoise_nl_means(
        stable,
        patch_size=7,
        patch_distance=11,
        h=strength * noise_sd,
        sigma=noise_sd,
        fast_mode=True,
    )


def _tv(stable: Image, noise_sd: float, strength: float) -> Image:
    from skimage.restoration import denoise_tv_chambolle

    return denoise_tv_chambolle(stable, weight=strength * noise_sd)


def _bm3d(stable: Image, noise_sd: float, strength: float) -> Image:
    from bm3d import bm3d

    return bm3d(stable, noise_sd)


CLASSICAL: dict[str, tuple[Callable[[Image, float, float], Image], str, tuple[float, ...]]] = {
    "nlm": (_nlm, "skimage", _NLM_STRENGTHS),
    "tv": (_tv, "skimage", _TV_STRENGTHS),
    "bm3d": (_bm3d, "bm3d", (1.0,)),
}
"""Name -> denoiser of an image and its noise SD, the package that it needs, and strengths to try.

The licence of bm3d is non-commercial: the user installs it, the package never asks for it.
"""


def available_micrograph_methods() -> tuple[str, ...]:
    """Names of all strategies, and of the classical denoisers whose package is installed."""
    classical = [name for name, (_, package, _) in CLASSICAL.items() if is_installed(package)]
    return (*classical, *(row.name for row in strategies_of("micr")))


def check_micrograph_method(name: str) -> None:
    """Raise ConfigError unless a name, with ``:recipe`` or ``+scratch``, is one of a method."""
    base, variant = split_variant(name)
    if base.partition(":")[0] not in available_micrograph_methods() or variant not in ("", "+scratch"):
        raise ConfigError(
            f"--strategies: expected some of {', '.join(available_micrograph_methods())}, found {name!r}"
        )


def run_micrograph_method(
    name: str, data: MicrographData, settings: MethodSettings
) -> tuple[Image, JsonObject]:
    """Denoise the exposures of a cell.

    Parameters
    ----------
    name : str
        A strategy, perhaps with a recipe (``auto:fast``) or from random weights (``noise2noise+scratch``); or
        a name of `CLASSICAL`.

    Returns
    -------
    image : (X, Y) float32 array
        Counts.
    record : dict
        Of a strategy.
    """
    torch.set_num_threads(settings.n_threads)
    if name in CLASSICAL:
        return _run_classical(name, data), {}
    denoised = denoise_by_strategy(name, data.repetitions, settings)
    return denoised.data[..., 0, 0], to_json(denoised.record)


def _run_classical(name: str, data: MicrographData) -> Image:
    """The mean stabilised, denoised at the best strength, and inverted without bias."""
    exposures, mask = data.repetitions.data[..., 0, 0], data.repetitions.mask[..., 0]
    n_exposures = len(exposures)
    denoise, _, strengths = CLASSICAL[name]
    scale = StableScale(fit_counting_noise(exposures, mask), 0.0, 1.0)
    stable = scale.apply(exposures.mean(axis=0), n_exposures)
    noise_sd = 1 / np.sqrt(n_exposures)
    results = [
        scale.invert(denoise(stable, noise_sd, strength).astype(np.float32), n_exposures)
        for strength in strengths
    ]
    errors = [np.mean((result - data.truth)[mask] ** 2) for result in results]
    return results[int(np.argmin(errors))]
