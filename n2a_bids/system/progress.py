"""How far a denoising process is: lines for a person, or a file for the run that started it."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROGRESS_FILE = "N2A_PROGRESS_FILE"
"""Environment variable of a denoising process: the file that it writes instead of lines for a person."""
WANTS_FILES = "N2A_PROGRESS_FILES"
"""Environment variable of a run that reads such files: set and not empty."""
FILE_NAME = "progress.json"
"""In the folder of the step."""


_STAGES = (
    (r"averaging", 0.3),
    (r"denoising \d+ volumes together", 0.1),
    (r"trying what the other series", 0.45),
    (r"choosing the noise level", 0.08),
    (r".*epoch \d+/\d+", 0.11),
    (r"comparing candidates", 0.48),
    (r"denoising what lies around", 0.85),
    (r"denoising the whole volume", 0.57),
    (r"measuring the result", 0.92),
    (r"wrote ", 1.0),
)
"""Message -> part of the time after which it comes, as measured on a pair of heads of 1 mm."""
_UNTRAINED = {"comparing candidates": 0.14, "denoising the whole volume": 0.27}
"""The same of what differs where no network is trained: one image alone, and recipes without training."""
_TRAINING_PART = 0.37
_VOLUMES_PART = 0.75
_COMPARED_PART = 0.92
"""Part of the time after which the whole volume is denoised; the stages of that take about as long each."""
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


def part_done(message: str, *, trained: bool = True) -> float | None:
    """Part of a denoising that is done when a message comes; None where it tells nothing.

    Parameters
    ----------
    message : str
    trained : bool
        Whether a network was trained before.

    Examples
    --------
    >>> round(part_done("fine-tuning epoch 5/10, loss 0.2"), 3)
    0.295
    >>> round(part_done("denoising the whole volume, stage 2 of 4", trained=False), 3)
    0.595
    >>> part_done("something else")
    """
    start = next((part for words, part in _STAGES if re.match(words, message)), None)
    if not trained:
        start = next((part for words, part in _UNTRAINED.items() if message.startswith(words)), start)
    count = _COUNT.search(message)
    if start is None or count is None:
        return start
    index, number = int(count[1]), int(count[2])
    if "epoch" in message:
        return start + _TRAINING_PART * index / number
    if "stage" in message:
        return start + (_COMPARED_PART - start) * index / number
    return start + _VOLUMES_PART * (index - 1) / number


class ProgressReport:
    """Receives the messages of a denoising, and tells them where they are wanted."""

    def __init__(self, file: Path | None = None):
        self._file, self._part, self._started = file, 0.0, time.monotonic()
        self._trained = False

    @classmethod
    def from_environment(cls) -> ProgressReport:
        """To the file that the run that started this process reads, or to standard error."""
        file = os.environ.get(PROGRESS_FILE)
        return cls(Path(file) if file else None)

    def __call__(self, message: str) -> None:
        """Tell one message."""
        self._trained |= " epoch " in message
        self._part = max(self._part, part_done(message, trained=self._trained) or 0.0)
        # A full disk, a lost terminal or a closed pipe must not end a denoising; results tell of a full disk.
        with suppress(OSError):
            if self._file is not None:
                write_progress(self._file, Progress(message, self._part))
                return
            sys.stderr.write(f"[{time.monotonic() - self._started:6.1f} s] {message}\n")
            sys.stderr.flush()
