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

PROGRESS_FILE = "N2A_PROGRESS_FILE"
"""Environment variable of a denoising process: the file that it writes instead of lines for a person."""
WANTS_FILES = "N2A_PROGRESS_FILES"
"""Environment variable of a run that reads such files: set and not empty."""
FILE_NAME = "progress.json"
"""In the folder of the step."""


_STAGES_S = (
    (r"", 22),
    (r"choosing the noise level", 15),
    (r".*epoch \d+/\d+", 44),
    (r"choosing how alike", 19),
    (r"comparing candidates", 25),
    (r"denoising the whole (?:volume|image)", 90),
    (r"measuring the result", 22),
    (r"wrote ", 0),
)
"""First message of a stage -> its seconds, in their order, of a pair of 1 mm heads on two cores. The first is
what comes before any message. What a denoising leaves out is not waited for once a later stage has begun."""
_SHORT_LAST = 0.7
"""The last step of a stage, the fusion of estimates, over the others, non-local Bayes."""
_PARTS = (
    (r"averaging", 0.3),
    (r"denoising \d+ volumes together", 0.1),
    (r"trying what the other series", 0.45),
    (r"denoising what lies around", 0.85),
)
"""Other messages -> part of the time after which they come."""
_VOLUMES_PART = 0.75
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


class Course:
    """The stages of a denoising that have come, and the part of its work that they are.

    Examples
    --------
    >>> course = Course()
    >>> round(course.take("fine-tuning epoch 5/10, loss 0.2"), 3)
    0.198
    >>> round(course.take("denoising the whole volume, stage 2 of 4"), 3)
    0.644
    >>> course.take("something else") == course.take("choosing the noise level")
    True
    """

    def __init__(self):
        self._came, self._part = [0], 0.0

    def take(self, message: str) -> float:
        """Part that is done when a message comes, 0 to 1; it never falls."""
        count = _COUNT.search(message)
        index, number = (int(count[1]), int(count[2])) if count else (0, 1)
        stage = next(
            (k for k, (words, _) in enumerate(_STAGES_S) if words and re.match(words, message)), None
        )
        other = next((part for words, part in _PARTS if re.match(words, message)), None)
        if stage is not None:
            short = _SHORT_LAST if "stage" in message else 1.0
            self._part = max(self._part, self._part_in(stage, min(1.0, index / (number - 1 + short))))
        elif other is not None:
            self._part = max(self._part, other + _VOLUMES_PART * max(index - 1, 0) / number)
        return self._part

    def _part_in(self, stage: int, done: float) -> float:
        """Part that is done when so much of a stage is."""
        self._came = [*(one for one in self._came if one < stage), stage]
        spent_s = sum(_STAGES_S[one][1] for one in self._came[:-1]) + done * _STAGES_S[stage][1]
        left_s = (1 - done) * _STAGES_S[stage][1] + sum(seconds for _, seconds in _STAGES_S[stage + 1 :])
        return spent_s / (spent_s + left_s)


class ProgressReport:
    """Receives the messages of a denoising, and tells them where they are wanted."""

    def __init__(self, file: Path | None = None):
        self._file, self._course, self._started = file, Course(), time.monotonic()

    @classmethod
    def from_environment(cls) -> ProgressReport:
        """To the file that the run that started this process reads, or to standard error."""
        file = os.environ.get(PROGRESS_FILE)
        return cls(Path(file) if file else None)

    def __call__(self, message: str) -> None:
        """Tell one message."""
        part = self._course.take(message)
        # A full disk, a lost terminal or a closed pipe must not end a denoising; results tell of a full disk.
        with suppress(OSError):
            if self._file is not None:
                write_progress(self._file, Progress(message, part))
                return
            sys.stderr.write(f"[{time.monotonic() - self._started:6.1f} s] {message}\n")
            sys.stderr.flush()
