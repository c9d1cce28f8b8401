"""Imports the code of a strategy that a row of the strategy table names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.strategy_table import Modality, StrategyFacts, find_strategy


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way from repetitions to a denoised image."""

    facts: StrategyFacts
    """Its row in the table."""
    denoise: Callable[[Repetitions, Any, Context], DenoisedImage]
    """``denoise(repetitions, config, context)``; each strategy has a config class of its own."""
    config: Callable[..., Any]
    """``config(recipe, *weights)``: the settings of a recipe, with pretrained weights or ``None``."""


def get_strategy(name: str, modality: Modality = "anat") -> Strategy:
    """Look a strategy up and load its code.

    Parameters
    ----------
    name : str
        As ``--strategy`` takes it.
    modality : str
        ``anat``, ``dwi`` (volumes are channels) or ``micr`` (exposures of a microscope).

    Raises
    ------
    ConfigError
        If there is none of that name; the message lists those that exist.
    """
    facts = find_strategy(name, modality)
    code = import_module(f"n2a_bids.algorithms.strategies.{facts.module or f'{facts.modality}.{facts.name}'}")
    return Strategy(facts, getattr(code, facts.denoise), getattr(code, facts.settings))
