"""Lines printed while a run works: each step as it ends, with the time left."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from nipype.pipeline.engine import Node
from tqdm import tqdm

from n2a_bids.app.progress.expected_time import STEP_WORDS, StepPlan, about
from n2a_bids.app.progress.time_left import TimeLeft
from n2a_bids.reports.format import duration
from n2a_bids.reports.records.steps import WHAT_IS_DONE, what_is_done
from n2a_bids.system.progress import FILE_NAME, WANTS_FILES, read_progress

_LONG_STEPS = {
    name: WHAT_IS_DONE[name]
    for name in (
        *("align_wf.register", "register", "motion", "shared_motion", "distortion"),
        *("denoise", "regions_wf.place"),
    )
} | {"mask_wf.brain": WHAT_IS_DONE["mask_wf"]}
"""Step that is told of when it starts, too -> what is said then."""
_POLL_S = 1.0
_BAR = "{percentage:3.0f} %|{bar:30}| {desc}"
_ROWS = 20
"""Terminals without a size, as of containers, say 0, and tqdm would hide the bar."""
_PATIENCE_S = 5.0
"""How long the end of a batch waits for the thread that watches: it may hang at a terminal."""
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


class _Forgiving:
    """A stream that passes over its errors: a lost terminal, a closed pipe, a full disk.

    nipype would take them for a failure of the step that is told of, and tqdm would keep its lock.
    """

    def __init__(self, stream: TextIO | None):
        self._own = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._target, name)

    @property
    def _target(self) -> TextIO:
        return self._own or sys.stderr

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError):
            self._target.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError, ValueError):
            self._target.flush()


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
        self._batch: set[str] = set()
        """Units that run now."""
        self._running: dict[tuple[str, str], _Running] = {}
        self._stream, self._logs, self._clock = _Forgiving(stream), logs or {}, clock
        self._bar: tqdm | None = None
        self._started = self._batch_started = self._last_line = clock()
        self._lock = threading.RLock()

    def knows(self, unit: str) -> bool:
        """Whether a unit was planned, by the name of its workflow."""
        return unit in self._where

    def expect(self, names: Iterable[str]) -> None:
        """Plan what is about to run, a second time where it has run before: without what it has no step for.

        Parameters
        ----------
        names : iterable of str
            Full names of all steps that are about to run.
        """
        with self._lock:
            self._batch_started = self._clock()
            places = {self._place_of(name.split(".")) for name in names}
            self._batch = {unit for unit, _ in places} & set(self._where)
            self._failed -= self._batch
            for unit in self._batch:
                self._time.expect(unit, [step for place, step in places if place == unit])

    def leave_out(self, units: Iterable[str]) -> None:
        """Wait for nothing more of some units (names of workflows), unless `expect` names them."""
        with self._lock:
            for unit in units:
                self._time.drop(unit)

    def start(self, node: Node) -> None:
        """A step starts, or one of its parts."""
        with self._lock:
            unit, step = self._place_of(_path(node))
            is_late = _is_part(node) and (not unit or unit in self._failed)
            if is_late or (unit, step) in self._running:
                return
            folder = Path(node.output_dir())
            self._running[unit, step] = _Running(unit, step, folder)
            if step == "denoise":
                # What an interrupted run left there would be taken for what this one does.
                with suppress(OSError):
                    (folder / FILE_NAME).unlink(missing_ok=True)
            self._time.start(unit, step)
            if (unit not in self._where or step in _LONG_STEPS) and not _is_minor(step):
                self.say(unit, _LONG_STEPS.get(step, f"{_words(node, unit, step)} starts"))

    def end(self, node: Node) -> None:
        """A step has ended well, or was found done by an earlier run, or was not run after a failure."""
        if _is_part(node):
            return
        with self._lock:
            unit, step = self._place_of(_path(node))
            running = self._running.pop((unit, step), None)
            is_old = self._is_of_earlier_run(node)
            if running is None and (not is_old or unit not in self._where or unit in self._failed):
                return
            spent = self._time.end(unit, step, is_old=is_old)
            if step not in STEP_WORDS:
                return
            how_long = "as before (cached)" if is_old else duration(spent)
            self.say(unit, f"{STEP_WORDS[step]}, {how_long}{self._left_words()}")

    def fail(self, node: Node) -> None:
        """A step, or a part of it, has failed: what follows it will not run."""
        with self._lock:
            unit, step = self._place_of(_path(node))
            self._running.pop((unit, step), None)
            self._failed.add(unit)
            self._time.end(unit, step, is_old=True)
            self._time.drop(unit)
            self.say(unit, f"{_words(node, unit, step)} failed")

    def seconds_left(self) -> float | None:
        """Estimate for the whole run; None where nothing is known of it."""
        with self._lock:
            parts = {}
            for running in self._running.values():
                found = read_progress(running.folder / FILE_NAME) if running.step == "denoise" else None
                if found is not None and found.part != running.part:
                    running.part, running.part_at = found.part, self._clock()
                if running.part:
                    parts[running.unit, running.step] = running.part, running.part_at
            return self._time.seconds(parts)

    def _is_of_earlier_run(self, node: Node) -> bool:
        with suppress(OSError):
            result = Path(node.output_dir()) / f"result_{node.name}.pklz"
            return result.stat().st_mtime < self._batch_started
        return False

    def _place_of(self, path: Sequence[str]) -> tuple[str, str]:
        """Workflow of the unit and name of the step in it, from the names of workflows and step."""
        index = next((i for i in reversed(range(len(path))) if path[i] in self._where), None)
        if index is None:
            return "", ".".join(path[1:]) or path[0]
        return path[index], ".".join(path[index + 1 :])

    def say(self, unit: str, words: str) -> None:
        """Write one line about a unit."""
        where = f"{self._where[unit]}: " if unit in self._where else ""
        line = f"[{time.strftime('%H:%M:%S')}] {where}{words}"
        # Lines stand above the bar, where there is one.
        tqdm.write(line, file=self._stream)
        self._stream.flush()
        self._last_line = self._clock()
        if unit in self._logs:
            # A full disk is told by the step that writes results.
            with suppress(OSError), self._logs[unit].open("a", encoding="utf-8", errors="replace") as log:
                log.write(f"{line}\n")

    def _left_words(self) -> str:
        left = self.seconds_left()
        return "" if left is None else f"; {about(left)} left"

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Tell what denoising processes say while they run."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,), daemon=True)
        if self._where and self._stream.isatty():
            self._bar = tqdm(total=100, file=self._stream, bar_format=_BAR, leave=False, nrows=_ROWS)
        os.environ[WANTS_FILES] = "1"
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(_PATIENCE_S)
            os.environ.pop(WANTS_FILES, None)
            if self._bar is not None and not thread.is_alive():
                self._bar.close()
            self._bar = None
            self._forget_batch()

    def _forget_batch(self) -> None:
        """Of what was about to run nothing more comes, also where something has stopped it."""
        self._running.clear()
        self._time.stop(self._batch)

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(_POLL_S):
            self.tell_denoising()
            left, bar = self.seconds_left(), self._bar
            if bar is not None and left is not None:
                spent = self._clock() - self._started
                bar.n = min(100.0, round(100 * spent / (spent + left + 1e-9), 1))
                bar.set_description_str(f"{about(left)} left")

    def tell_denoising(self) -> None:
        """Show new messages of denoising processes, and after a long silence of any step the time left."""
        with self._lock:
            for running in list(self._running.values()):
                found = read_progress(running.folder / FILE_NAME) if running.step == "denoise" else None
                words = found.message if found else _LONG_STEPS.get(running.step, "")
                # At its end a denoising names an intermediate file, which nobody should look for.
                is_new = found is not None and found.message != running.told and found.part < 1
                if is_new or (words and self._clock() - self._last_line > _SILENCE_S):
                    running.told = words
                    self.say(running.unit, f"{words}{self._left_words()}")


def _is_part(node: Node) -> bool:
    """Whether it is a part of a MapNode: nipype runs these as steps of their own, in no workflow."""
    return Path(node.output_dir()).parent.name == "mapflow"


def _path(node: Node) -> Sequence[str]:
    """Names of workflows and step, of a part those of the whole: they are in the path of its folder."""
    return Path(node.output_dir()).parts[:-2] if _is_part(node) else node.fullname.split(".")


def _is_minor(step: str) -> bool:
    """Writing and drawing are told only when they fail."""
    return bool(re.search(r"(^|\.)(outputs_wf|reports_wf)\.", step))


def _words(node: Node, unit: str, step: str) -> str:
    """What a step does to its unit, or its name within the run where it belongs to none."""
    if not unit and _is_part(node):
        return node.name
    return what_is_done(step) if unit else " > ".join(step.split("."))
