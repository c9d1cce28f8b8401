"""Options of ``n2a-tools benchmark --noise2noise``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from n2a_bids.config.options import Option, Range

_GROUP = "the tables of Noise2Noise (--noise2noise)"


@dataclass(frozen=True, slots=True)
class Noise2NoiseConfig:
    """What is trained with noisy and with clean targets, and for how long."""

    noise: Annotated[
        tuple[Literal["gaussian", "poisson", "mri"], ...],
        Option(
            "instead of the methods: train with noisy and with clean targets, as Lehtinen et al. (2018); "
            "'mri' takes the brains of --truth and tests on the last fifth of them",
            _GROUP, flags=("--noise2noise",),
        ),
    ] = ()  # fmt: skip
    training_images: Annotated[
        Path | None, Option("folder of photographs to learn from", _GROUP, metavar="DIR")
    ] = None
    test_images: Annotated[
        dict[str, Path],
        Option(
            "folders of photographs to test on", _GROUP, flags=("--test-images",), metavar="NAME=DIR",
            reading="named path",
        ),
    ] = field(default_factory=dict)  # fmt: skip
    most_tests: Annotated[
        int | None,
        Range(1),
        Option("test images of each folder", _GROUP, flags=("--n2n-tests",), metavar="N", default="all"),
    ] = None
    steps: Annotated[
        int, Range(1), Option("steps of each training", _GROUP, flags=("--n2n-steps",), metavar="N")
    ] = 20000
    batch: Annotated[
        int, Range(1), Option("blocks in a step", _GROUP, flags=("--n2n-batch",), metavar="N")
    ] = 16
    crop: Annotated[
        int, Range(16), Option("edge of a block in pixels", _GROUP, flags=("--n2n-crop",), metavar="N")
    ] = 64
    width: Annotated[
        int,
        Range(1),
        Option("channels of the network at full resolution", _GROUP, flags=("--n2n-width",), metavar="N"),
    ] = 48
    rate: Annotated[
        float,
        Range(0, above=True),
        Option("highest learning rate", _GROUP, flags=("--n2n-rate",), metavar="RATE"),
    ] = 1e-3
    slice_edge: Annotated[
        int,
        Range(16),
        Option("edge of a slice of 'mri' in pixels", _GROUP, flags=("--n2n-slice",), metavar="N"),
    ] = 128
