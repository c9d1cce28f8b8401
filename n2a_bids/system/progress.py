"""Progress of a denoising process: lines for a person, or a file that the run reads."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PROGRESS_FILE = "N2A_PROGRESS_FILE"
"""Environment variable of a denoising process: the file that it writes instead of lines for a person."""
WANTS_FILES = "N2A_PROGRESS_FILES"
"""Environment variable of a run that reads such files: set and not empty."""
FILE_NAME = "progress.json"
"""In the folder of the step."""


class _Stage(NamedTuple):
    """One stage of a denoising."""

    words: str
    """Its message begins so."""
    seconds: float
    """Of a pair of 1 mm heads on two cores, see docs/benchmarks/speed.md."""
    has_networks: bool
    """Whether networks take most of it: processors differ in these by more than in anything else."""
    is_whole: bool = False
    """Whether it grows with the image, as what looks at blocks of it does not."""


_STAGES = (
    _Stage("", 5, False),
    _Stage("choosing the noise level", 15, True),
    _Stage(r".*epoch \d+/\d+", 61, True),
    _Stage("choosing how alike", 5, False),
    _Stage("comparing candidates", 8, False),
    _Stage("denoising the whole (?:volume|image)(?!, stage)", 12, True, True),
    _Stage("denoising the whole (?:volume|image), stage", 31, False, True),
    _Stage("measuring the result", 8, False, True),
    _Stage("wrote ", 0, False),
)
"""In their order. The first is what comes before any message. What a denoising leaves out is not waited for
once a later stage has begun."""
_ALIKE = (1.0, 0.3, 0.05)
"""Weight of a stage for the pace of another that differs from it in none, one and both of these."""
_FIRST_IS_NETWORK, _SHORT_LAST = 1, 0.3
"""Of what is counted in the whole volume: the first is told when networks are done, and the last, the fusion
of estimates, is shorter by this part of the others."""
_PARTS = (
    (r"averaging", 0.3),
    (r"denoising \d+ volumes together", 0.1),
    (r"trying what the other series", 0.45),
    (r"denoising what lies around", 0.85),
)
"""Other messages -> part of the time after which they come."""
_VOLUMES_PART = 0.75
_VOLUMES_DONE = 0.9
"""Part after which what was denoised volume by volume is measured."""
_COUNT = re.compile(r"(\d+)(?:/| of )(\d+)")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a process is."""

    message: str
    """What it does now."""
    part: float
    """Of its work, 0 to 1."""


def write_progress(file: Path, progress: Progress) -> None:
    """Write the file anew, whole or not at all."""
    unfinished = file.with_name(f".{file.name}")
    unfinished.write_text(json.dumps({"message": progress.message, "part": progress.part}), encoding="utf-8")
    unfinished.replace(file)


def read_progress(file: Path) -> Progress | None:
    """Read what a process left in its file; None where it left nothing yet."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Progress(str(content["message"]), float(content["part"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class StageProgress:
    """The stages of a denoising that have come, and the part of its time that has passed.

    What stages took so far corrects what is expected of the others, those with networks and those without
    apart from each other.

    Examples
    --------
    >>> stages = StageProgress()
    >>> round(stages.take("fine-tuning epoch 1/10, loss 0.2", 26), 2)
    0.09
    >>> round(stages.take("fine-tuning epoch 5/10, loss 0.2", 50), 2)
    0.25
    """

    def __init__(self):
        self._stage, self._done, self._part = 0, 0.0, 0.0
        self._spent_s: dict[int, float] = {}
        self._since_s = 0.0

    def take(self, message: str, at_s: float) -> float:
        """Part of the time that has passed when a message comes, 0 to 1.

        Parameters
        ----------
        at_s : float
            Seconds since the denoising began.
        """
        stage = next((k for k, one in enumerate(_STAGES) if one.words and re.match(one.words, message)), None)
        other = next((part for words, part in _PARTS if re.match(words, message)), None)
        index, number = _counted(message)
        if other is not None:
            self._part = max(self._part, other + _VOLUMES_PART * max(index - 1, 0) / number)
        elif self._part and stage is not None:
            self._part = 1.0 if _STAGES[stage].words == "wrote " else _VOLUMES_DONE
        elif stage is not None:
            if "stage" in message:
                index, number = index - _FIRST_IS_NETWORK, number - _FIRST_IS_NETWORK - _SHORT_LAST
            self._pass(stage, min(1.0, index / max(number, 1.0)), at_s)
        return self._part or (self._part_of(at_s) if self._spent_s else 0.0)

    def _pass(self, stage: int, done: float, at_s: float) -> None:
        """Time has passed since the last message, in the stage of that and in what is done of a new one."""
        spent_s, self._since_s = at_s - self._since_s, at_s
        of_new = done * _STAGES[stage].seconds
        new_share = of_new / (of_new + _STAGES[self._stage].seconds) if stage != self._stage else 0.0
        for one, share in ((self._stage, 1 - new_share), (stage, new_share)):
            self._spent_s[one] = self._spent_s.get(one, 0.0) + share * spent_s
        self._stage, self._done = stage, done

    def _part_of(self, at_s: float) -> float:
        """Part that has passed, by the pace of the stages so far."""
        done_s = {stage: _STAGES[stage].seconds for stage in self._spent_s if stage < self._stage}
        done_s[self._stage] = self._done * _STAGES[self._stage].seconds
        left_s = 0.0
        for number in range(self._stage, len(_STAGES)):
            stage = _STAGES[number]
            weights = {k: _ALIKE[_n_differences(_STAGES[k], stage)] for k in done_s}
            spent_s = sum(weight * self._spent_s.get(k, 0.0) for k, weight in weights.items())
            pace = spent_s / max(sum(weight * done_s[k] for k, weight in weights.items()), 1e-9)
            left_s += (stage.seconds - done_s.get(number, 0.0)) * pace
        return at_s / (at_s + left_s) if at_s + left_s > 0 else 0.0


def _n_differences(one: _Stage, other: _Stage) -> int:
    return (one.has_networks is not other.has_networks) + (one.is_whole is not other.is_whole)


def _counted(message: str) -> tuple[int, int]:
    """What is counted in a message, and of how many: (0, 1) where nothing is."""
    count = _COUNT.search(message)
    return (int(count[1]), int(count[2])) if count else (0, 1)


class ProgressReport:
    """Receives the messages of a denoising, and tells them where they are wanted."""

    def __init__(self, file: Path | None = None):
        self._file, self._stages, self._started = file, StageProgress(), time.monotonic()

    @classmethod
    def from_environment(cls) -> ProgressReport:
        """To the file that the run that started this process reads, or to standard error."""
        file = os.environ.get(PROGRESS_FILE)
        return cls(Path(file) if file else None)

    def __call__(self, message: str) -> None:
        """Tell one message."""
        part = self._stages.take(message, time.monotonic() - self._started)
        # A full disk, a lost terminal or a closed pipe must not end a denoising; results tell of a full disk.
        with suppress(OSError):
            if self._file is not None:
                write_progress(self._file, Progress(message, part))
                return
            sys.stderr.write(f"[{time.monotonic() - self._started:6.1f} s] {message}\n")
            sys.stderr.flush()
