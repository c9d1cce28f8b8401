"""Strategies: the ways from repetitions to a denoised image, by modality; see `strategy_table`."""

from __future__ import annotations

from n2a_bids.algorithms.strategies.registry import Strategy, get_strategy

__all__ = ["Strategy", "get_strategy"]
