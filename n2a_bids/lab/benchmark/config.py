"""Options of ``n2a-tools benchmark``, with those of ``--downstream``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from n2a_bids.config import Recipe, TrainConfig
from n2a_bids.config.options import Option, Range, declared_fields
from n2a_bids.lab.benchmark.noise2noise.config import Noise2NoiseConfig
from n2a_bids.lab.simulation.conditions import CONDITIONS, DWI_NAMES, NAMES

AnalysisName = Literal["tissues", "thickness", "registration"]
_GROUP = "what labs publish (--downstream)"
_DIFFUSION = "diffusion series (--modality dwi)"
_MICROGRAPHS = "micrographs (--modality micr)"


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


@dataclass(frozen=True, slots=True)
class DiffusionBenchmarkConfig:
    """Options that only diffusion series have."""

    snr: Annotated[tuple[float, ...], Range(0, above=True), Option("SNR of the b0", _DIFFUSION)] = (
        *(10.0, 15.0, 20.0),
    )
    dwi_conditions: Annotated[
        tuple[
            Literal[
                "single",
                "repeat",
                "misaligned",
                "split",
                "reverse-pe",
                "reverse-pe-3mm",
                "reverse-pe-5mm-5deg",
            ],
            ...,
        ],
        Option(
            "misaligned: two repetitions, up to half a voxel and half a degree apart; reverse-pe: distorted "
            "and corrected by the app, with the head as it was or moved between the series; split: one "
            "series, halved for networks that need two",
            _DIFFUSION,
        ),
    ] = ("single", "reverse-pe")
    phantoms: Annotated[
        tuple[Literal["tensor", "multi-tensor"], ...], Option("signal made from --truth", _DIFFUSION)
    ] = ("tensor",)
    recipe: Annotated[Recipe, Option("recipe of the strategies", _DIFFUSION)] = "default"
    peak_mm: Annotated[float, Option("largest displacement of pairs", _DIFFUSION, default="15")] = 15.0
    distortion: Annotated[
        bool,
        Option(
            "compare distortion corrections instead: on --truth with a known field, and on the two b0s "
            "(3D or 4D, phase encoding along the second axis) given by --pair",
            _DIFFUSION,
        ),
    ] = False
    pair_motions: Annotated[
        tuple[Literal["still", "3mm", "5mm-5deg"], ...],
        Option("with --distortion: motion put between the images of a pair", _DIFFUSION, default="still"),
    ] = ("still",)
    brain_masks: Annotated[
        bool,
        Option(
            "compare brain masks of b0s instead (--strategies network deepbet template otsu): on b0s "
            "simulated from --truth (T1w brains), and on those of --outlines",
            _DIFFUSION,
        ),
    ] = False
    outlines: Annotated[
        Path | None,
        Option(
            "with --brain-masks: JSON of outlines drawn on real b0s, see docs/diffusion.md", _DIFFUSION,
            metavar="FILE",
        ),
    ] = None  # fmt: skip
    pyhysco: Annotated[
        str | None,
        Option("'pyhysco' of an installation of PyHySCO, to compare with", _DIFFUSION, metavar="PROGRAM"),
    ] = None


@dataclass(frozen=True, slots=True)
class MicrographBenchmarkConfig:
    """Options that only micrographs have."""

    doses: Annotated[
        tuple[float, ...],
        Range(0, above=True),
        Option("mean counts of a pixel in one exposure", _MICROGRAPHS),
    ] = (*(5.0, 20.0, 80.0),)
    drift: Annotated[float, Range(0), Option("largest drift between exposures, pixels", _MICROGRAPHS)] = 8.0


@dataclass(frozen=True, slots=True)
class BenchmarkConfig:
    """What is compared, on which images, and where the tables go."""

    out: Annotated[Path, Option("folder for tables, figure and pictures")]
    truth: Annotated[
        tuple[Path, ...],
        Option(
            "clean images, skull-stripped unless masks are given", metavar="FILE",
            default="a packaged template",
        ),
    ] = ()  # fmt: skip
    truth_mask: Annotated[tuple[Path, ...], Option("brain mask of each truth", metavar="FILE")] = ()
    config: Annotated[Literal["full", "small"], Option("defaults of the options below")] = "small"
    strategies: Annotated[
        tuple[str, ...],
        Option(
            "methods; a strategy may carry a recipe: auto:thorough; auto+floor keeps the Rician bias, "
            "auto+zero-shot trains nothing, auto+scratch starts from random weights, nlmeans-floor has the "
            "bias taken out",
            metavar="NAME",
        ),
    ] = ()
    sigmas: Annotated[
        tuple[float, ...], Range(0), Option("noise SD over in-mask SD of the truth", metavar="SD")
    ] = ()
    contrast: Annotated[
        Literal["T1w", "T2w", "FLAIR"],
        Option("grey levels that the T1w truths are mapped to; their anatomy stays"),
    ] = "T1w"
    repetitions: Annotated[tuple[int, ...], Range(1), Option("numbers of repetitions", metavar="N")] = ()
    conditions: Annotated[
        tuple[str, ...],
        Option(
            f"what scanners and sessions do; of diffusion series: {', '.join(DWI_NAMES)}. "
            + "; ".join(f"{row.name}: {row.sentence}" for row in CONDITIONS),
            choices=NAMES,
        ),
    ] = ()
    seeds: Annotated[int | None, Range(1), Option("noise draws per cell", metavar="N")] = None
    crop: Annotated[
        tuple[int, int, int] | None,
        Range(1),
        Option("box around the brain centre", n_values=3, metavar=("X", "Y", "Z")),
    ] = None
    resume: Annotated[bool, Option("keep the finished rows of an earlier run")] = False
    trust: Annotated[bool, Option("run the trust tests instead of the cells")] = False
    interpolation: Annotated[
        bool, Option("compare ways to bring a moved repetition to the first instead of the methods")
    ] = False
    compare_nonlocal: Annotated[
        bool,
        Option(
            "compare what mirror images and non-local Bayes add to the network instead of the methods",
            flags=("--nonlocal",),
        ),
    ] = False
    calibration: Annotated[
        bool,
        Option("compare the expected error of every voxel with the true one (auto) instead of the methods"),
    ] = False
    speed: Annotated[bool, Option("measure speed by phase instead of quality")] = False
    rates: Annotated[
        bool, Option("measure the rates that n2a-tools doctor tells instead of quality, for some seconds")
    ] = False
    site: Annotated[
        bool,
        Option(
            "take --truth as the brains of one site (first of --conditions and --sigmas): train a network "
            "on two runs of each, as n2a-tools train does, and compare it with the shipped one on brains "
            "kept apart"
        ),
    ] = False
    pair: Annotated[
        tuple[Path, ...],
        Option("compare the methods on real aligned repetitions instead, by risk and time", metavar="FILE"),
    ] = ()
    pair_mask: Annotated[Path | None, Option("brain mask of the pair", metavar="FILE")] = None
    unseen: Annotated[
        bool,
        Option(
            "with --pair: the methods denoise the first alone, and are judged by the second, which none has "
            "seen; of diffusion series, --pair names folders 'align' in the work directory of runs of n2a"
        ),
    ] = False
    device: Annotated[Literal["cpu", "cuda"], Option("device of the strategies")] = "cpu"
    omp_nthreads: Annotated[int, Range(1), Option("threads per method", metavar="N")] = 1
    memory_gb: Annotated[float, Option("memory per method", metavar="GB", reading="memory")] = 6.0
    random_seed: Annotated[int, Range(0), Option("seed of the strategies", metavar="N")] = 20261121
    weights_dir: Annotated[
        Path | None, Option("folder of pretrained weights", metavar="DIR", default="packaged")
    ] = None
    modality: Annotated[Literal["T1w", "dwi", "micr"], Option("kind of image")] = "T1w"
    dwi: DiffusionBenchmarkConfig = field(default_factory=DiffusionBenchmarkConfig)
    micr: MicrographBenchmarkConfig = field(default_factory=MicrographBenchmarkConfig)
    noise2noise: Noise2NoiseConfig = field(default_factory=Noise2NoiseConfig)
    downstream: DownstreamConfig = field(default_factory=DownstreamConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @property
    def command_line(self) -> list[str]:
        """Options that differ from their defaults, as they would be typed."""
        sections = (self, self.dwi, self.micr, self.noise2noise, self.downstream, self.train)
        return [word for section in sections for word in _arguments(section)]


def _arguments(
    config: BenchmarkConfig
    | DiffusionBenchmarkConfig
    | MicrographBenchmarkConfig
    | Noise2NoiseConfig
    | DownstreamConfig
    | TrainConfig,
) -> Iterator[str]:
    """Flags and values of one dataclass of options."""
    for declared in declared_fields(type(config)):
        value = getattr(config, declared.name)
        if declared.is_section or value == declared.default or value is dataclasses.MISSING:
            continue
        yield declared.flags[0]
        if isinstance(value, dict):
            yield from (f"{name}={path}" for name, path in value.items())
        elif value is not True:
            yield from map(str, value if isinstance(value, tuple) else (value,))
