"""The strategies by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from n2a_bids.algorithms.realizations import Context, DenoisedImage, Realizations
from n2a_bids.algorithms.strategies import (
    auto,
    dwi_auto,
    dwi_networks,
    mean,
    noise2average,
    noise2noise,
    recorrupted,
    san2n,
)


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way from realizations to a denoised image."""

    name: str
    denoise: Callable[[Realizations, Any, Context], DenoisedImage]
    """``denoise(realizations, config, context)``."""
    config: Callable[..., Any]
    """``config(recipe, *weights)``: the settings of a recipe, with pretrained weights or ``None``."""
    min_realizations: int = 2
    needs_same_signal: bool = False
    needs_gradients: bool = False
    weights_name: Callable[[str], str | None] = lambda recipe: None
    """Name of the pretrained weights that a recipe starts from."""
    further_weights: tuple[str, ...] = ()
    """Names of more weights, which `config` takes after the first."""

    def all_weights(self, recipe: str) -> tuple[str | None, ...]:
        """Names of what `config` takes after the recipe."""
        return (self.weights_name(recipe), *self.further_weights)


STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy("mean", mean.denoise, mean.config, min_realizations=1),
        Strategy(
            "auto",
            auto.denoise,
            auto.config,
            weights_name=lambda recipe: "resunet-t1w",
            further_weights=("fusion-t1w",),
        ),
        Strategy(
            "recorrupted",
            recorrupted.denoise,
            recorrupted.config,
            needs_same_signal=True,
            weights_name=lambda recipe: "resunet-t1w",
        ),
        Strategy(
            "noise2noise",
            noise2noise.denoise,
            noise2noise.config,
            needs_same_signal=True,
            weights_name=lambda recipe: "resunet-t1w",
        ),
        Strategy(
            "noise2average",
            noise2average.denoise,
            noise2average.config,
            weights_name=noise2average.weights_name,
        ),
    )
}


DIFFUSION_STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy("mean", mean.denoise, mean.config, min_realizations=1),
        Strategy(
            "auto",
            dwi_auto.denoise,
            dwi_auto.config,
            min_realizations=1,
            needs_same_signal=True,
            needs_gradients=True,
        ),
        Strategy(
            "recorrupted",
            dwi_auto.denoise,
            dwi_auto.always_filtered,
            min_realizations=1,
            needs_same_signal=True,
            needs_gradients=True,
        ),
        Strategy("noise2average", dwi_networks.noise2average, dwi_networks.config),
        Strategy("noise2noise", dwi_networks.noise2noise, dwi_networks.noise2noise_config),
        Strategy("san2n", san2n.denoise, san2n.config, min_realizations=1, needs_gradients=True),
    )
}
"""Those for diffusion series, under the same names where the idea is the same."""


def get_strategy(name: str, *, diffusion: bool = False) -> Strategy:
    """Look a strategy up.

    Parameters
    ----------
    name : str
        Registered name.
    diffusion : bool
        Whether it is for a diffusion series, with volumes as channels.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists those that exist.
    """
    known = DIFFUSION_STRATEGIES if diffusion else STRATEGIES
    if name not in known:
        kind = "diffusion series" if diffusion else "T1w images"
        raise ValueError(f"unknown strategy {name!r} for {kind}; choose one of {', '.join(known)}")
    return known[name]
