"""The strategies by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from n2a_bids.algorithms.realizations import Context, DenoisedImage, Realizations
from n2a_bids.algorithms.strategies import auto, mean, noise2average, noise2noise, recorrupted


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way from realizations to a denoised image."""

    name: str
    denoise: Callable[[Realizations, Any, Context], DenoisedImage]
    """``denoise(realizations, config, context)``."""
    config: Callable[..., Any]
    """``config(recipe, weights)``: the settings of a recipe, with pretrained weights or ``None``."""
    min_realizations: int = 2
    needs_same_signal: bool = False
    needs_gradients: bool = False
    weights_name: Callable[[str], str | None] = lambda recipe: None
    """Name of the pretrained weights that a recipe starts from."""


STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy("mean", mean.denoise, mean.config, min_realizations=1),
        Strategy("auto", auto.denoise, auto.config, weights_name=lambda recipe: "resunet-t1w"),
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
            weights_name=noise2average.weights_name,
        ),
        Strategy(
            "noise2average",
            noise2average.denoise,
            noise2average.config,
            weights_name=noise2average.weights_name,
        ),
    )
}


def get_strategy(name: str) -> Strategy:
    """Look a strategy up.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists those that exist.
    """
    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy {name!r}; choose one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]
