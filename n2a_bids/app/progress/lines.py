"""What a person sees of a run while it works: each step as it ends, and how long the rest takes."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from nipype.pipeline.engine import Node
from tqdm import tqdm

from n2a_bids.app.progress.expected_time import STEP_WORDS, StepPlan, about
from n2a_bids.app.progress.time_left import TimeLeft
from n2a_bids.reports.format import duration
from n2a_bids.system.progress import FILE_NAME, WANTS_FILES, read_progress

_LONG_STEPS = {
    "mask_wf.brain": "finding the brain",
    "align_wf.register": "registering the repetitions",
    "register": "registering the series",
    "motion": "estimating motion",
    "distortion": "estimating distortion",
    "denoise": "denoising",
}
"""Step that is told of when it starts, too -> what is said then."""
_POLL_S = 1.0
_BAR = "{percentage:3.0f} %|{bar:30}| {desc}"
_ROWS = 20
"""Terminals without a size, as of containers, say 0, and tqdm would hide the bar."""
_SILENCE_S = 60.0
"""Without a terminal, at least one line comes in this time."""


@dataclass(slots=True)
class _Running:
    """One step that runs."""

    unit: str
    step: str
    folder: Path
    part: float = 0.0
    """Of a denoising, that was done when it last told."""
    part_at: float = 0.0
    """When that was."""
    told: str = ""
    """The last message of the denoising that was shown."""


class RunProgress:
    """Keeps count of a run.

    Parameters
    ----------
    plans : mapping
        Name of the workflow of each unit -> words for it and what its steps should take.
    n_side_by_side : int
        Units that run at the same time.
    stream : text stream, optional
        Where lines go; standard error by default.
    logs : mapping, optional
        Name of the workflow of each unit -> file that gets its lines, too.
    clock : callable, optional
        Seconds.
    """

    def __init__(
        self,
        plans: Mapping[str, tuple[str, StepPlan]],
        n_side_by_side: int = 1,
        stream: TextIO | None = None,
        logs: Mapping[str, Path] | None = None,
        clock: Callable[[], float] = time.time,
    ):
        self._where = {name: where for name, (where, _) in plans.items()}
        self._time = TimeLeft({name: plan for name, (_, plan) in plans.items()}, n_side_by_side, clock)
        self._failed: set[str] = set()
        self._running: dict[str, _Running] = {}
        self._stream, self._logs, self._clock = stream, logs or {}, clock
        self._bar: tqdm | None = None
        self._started = self._last_line = clock()
        self._lock = threading.RLock()

    def expect(self, names: Iterable[str]) -> None:
        """Take out of the plan what the workflows have no step for.

        Parameters
        ----------
        names : iterable of str
            Full names of all steps that are about to run.
        """
        with self._lock:
            places = {self._place_of(name) for name in names}
            for unit in {unit for unit, _ in places} & set(self._where):
                self._time.expect(unit, [step for place, step in places if place == unit])

    def start(self, node: Node) -> None:
        """A step starts."""
        with self._lock:
            unit, step = self._place_of(node.fullname)
            self._running[node.fullname] = _Running(unit, step, Path(node.output_dir()))
            self._time.start(unit, step)
            if (unit not in self._where or step in _LONG_STEPS) and not _is_minor(node):
                self.say(unit, _LONG_STEPS.get(step, f"{_step_name(node)} starts"))

    def end(self, node: Node) -> None:
        """A step has ended well, or was found done by an earlier run, or was not run after a failure."""
        with self._lock:
            running = self._running.pop(node.fullname, None)
            unit, step = self._place_of(node.fullname)
            is_old = self._is_of_earlier_run(node)
            if running is None and (not is_old or unit not in self._where or unit in self._failed):
                return
            spent = self._time.end(unit, step, is_old=is_old)
            if _is_minor(node) or step not in STEP_WORDS:
                return
            how_long = "as before (cached)" if is_old else duration(spent)
            self.say(unit, f"{STEP_WORDS[step]}, {how_long}{self._left_words()}")

    def fail(self, node: Node) -> None:
        """A step has failed: what follows it will not run."""
        with self._lock:
            self._running.pop(node.fullname, None)
            unit, step = self._place_of(node.fullname)
            self._failed.add(unit)
            self._time.end(unit, step, is_old=True)
            self._time.drop(unit)
            self.say(unit, f"{_step_name(node)} failed")

    def seconds_left(self) -> float | None:
        """Estimate for the whole run; None where nothing is known of it."""
        with self._lock:
            parts = {}
            for running in self._running.values():
                found = read_progress(running.folder / FILE_NAME) if running.step == "denoise" else None
                if found is not None and found.part > running.part:
                    running.part, running.part_at = found.part, self._clock()
                if running.part:
                    parts[running.unit, running.step] = running.part, running.part_at
            return self._time.seconds(parts)

    def _is_of_earlier_run(self, node: Node) -> bool:
        with suppress(OSError):
            result = Path(node.output_dir()) / f"result_{node.name}.pklz"
            return result.stat().st_mtime < self._started
        return False

    def _place_of(self, full_name: str) -> tuple[str, str]:
        """Workflow of the unit and name of the step in it."""
        parts = full_name.split(".")
        index = next((i for i, part in enumerate(parts) if part in self._where), None)
        if index is None:
            return "", ".".join(parts[1:]) or full_name
        return parts[index], ".".join(parts[index + 1 :])

    def say(self, unit: str, words: str) -> None:
        """Write one line about a unit."""
        where = f"{self._where[unit]}: " if unit in self._where else ""
        line = f"[{time.strftime('%H:%M:%S')}] {where}{words}"
        stream = self._stream or sys.stderr
        # Lines stand above the bar, where there is one.
        tqdm.write(line, file=stream)
        stream.flush()
        self._last_line = self._clock()
        if unit in self._logs:
            # A full disk is told by the step that writes results.
            with suppress(OSError), self._logs[unit].open("a", encoding="utf-8") as log:
                log.write(f"{line}\n")

    def _left_words(self) -> str:
        left = self.seconds_left()
        return "" if left is None else f"; {about(left)} left"

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Tell what denoising processes say while they run."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,), daemon=True)
        stream = self._stream or sys.stderr
        if self._where and stream.isatty():
            self._bar = tqdm(total=100, file=stream, bar_format=_BAR, leave=False, nrows=_ROWS)
        os.environ[WANTS_FILES] = "1"
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            os.environ.pop(WANTS_FILES, None)
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(_POLL_S):
            self.tell_denoising()
            left = self.seconds_left()
            if self._bar is not None and left is not None:
                spent = self._clock() - self._started
                self._bar.n = min(100.0, round(100 * spent / (spent + left + 1e-9), 1))
                self._bar.set_description_str(f"{about(left)} left")

    def tell_denoising(self) -> None:
        """Show new messages of denoising processes, and after a long silence the time left."""
        with self._lock:
            for running in list(self._running.values()):
                found = read_progress(running.folder / FILE_NAME) if running.step == "denoise" else None
                if found is None:
                    continue
                is_silent = self._clock() - self._last_line > _SILENCE_S
                if found.message != running.told or is_silent:
                    running.told = found.message
                    self.say(running.unit, f"{found.message}{self._left_words()}")


def _is_minor(node: Node) -> bool:
    """Writing and drawing are told only when they fail; so are the parts of a MapNode."""
    return "." not in node.fullname or bool(re.search(r"\.(outputs_wf|reports_wf)\.", node.fullname))


def _step_name(node: Node) -> str:
    return " > ".join(part for part in node.fullname.split(".")[1:]) or node.name
