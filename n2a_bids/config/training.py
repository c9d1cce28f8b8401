"""Options of training one network for a whole dataset (``n2a ... train`` and ``n2a-tools train``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from n2a_bids.config.options import Option, Range


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a network for all subjects of a dataset is trained: ``n2a ... train`` and ``n2a-tools train``."""

    HEADING: ClassVar[str] = "training (level 'train')"
    PREFIX: ClassVar[str] = "train-"

    epochs: Annotated[int, Range(1), Option("most epochs", metavar="N")] = 40
    steps: Annotated[int, Range(1), Option("steps in an epoch", metavar="N")] = 100
    patience: Annotated[
        int,
        Range(1),
        Option("epochs without gain on the validation subjects after which training stops", metavar="N"),
    ] = 8
    targets: Annotated[
        Literal["recorrupted", "noise2noise"],
        Option(
            "what repetitions teach: averages from independent averages, or each one from another; single "
            "images are always recorrupted"
        ),
    ] = "recorrupted"
    from_scratch: Annotated[bool, Option("start from random weights instead of the shipped ones")] = False
    validation_subjects: Annotated[
        int | None,
        Range(1),
        Option(
            "subjects on which the epoch is chosen",
            flags=("--train-validation",), metavar="N", default="a sixth of them, 1 to 4",
        ),
    ] = None  # fmt: skip
    test_subjects: Annotated[
        int | None,
        Range(1),
        Option(
            "subjects on which the weights must beat the shipped ones in the end",
            flags=("--train-test",), metavar="N", default="a sixth of them, 1 to 4",
        ),
    ] = None  # fmt: skip
    rate: Annotated[
        float | None,
        Range(0, above=True),
        Option("highest learning rate", metavar="RATE", default="0.0002, and 0.0007 from scratch"),
    ] = None
    batch_size: Annotated[
        int | None,
        Range(1),
        Option(
            "blocks in a step",
            flags=("--train-batch",),
            metavar="N",
            default="2, and 16 squares of micrographs",
        ),
    ] = None
    block_edge: Annotated[
        int | None,
        Range(8),
        Option(
            "edge of a block in voxels, or of a square in pixels", flags=("--train-block",), metavar="N",
            default="48, and 64 of micrographs",
        ),
    ] = None  # fmt: skip
    processes: Annotated[
        int,
        Range(1),
        Option("processes that train together, one for each GPU, or on the CPU", metavar="N"),
    ] = 1

    @property
    def peak_rate(self) -> float:
        """Highest learning rate.

        Examples
        --------
        >>> TrainConfig().peak_rate, TrainConfig(rate=1e-3).peak_rate
        (0.0002, 0.001)
        """
        return self.rate or (7e-4 if self.from_scratch else 2e-4)


@dataclass(frozen=True, slots=True)
class TrainLevelConfig(TrainConfig):
    """The same, and where ``n2a ... train`` leaves the weights."""

    out_dir: Annotated[
        Path | None,
        Option(
            "folder for weights and model card", flags=("--train-out",), metavar="DIR",
            reading="absolute path", default="'weights' in the output folder",
        ),
    ] = None  # fmt: skip
