"""Options of ``n2a-tools benchmark --downstream``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from n2a_bids.config.options import Option

_GROUP = "what labs publish (--downstream)"


@dataclass(frozen=True, slots=True)
class DownstreamConfig:
    """Whether analyses tell what a denoised pair is worth."""

    asked: Annotated[
        bool,
        Option(
            "analyse what the methods make of a pair, and plain means of 1 to 16 simulated repetitions, and "
            "tell how many averages give the same error: volumes and overlap of CSF, grey and white matter "
            "(Atropos of ANTs); with --modality dwi FA, MD, main direction, a bundle",
            _GROUP, flags=("--downstream",),
        ),
    ] = False  # fmt: skip
