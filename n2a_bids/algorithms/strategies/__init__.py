"""Ways from repetitions to a denoised image: one file and one row of the table of strategies each."""

from __future__ import annotations

from n2a_bids.algorithms.strategies.registry import Strategy, get_strategy

__all__ = ["Strategy", "get_strategy"]
