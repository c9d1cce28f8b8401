"""Epochs of a training: checkpoint, resuming, early stop, best epoch so far."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed

from n2a_bids.algorithms.dataset_training.steps import (
    TrainingBatch,
    TrainingState,
    rank_of_process,
    train_steps,
)
from n2a_bids.config import TrainConfig
from n2a_bids.errors import ConfigError
from n2a_bids.io.weights import save_checkpoint

_LEAST_IMPROVEMENT_DB = 0.002


@dataclass(frozen=True, slots=True)
class LearningPace:
    """How fast a network is to learn, and for how long."""

    peak_rate: float
    warmup_steps: int = 30
    averaging: float = 0.99
    """Decay of the running average of weights, which is what is judged and kept."""


@dataclass(slots=True)
class Course:
    """What has happened so far, over all resumptions; a checkpoint holds it."""

    fingerprint: str
    """Of the files and settings: a checkpoint of others is refused."""
    epoch: int = 0
    best_epoch: int = 0
    """0 is the start, before the first step."""
    best_gain_db: float = -1e9
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def is_over(self, config: TrainConfig) -> bool:
        """Whether all epochs are done, or too many without gain."""
        return self.epoch >= config.epochs or self.epoch - self.best_epoch >= config.patience


def fingerprint_of(material: object, settings: Mapping[str, object]) -> str:
    """Checksum of what a training depends on."""
    return hashlib.sha256(json.dumps([material, settings], sort_keys=True, default=str).encode()).hexdigest()


def load_course(state: TrainingState, path: Path, fingerprint: str) -> Course:
    """Go on from a checkpoint, or begin where there is none; mutates `state`.

    Raises
    ------
    ConfigError
        If the checkpoint cannot be read, or is of other data or settings.
    """
    if not path.is_file():
        return Course(fingerprint)
    try:
        kept = torch.load(path, weights_only=True, map_location="cpu")
        course = Course(**kept["course"])
        if course.fingerprint == fingerprint:
            state.load_state_dict(kept["state"])
            return course
    except Exception as error:  # whatever a damaged file makes of torch
        raise ConfigError(
            f"{path}: expected a checkpoint of this training, found none that can be read "
            f"({type(error).__name__}); delete it to start anew"
        ) from error
    raise ConfigError(
        f"{path}: expected a checkpoint of this training, found one of other images or settings; delete it "
        "to start anew, or repeat the options of the run that is to be resumed"
    )


def check_same_epoch(course: Course, path: Path) -> None:
    """Refuse processes that train together from different checkpoints.

    Raises
    ------
    ConfigError
        If some of them, on another machine, have read none or an older one.
    """
    if not distributed.is_initialized():
        return
    epochs = [0] * distributed.get_world_size()
    distributed.all_gather_object(epochs, course.epoch)
    if len(set(epochs)) > 1:
        raise ConfigError(
            f"{path}: expected the same checkpoint in all processes, found those of the epochs "
            f"{', '.join(map(str, sorted(set(epochs))))}; put it where all machines see it"
        )


def save_course(state: TrainingState, course: Course, path: Path) -> None:
    """Write a checkpoint, whole or not at all."""
    save_checkpoint({"state": state.state_dict(), "course": asdict(course)}, path)


def run_course(
    state: TrainingState,
    course: Course,
    draw: Callable[[np.random.Generator], TrainingBatch],
    judge_gain: Callable[[], float],
    config: TrainConfig,
    checkpoint: Path,
    *,
    seed: int,
    report: Callable[[str], None],
) -> None:
    """Train epoch after epoch until the course is over; mutates `state` and `course`.

    Every epoch begins from its own seed and ends with a checkpoint, so that a training that was stopped at
    any time ends as if it had not been.

    Parameters
    ----------
    draw : callable
        Next `TrainingBatch` from a generator.
    judge_gain : callable
        Gain on the validation subjects of ``state.averaged``, dB, without a truth.
    report : callable
        Receives one line for each epoch.
    """
    pace = LearningPace(config.peak_rate)
    if not course.curve:
        _note(state, course, _shared(judge_gain), {}, report)
    while not course.is_over(config):
        started = time.monotonic()
        loss = train_steps(
            state,
            draw,
            pace,
            seed=seed,
            n_steps=config.steps,
            progress=lambda step: step / (config.epochs * config.steps),
        )
        course.epoch += 1
        gain = _shared(judge_gain)
        course.seconds += time.monotonic() - started
        _note(state, course, gain, {"loss": round(loss, 6)}, report)
        if rank_of_process() == 0:
            save_course(state, course, checkpoint)


def _note(
    state: TrainingState,
    course: Course,
    gain_db: float,
    more: dict[str, float],
    report: Callable[[str], None],
) -> None:
    """One point of the curve, and the weights where they are the best so far."""
    seconds = round(course.seconds)
    course.curve.append({"epoch": course.epoch, **more, "gain_db": round(gain_db, 4), "seconds": seconds})
    if gain_db > course.best_gain_db + _LEAST_IMPROVEMENT_DB:
        course.best_epoch, course.best_gain_db = course.epoch, gain_db
        weights = state.averaged.state_dict().items()
        course.best = {name: value.detach().cpu().clone() for name, value in weights}
    report(
        f"epoch {course.epoch}: {gain_db:.3f} dB over the mean on validation subjects, best so far of "
        f"epoch {course.best_epoch}"
    )


def _shared(judge_gain: Callable[[], float]) -> float:
    """The gain as the first process finds it, in all of them: they must decide alike."""
    if not distributed.is_initialized():
        return judge_gain()
    found = [judge_gain() if distributed.get_rank() == 0 else 0.0]
    distributed.broadcast_object_list(found, src=0)
    return float(found[0])
