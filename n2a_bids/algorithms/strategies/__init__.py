"""Registry of strategies: one file, one entry, one config class each."""

from __future__ import annotations

from n2a_bids.algorithms.strategies.registry import DIFFUSION_STRATEGIES, STRATEGIES, Strategy, get_strategy

__all__ = ["DIFFUSION_STRATEGIES", "STRATEGIES", "Strategy", "get_strategy"]
