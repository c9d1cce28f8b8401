"""``n2a-tools pretrain``: weights from clean brains and simulated noise, resumable at any time."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from n2a_bids.algorithms.fusion_blocks import draw_fusion_batch
from n2a_bids.algorithms.pretraining import PretrainingState, new_state, pretrain
from n2a_bids.algorithms.pretraining_blocks import (
    PretrainingBatch,
    PretrainingConfig,
    TrainingHead,
    draw_batch,
)
from n2a_bids.algorithms.weights import NETWORKS, PretrainedWeights, build_network
from n2a_bids.commands.denoise_run import choose_device
from n2a_bids.commands.fusion_training import make_fusion_blocks, validate_fusion
from n2a_bids.commands.pretraining_heads import check_sizes, load_heads, pack_heads, validate
from n2a_bids.errors import ConfigError
from n2a_bids.images import whole_file
from n2a_bids.option_values import natural_int, positive_int
from n2a_bids.weights_files import load_weights, save_weights

_FUSION = "fusion-t1w"
_VALIDATION_BLOCKS = 24
_STEPS_PER_REPORT = 50
_CHECKPOINT_SECONDS = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``n2a-tools pretrain``."""
    parser.add_argument(
        "--brains", type=Path, nargs="+", required=True, help="skull-stripped T1w images to learn from"
    )
    parser.add_argument(
        "--heads", type=Path, nargs="*", default=[], metavar="T1W,MASK", help="whole heads with brain masks"
    )
    parser.add_argument(
        "--validation", type=Path, nargs="+", required=True, help="brains that are never trained on"
    )
    parser.add_argument(
        "--network", choices=sorted(NETWORKS), default="resunet-t1w", help="which network to train"
    )
    parser.add_argument("--hours", type=float, default=1.0, help="of training, over all resumptions")
    parser.add_argument("--checkpoint", type=Path, required=True, help="resumed from where it exists")
    parser.add_argument(
        "--initial-weights",
        type=Path,
        metavar="DIR",
        help="folder with weights of the network to start from where there is no checkpoint yet",
    )
    parser.add_argument("--peak-rate", type=float, default=7e-4, help="highest learning rate")
    parser.add_argument(
        "--block-edge", type=positive_int, default=48, help="of the training blocks, in voxels"
    )
    parser.add_argument(
        "--blocks",
        type=positive_int,
        default=400,
        metavar="N",
        help=f"for {_FUSION}: how many blocks are denoised beforehand, in a folder beside the checkpoint",
    )
    parser.add_argument(
        "--randomisation",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="on how often contrast, scalp and kind of noise are changed; below 1 for a last stage",
    )
    parser.add_argument(
        "--steps-per-validation", type=positive_int, default=10 * _STEPS_PER_REPORT, metavar="N",
        help="steps between two points of the learning curve",
    )  # fmt: skip
    parser.add_argument("--out-dir", type=Path, required=True, help="folder for the weights and model card")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to train")
    parser.add_argument(
        "--omp-nthreads", type=positive_int, metavar="N", help="threads (default: those of torch)"
    )
    parser.add_argument(
        "--random-seed", type=natural_int, default=7, metavar="N", help="of everything random"
    )
    parser.add_argument("--batch-size", type=positive_int, default=2, metavar="N", help="blocks in a step")
    parser.add_argument(
        "--pack",
        type=Path,
        metavar="NPZ",
        help="only write the images, as 8 bits, for a GPU machine",
    )
    parser.add_argument(
        "--slice-minutes", type=float, default=float("inf"), help="stop early, resumable, after so long"
    )


def run(args: argparse.Namespace) -> int:
    """Pretrain, writing checkpoints, a learning curve and, at every stop, the weights.

    Returns
    -------
    status : int
        Always 0; errors are raised.
    """
    if args.omp_nthreads:
        torch.set_num_threads(args.omp_nthreads)
    device = choose_device(args.device)
    config = PretrainingConfig(
        batch_size=args.batch_size, peak_rate=args.peak_rate, block_edge=args.block_edge
    ).with_less_randomisation(args.randomisation)
    heads = load_heads(args.brains, [_split_pair(pair) for pair in args.heads])
    if args.pack:
        pack_heads(heads, args.pack)
        return 0
    lesson = _prepare(args, heads, load_heads(args.validation, []), config, device)
    torch.manual_seed(args.random_seed)
    state = new_state(NETWORKS[args.network], device, config)
    story = _Story()
    if args.checkpoint.is_file():
        story = _resume(state, args.checkpoint)
    elif args.initial_weights:
        story.initial_sha256 = _start_from(state, args.network, args.initial_weights)
    clock = _Clock(args.hours * 3600, args.slice_minutes * 60, story.seconds)
    _train(state, lesson, config, args, clock, story)
    _write_weights(state, args, config, story)
    return 0


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What is learned, and what tells how well."""

    draw: Callable[[np.random.Generator], PretrainingBatch]
    validate: Callable[[nn.Module], dict[str, float]]


def _prepare(
    args: argparse.Namespace,
    heads: list[TrainingHead],
    held_out: list[TrainingHead],
    config: PretrainingConfig,
    device: torch.device,
) -> _Lesson:
    if args.network != _FUSION:
        check_sizes(heads, config.block_edge)
        return _Lesson(partial(draw_batch, heads, config), partial(validate, heads=held_out, device=device))
    folder, seed = args.checkpoint.with_suffix(".blocks"), args.random_seed
    blocks = make_fusion_blocks(folder / "training", heads, config, args.blocks, seed)
    count = min(args.blocks, _VALIDATION_BLOCKS)
    unseen = make_fusion_blocks(folder / "validation", held_out, config, count, seed + 1)
    return _Lesson(
        partial(draw_fusion_batch, blocks, config), partial(validate_fusion, blocks=unseen, device=device)
    )


@dataclass(slots=True)
class _Story:
    """How training went so far, over all resumptions."""

    seconds: float = 0.0
    initial_sha256: str = ""
    """Checksum of the weights it started from; empty after a random initialisation."""
    curve: list[dict[str, float]] = field(default_factory=list)


class _Clock:
    """Seconds spent over all resumptions, and when to stop."""

    def __init__(self, total_s: float, slice_s: float, spent_s: float):
        self.total_s, self.slice_s, self.spent = total_s, slice_s, spent_s
        self._started = time.monotonic()

    def seconds(self) -> float:
        return self.spent + time.monotonic() - self._started

    def progress(self, _step: int) -> float:
        return self.seconds() / self.total_s

    def over(self) -> bool:
        return self.seconds() >= self.total_s or time.monotonic() - self._started >= self.slice_s


def _train(
    state: PretrainingState,
    lesson: _Lesson,
    config: PretrainingConfig,
    args: argparse.Namespace,
    clock: _Clock,
    story: _Story,
) -> None:
    """Train until the time is over; mutates `state` and `story`, and writes checkpoints."""
    device, saved = torch.device(args.device), time.monotonic()
    while not clock.over():
        loss = pretrain(
            state,
            lesson.draw,
            config,
            seed=args.random_seed,
            n_steps=_STEPS_PER_REPORT,
            progress=clock.progress,
            device=device,
        )
        row: dict[str, float] = {
            "step": state.step,
            "seconds": round(clock.seconds()),
            "loss": round(loss, 5),
        }
        if state.step % args.steps_per_validation < _STEPS_PER_REPORT:
            row |= lesson.validate(state.averaged)
            story.curve.append(row)
        sys.stderr.write(json.dumps(row) + "\n")
        if time.monotonic() - saved > _CHECKPOINT_SECONDS:
            story.seconds = clock.seconds()
            _save(state, args.checkpoint, story)
            saved = time.monotonic()
    final = {"step": state.step, "seconds": round(clock.seconds())}
    story.curve.append(final | lesson.validate(state.averaged))
    story.seconds = clock.seconds()
    _save(state, args.checkpoint, story)


def _resume(state: PretrainingState, path: Path) -> _Story:
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        state.load_state_dict(checkpoint["state"])
        return _Story(**checkpoint["story"])
    except (KeyError, TypeError, RuntimeError, ValueError, EOFError) as error:
        raise ConfigError(
            f"{path}: expected a checkpoint of the same network, found none that fits ({error}); "
            "name another --checkpoint to start anew"
        ) from error


def _start_from(state: PretrainingState, name: str, folder: Path) -> str:
    """Take over finished weights, whose checksum is returned; the optimiser starts anew."""
    weights = load_weights(name, folder)
    assert weights is not None  # a named folder without them raises
    try:
        initial = build_network(name, weights).state_dict()
    except ValueError as error:
        raise ConfigError(f"--initial-weights {folder}: {error}; name the folder of {name}") from error
    for network in (state.network, state.averaged):
        network.load_state_dict(initial)
    return weights.sha256


def _save(state: PretrainingState, path: Path, story: _Story) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        torch.save({"state": state.state_dict(), "story": asdict(story)}, temporary)


def _write_weights(
    state: PretrainingState,
    args: argparse.Namespace,
    config: PretrainingConfig,
    story: _Story,
) -> None:
    tensors = {key: value.half().cpu() for key, value in state.averaged.state_dict().items()}
    card = {
        "network": args.network,
        "n_parameters": sum(tensor.numel() for tensor in tensors.values()),
        "recipe": {name: getattr(config, name) for name in config.__slots__},
        "random_seed": args.random_seed,
        "steps": state.step,
        "seconds": round(story.seconds),
        "initial_weights_sha256": story.initial_sha256,
        **({"n_blocks": args.blocks} if args.network == _FUSION else {}),
        "n_brains": len(args.brains),
        "n_heads": len(args.heads),
        "validation": [path.name for path in args.validation],
        "curve": story.curve,
    }
    os.makedirs(args.out_dir, exist_ok=True)
    weights = PretrainedWeights(name=args.network, sha256="", tensors=tensors)
    path = save_weights(weights, args.out_dir, card)
    sys.stderr.write(f"wrote {path}\n")


def _split_pair(text: Path) -> tuple[Path, Path]:
    parts = str(text).split(",")
    if len(parts) != 2:
        raise ConfigError(f"--heads: expected T1W,MASK, found {text}")
    return Path(parts[0]), Path(parts[1])
