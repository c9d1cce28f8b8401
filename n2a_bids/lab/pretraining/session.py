"""``n2a-tools pretrain``: pretrains network weights from clean brains, resumable."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from n2a_bids.algorithms.dataset_training.steps import (
    TrainingState,
    new_state,
    train_steps,
)
from n2a_bids.algorithms.nn.weights import NETWORKS, PretrainedWeights, build_network
from n2a_bids.denoising.run import choose_device
from n2a_bids.errors import ConfigError, DenoisingError
from n2a_bids.io.weights import load_weights, save_checkpoint, save_weights
from n2a_bids.lab.pretraining.blocks import BlockPretraining
from n2a_bids.lab.pretraining.config import (
    BRAIN_MASKS,
    FUSION,
    IMAGES,
    STEPS_PER_REPORT,
    PretrainConfig,
)
from n2a_bids.lab.pretraining.images import ImagePretraining
from n2a_bids.lab.pretraining.lessons import Lesson, head_pairs, prepare_lesson
from n2a_bids.lab.pretraining.subjects import load_heads, pack_heads

_CHECKPOINT_SECONDS = 300.0


def run_pretrain(asked: PretrainConfig) -> None:
    """Pretrain, writing checkpoints, a learning curve and, at every stop, the weights."""
    if asked.omp_nthreads:
        torch.set_num_threads(asked.omp_nthreads)
    device = choose_device(asked.device)
    config = BlockPretraining(
        batch_size=asked.batch_size, peak_rate=asked.peak_rate, block_edge=asked.block_edge
    ).with_less_randomisation(asked.randomisation)
    if asked.pack:
        pack_heads(load_heads(asked.brains, head_pairs(asked.heads)), asked.pack)
        return
    lesson = prepare_lesson(asked, config, device)
    torch.manual_seed(asked.random_seed)
    state = new_state(NETWORKS[asked.network], device, config)
    story = _Story()
    if asked.checkpoint.is_file():
        story = _resume(state, asked.checkpoint)
    elif asked.initial_weights:
        story.initial_sha256 = _start_from(state, asked.network, asked.initial_weights)
    clock = _Clock(asked.hours * 3600, asked.slice_minutes * 60, story.seconds)
    _train(state, lesson, config, asked, clock, story)
    _write_weights(state, asked, config, story)


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
        """Time spent so far, that of earlier sessions included."""
        return self.spent + time.monotonic() - self._started

    def progress(self, _step: int) -> float:
        """Part of the planned time that is spent, whatever the step."""
        return self.seconds() / self.total_s

    def over(self) -> bool:
        """Whether the planned time is spent, or that of this session."""
        return self.seconds() >= self.total_s or time.monotonic() - self._started >= self.slice_s


def _train(
    state: TrainingState,
    lesson: Lesson,
    config: BlockPretraining,
    asked: PretrainConfig,
    clock: _Clock,
    story: _Story,
) -> None:
    """Train until the time is over; mutates `state` and `story`, and writes checkpoints."""
    saved = time.monotonic()
    while not clock.over():
        loss = train_steps(
            state,
            lesson.draw,
            config,
            seed=asked.random_seed,
            n_steps=STEPS_PER_REPORT,
            progress=clock.progress,
            loss_of=lesson.loss_of,
        )
        row: dict[str, float] = {
            "step": state.step,
            "seconds": round(clock.seconds()),
            "loss": round(loss, 5),
        }
        if state.step % asked.steps_per_validation < STEPS_PER_REPORT:
            row |= lesson.validate(state.averaged)
            story.curve.append(row)
        sys.stderr.write(json.dumps(row) + "\n")
        if time.monotonic() - saved > _CHECKPOINT_SECONDS:
            story.seconds = clock.seconds()
            _save(state, asked.checkpoint, story)
            saved = time.monotonic()
    final = {"step": state.step, "seconds": round(clock.seconds())}
    story.curve.append(final | lesson.validate(state.averaged))
    story.seconds = clock.seconds()
    _save(state, asked.checkpoint, story)


def _resume(state: TrainingState, path: Path) -> _Story:
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        state.load_state_dict(checkpoint["state"])
        return _Story(**checkpoint["story"])
    except (KeyError, TypeError, RuntimeError, ValueError, EOFError) as error:
        raise ConfigError(
            f"{path}: expected a checkpoint of the same network, found none that fits ({error}); "
            "name another --checkpoint to start anew"
        ) from error


def _start_from(state: TrainingState, name: str, folder: Path) -> str:
    """Take over finished weights, whose checksum is returned; the optimiser starts anew."""
    try:
        weights = load_weights(name, folder)
    except DenoisingError as error:
        raise ConfigError(f"--initial-weights: {error}; name the folder of {name}") from error
    assert weights is not None  # a named folder without them raises
    initial = build_network(name, weights).state_dict()
    for network in (state.network, state.averaged):
        network.load_state_dict(initial)
    return weights.sha256


def _save(state: TrainingState, path: Path, story: _Story) -> None:
    save_checkpoint({"state": state.state_dict(), "story": asdict(story)}, path)


def _write_weights(
    state: TrainingState, asked: PretrainConfig, config: BlockPretraining, story: _Story
) -> None:
    tensors = {key: value.half().cpu() for key, value in state.averaged.state_dict().items()}
    size = {"block_edge": asked.block_edge, "batch_size": asked.batch_size}
    recipe = {"batch_size": asked.batch_size} if asked.network == BRAIN_MASKS else asdict(config)
    if asked.network == IMAGES:
        recipe = asdict(ImagePretraining(**size))
    card = {
        "network": asked.network,
        "n_parameters": sum(tensor.numel() for tensor in tensors.values()),
        "recipe": recipe | {"peak_rate": asked.peak_rate},
        "random_seed": asked.random_seed,
        "steps": state.step,
        "seconds": round(story.seconds),
        "initial_weights_sha256": story.initial_sha256,
        **({"n_blocks": asked.blocks} if asked.network == FUSION else {}),
        **({"n_drawings": asked.drawings} if asked.network == IMAGES else {}),
        "n_brains": len(asked.brains),
        "n_heads": len(asked.heads),
        "validation": [path.name for path in asked.validation],
        "curve": story.curve,
    }
    os.makedirs(asked.out_dir, exist_ok=True)
    weights = PretrainedWeights(name=asked.network, sha256="", tensors=tensors)
    path = save_weights(weights, asked.out_dir, card)
    sys.stderr.write(f"wrote {path}\n")
