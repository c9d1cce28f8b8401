"""n2a_bids: the BIDS-App that denoises repeated MRI with Noise2Average; its public Python functions.

In Python: `denoise`, `align`, `brain_mask` and `estimate_noise`; see ``docs/python.md``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from n2a_bids.api import Aligned, Denoised, NoiseEstimate, align, brain_mask, denoise, estimate_noise

__version__ = "0.1.0"
# Where the code stands, for GeneratedBy and CITATION.cff; empty until it is known (CONTRIBUTING.md).
__url__ = ""
__all__ = ["Aligned", "Denoised", "NoiseEstimate", "align", "brain_mask", "denoise", "estimate_noise"]


def __getattr__(name: str) -> object:
    """Import what is asked for when it is asked for: ``n2a --help`` does without torch and nipype."""
    # Written out, without `lazy_names`: this module is imported before signals have their handlers.
    if name in __all__:
        return getattr(importlib.import_module("n2a_bids.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
