"""Further options of ``n2a-tools train`` (files, blocks), and the groups of images that they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from n2a_bids.config import Device, TrainConfig
from n2a_bids.config.options import Option, Range
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.io.ome_zarr import is_zarr
from n2a_bids.training.groups import AlignedGroup, groups_of_pairs, read_groups

_BLOCKS = {"resunet-t1w": (2, 48), "resunet-2d": (16, 64)}
"""Network -> blocks in a step and their edge, where nothing is said."""


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """The command line of ``n2a-tools train``."""

    out: Annotated[Path, Option("folder for weights and model card: give it to --weights-dir", metavar="DIR")]
    checkpoint: Annotated[Path, Option("resumed from where it exists", metavar="FILE")]
    pairs: Annotated[
        tuple[str, ...],
        Option(
            "aligned repetitions, one word for each subject, or one image; or exposures of a field of view "
            "(PNG, TIFF), which need not be aligned",
            metavar="RUN,RUN",
        ),
    ] = ()
    masks: Annotated[tuple[Path, ...], Option("brain mask of each subject, in that order")] = ()
    groups: Annotated[
        Path | None, Option("JSON list of groups instead, as 'n2a ... train' leaves it", metavar="FILE")
    ] = None
    train: TrainConfig = field(default_factory=TrainConfig)
    random_seed: Annotated[int, Range(0), Option("seed of everything random", metavar="N")] = 20261121
    device: Annotated[Device, Option("'auto' takes a GPU when there is one")] = "auto"
    omp_nthreads: Annotated[
        int, Range(1), Option("threads", metavar="N", default="processors allowed, at most 8")
    ] = 0
    dry_run: Annotated[bool, Option("only tell which subjects would be kept apart")] = False


def with_blocks(config: TrainConfig, network: str) -> TrainConfig:
    """The settings with blocks of the usual number and size, where nothing was said of them."""
    batch_size, edge = _BLOCKS.get(network, (1, 1))
    return replace(config, batch_size=config.batch_size or batch_size, block_edge=config.block_edge or edge)


def named_groups(request: TrainRequest) -> list[AlignedGroup]:
    """The groups of a command line.

    Raises
    ------
    ConfigError
        If they are named in a way that cannot be used.
    """
    if (request.groups is None) == (not request.pairs):
        raise ConfigError("expected --pairs with --masks, or --groups, found none or both; give one of them")
    if request.groups is not None:
        return read_groups(request.groups)
    return groups_of_pairs(request.pairs, request.masks)


def check_files(groups: Sequence[AlignedGroup]) -> None:
    """Refuse before the work what cannot be read.

    Raises
    ------
    BIDSDataError
        If a file is not there.
    """
    for group in groups:
        for path in group.files:
            if not (path.is_dir() if is_zarr(path) else path.is_file()):
                raise BIDSDataError(f"{path}: expected an image, found no such file; correct the path")
