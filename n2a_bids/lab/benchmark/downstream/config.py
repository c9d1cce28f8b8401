"""Options of ``n2a-tools benchmark --downstream``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from n2a_bids.config.options import Option

AnalysisName = Literal["tissues", "thickness", "registration"]
_GROUP = "what labs publish (--downstream)"


@dataclass(frozen=True, slots=True)
class DownstreamConfig:
    """Whether analyses tell what a denoised pair is worth, and which."""

    asked: Annotated[
        bool,
        Option(
            "analyse what the methods make of a pair, and plain means of 1 to 16 simulated repetitions, and "
            "tell how many averages give the same error: see --analyses; with --modality dwi FA, MD, main "
            "direction, a bundle; with --pair two real runs, for test-retest alone",
            _GROUP, flags=("--downstream",),
        ),
    ] = False  # fmt: skip
    analyses: Annotated[
        tuple[AnalysisName, ...],
        Option(
            "tissues: volumes and overlap of CSF, grey and white matter (Atropos of ANTs); thickness: of the "
            "cortex (DiReCT of ANTs), slow; registration: the Jacobian of the deformation to a template (SyN "
            "of ANTs)",
            _GROUP,
            default="tissues",
        ),
    ] = ("tissues",)
