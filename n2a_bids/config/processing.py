"""Options of the processing: denoising, brain mask, alignment with its QC thresholds, regions."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from n2a_bids.config.options import Option, Range
from n2a_bids.strategy_table import STRATEGY_NAMES

Device = Literal["auto", "cpu", "cuda"]
Recipe = Literal["zero-shot", "fast", "default", "thorough", "faithful"]


@dataclass(frozen=True, slots=True)
class DenoiseConfig:
    """The denoising itself: what ``n2a-tools denoise`` is told, too."""

    HEADING: ClassVar[str] = "denoising"

    strategy: Annotated[
        str,
        Option(
            "how to denoise", choices=STRATEGY_NAMES,
            default="auto, which tries several and keeps what measures best",
        ),
    ] = "auto"  # fmt: skip
    recipe: Annotated[
        Recipe,
        Option(
            "how much time it may take; 'zero-shot' trains nothing, and 'faithful' is the published schedule "
            "of a strategy, such as noise2average",
        ),
    ] = "default"
    keep_noise_floor: Annotated[
        bool,
        Option(
            "leave the Rician bias of magnitudes in the result of 'auto' and 'recorrupted'",
            default="it is removed from diffusion series, and from T1w images whose air shows it",
        ),
    ] = False
    weights_dir: Annotated[
        Path | None,
        Option(
            "pretrained weights", metavar="DIR", reading="existing path",
            default="$N2A_WEIGHTS_DIR, then those in the package",
        ),
    ] = None  # fmt: skip
    skull_strip: Annotated[bool, Option("black outside of the brain")] = False
    random_seed: Annotated[int, Range(0), Option("seed of everything random", metavar="N")] = 20261121
    device: Annotated[
        Device,
        Option(
            "'cuda' fails when there is no usable GPU; 'auto' takes one when there is", "resources",
            shapes_result=False,
        ),
    ] = "auto"  # fmt: skip
    cuda_graphs: Annotated[
        bool,
        Option(
            "replay recorded training steps on a GPU: less waiting for the host, more GPU memory",
            "resources", default="each step is launched anew", shapes_result=False,
        ),
    ] = False  # fmt: skip


@dataclass(frozen=True, slots=True)
class MaskConfig:
    """How the brain is found."""

    HEADING: ClassVar[str] = "denoising"
    PREFIX: ClassVar[str] = "mask-"

    method: Annotated[
        Literal["deepbet", "network", "template"],
        Option(
            "brain mask: deepbet, which learned from T1w heads, a small network for any contrast, or a "
            "template"
        ),
    ] = "deepbet"
    template: Annotated[
        str | None,
        Option(
            "TemplateFlow template for --mask-method template; on disk, or see --templateflow-download",
            metavar="NAME", default="the packaged one",
        ),
    ] = None  # fmt: skip
    """TemplateFlow name, or ``None`` for the packaged one; used by ``template``."""
    templateflow_download: Annotated[
        bool,
        Option(
            "fetch what --mask-template and --regions name from the network, where it is not on disk, into "
            "the work directory; nothing is downloaded otherwise",
            flags=("--templateflow-download",), shapes_result=False,
        ),
    ] = False  # fmt: skip
    dwi_method: Annotated[
        Literal["auto", "network", "deepbet", "template", "otsu"],
        Option(
            "brain mask on the mean b0: a small network for any contrast, deepbet, a template registered by "
            "mutual information, or a threshold",
            "diffusion series", flags=("--dwi-mask-method",),
            default="auto: the network, or the threshold, with a warning, where it finds no brain",
        ),
    ] = "auto"  # fmt: skip


@dataclass(frozen=True, slots=True)
class AlignConfig:
    """How repetitions are brought onto one grid, and when they are refused.

    The QC thresholds hold for T1w images and diffusion series, `space` for T1w images.
    """

    HEADING: ClassVar[str] = "denoising"
    PREFIX: ClassVar[str] = "align-"

    space: Annotated[
        Literal["reference", "midspace"],
        Option("grid of the result: that of the best repetition, or the midspace, halfway between all"),
    ] = "reference"
    min_correlation: Annotated[
        float, Range(-1, 1), "lowest in-mask correlation with the reference after alignment, when smoothed"
    ] = 0.85
    min_structure_correlation: Annotated[
        float,
        Range(-1, 1),
        "lowest in-mask correlation of gyral detail at 1 mm: two people stay below 0.3; of T1w voxels of "
        "3 mm 0.3 more is asked for",
    ] = 0.5
    max_rotation_deg: Annotated[float, Range(0, 180), "largest rotation between repetitions, in degrees"] = (
        45.0
    )
    max_translation_mm: Annotated[float, Range(0), "largest translation between repetitions, in mm"] = 80.0
    min_overlap: Annotated[
        float, Range(0, 1), "lowest fraction of the brain mask inside the field of view of a repetition"
    ] = 0.9

    @property
    def thresholds(self) -> dict[str, float]:
        """QC thresholds by name, as the nodes that align take them."""
        names = (one.name for one in fields(self))
        return {name: getattr(self, name) for name in names if name.startswith(("min_", "max_"))}
