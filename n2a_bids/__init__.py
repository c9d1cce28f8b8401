"""n2a_bids: the BIDS-App that denoises repeated MRI with Noise2Average.

In Python: `denoise`, `align`, `brain_mask` and `estimate_noise`; see ``docs/python.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from n2a_bids.lazy_names import importer

if TYPE_CHECKING:
    from n2a_bids.api import Aligned, Denoised, NoiseEstimate, align, brain_mask, denoise, estimate_noise

__version__ = "0.1.0"
__all__ = ["Aligned", "Denoised", "NoiseEstimate", "align", "brain_mask", "denoise", "estimate_noise"]


# ``n2a --help`` does without torch and nipype.
__getattr__ = importer(__name__, dict.fromkeys(__all__, "api"))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
