"""Options of ``n2a-tools pretrain``, and the networks that are trained in another way than the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from n2a_bids.algorithms.nn.weights import NETWORKS
from n2a_bids.config.options import Option, Range

FUSION, IMAGES, BRAIN_MASKS = "fusion-t1w", "resunet-2d", "brain-mask"
STEPS_PER_REPORT = 50


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """The command line of ``n2a-tools pretrain``."""

    brains: Annotated[tuple[Path, ...], Option("skull-stripped T1w images to learn from")]
    validation: Annotated[tuple[Path, ...], Option("brains that are never trained on")]
    checkpoint: Annotated[Path, Option("resumed from where it exists")]
    out_dir: Annotated[Path, Option("folder for the weights and model card")]
    heads: Annotated[tuple[Path, ...], Option("whole heads with brain masks", metavar="T1W,MASK")] = ()
    network: Annotated[str, Option("which network to train", choices=tuple(sorted(NETWORKS)))] = "resunet-t1w"
    hours: Annotated[float, Range(0), Option("of training, over all resumptions")] = 1.0
    initial_weights: Annotated[
        Path | None,
        Option(
            "folder with weights of the network to start from where there is no checkpoint yet", metavar="DIR"
        ),
    ] = None
    peak_rate: Annotated[float, Range(0), Option("highest learning rate")] = 7e-4
    block_edge: Annotated[int, Range(1), Option("of the training blocks, in voxels")] = 48
    blocks: Annotated[
        int,
        Range(1),
        Option(
            f"for {FUSION}: how many blocks are denoised beforehand, in a folder beside the checkpoint",
            metavar="N",
        ),
    ] = 400
    randomisation: Annotated[
        float,
        Range(0),
        Option(
            "on how often contrast, scalp and kind of noise are changed; below 1 for a last stage",
            metavar="FACTOR",
        ),
    ] = 1.0
    steps_per_validation: Annotated[
        int, Range(1), Option("steps between two points of the learning curve", metavar="N")
    ] = 10 * STEPS_PER_REPORT
    drawings: Annotated[
        int, Range(1), Option(f"for {IMAGES}: how many images are drawn to learn from", metavar="N")
    ] = 1000
    device: Annotated[Literal["cpu", "cuda"], Option("where to train")] = "cpu"
    omp_nthreads: Annotated[
        int | None, Range(1), Option("threads", metavar="N", default="those of torch")
    ] = None
    random_seed: Annotated[int, Range(0), Option("of everything random", metavar="N")] = 7
    batch_size: Annotated[int, Range(1), Option("blocks in a step", metavar="N")] = 2
    pack: Annotated[
        Path | None, Option("only write the images, as 8 bits, for a GPU machine", metavar="NPZ")
    ] = None
    slice_minutes: Annotated[float, Range(0), Option("stop early, resumable, after so long", default="")] = (
        float("inf")
    )
