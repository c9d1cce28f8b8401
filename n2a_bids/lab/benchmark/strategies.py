"""Strategies of the app as benchmark methods: names with recipe and variant, what they may use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.algorithms.strategies.anat.auto import AutoConfig
from n2a_bids.algorithms.strategies.anat.recorrupted import RecorruptedConfig
from n2a_bids.errors import DenoisingError
from n2a_bids.io.weights import load_all_weights
from n2a_bids.lab.benchmark.config import BenchmarkConfig

VARIANTS = {
    "+floor": "leaves the Rician bias in",
    "+zero-shot": "takes the pretrained weights as they are: no training on the repetitions",
    "+scratch": "starts from random weights",
}
"""Endings of a strategy, as in ``auto+zero-shot`` and ``auto:fast+floor``, and what each does."""


@dataclass(frozen=True, slots=True)
class MethodSettings:
    """What all methods share."""

    recipe: str = "default"
    """For strategies that are named without ``:recipe``."""
    n_threads: int = 1
    memory_gb: float = 6.0
    device: str = "cpu"
    random_seed: int = 20261121
    weights_dir: Path | None = None
    """Folder of pretrained weights; those of the package by default."""

    @classmethod
    def of(cls, config: BenchmarkConfig, recipe: str = "default") -> MethodSettings:
        """Those that the command line asks for."""
        return cls(
            recipe,
            config.omp_nthreads,
            config.memory_gb,
            config.device,
            config.random_seed,
            config.weights_dir,
        )

    @property
    def context(self) -> Context:
        """A new context, its random numbers at their beginning."""
        generator = torch.Generator().manual_seed(self.random_seed)
        return Context(generator, torch.device(self.device), self.memory_gb)


def split_variant(name: str) -> tuple[str, str]:
    """Strategy with its recipe, and the ending if there is one."""
    base, plus, variant = name.partition("+")
    return (base, plus + variant) if plus + variant in VARIANTS else (name, "")


def denoise_by_strategy(name: str, repetitions: Repetitions, settings: MethodSettings) -> DenoisedImage:
    """All that a strategy of the app returns, which may have a recipe and one of `VARIANTS` in its name."""
    base, variant = split_variant(name)
    strategy_name, _, recipe = base.partition(":")
    strategy = get_strategy(strategy_name, repetitions.modality)
    if strategy.facts.needs_same_contrast and not repetitions.same_contrast:
        raise DenoisingError(f"{strategy_name} needs repetitions of one contrast")
    if variant == "+zero-shot" and not repetitions.same_contrast:
        raise DenoisingError(f"{variant} means nothing for echoes, which nothing is trained on")
    recipe = recipe or settings.recipe
    names = () if variant == "+scratch" else strategy.facts.weights_of(recipe)
    config = strategy.config(recipe, *load_all_weights(names, settings.weights_dir))
    if variant == "+floor":
        config = replace(config, keep_noise_floor=True)
    elif variant == "+zero-shot":
        config = _without_training(config)
    return strategy.denoise(repetitions, config, settings.context)


def _without_training(config: AutoConfig | RecorruptedConfig) -> AutoConfig | RecorruptedConfig:
    if isinstance(config, AutoConfig):
        return replace(config, recorrupted=_without_training(config.recorrupted))
    return replace(config, schedule=replace(config.schedule, n_epochs=0))
