"""Reads crash files of nipype and makes them readable."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from n2a_bids.errors import OUT_OF_MEMORY
from n2a_bids.reports.records.steps import step_words

_NODE = re.compile(r"^Node: (.+)$", re.MULTILINE)
_DIRECTORY = re.compile(r"^Working directory: (.+)$", re.MULTILINE)
_ONE_OF_SEVERAL = re.compile(r".*/(n2a_\w+/sub_\w+/.+)/mapflow/[^/]+$")
"""Where a step ran that is done for each of several images; its own name says neither which nor whose."""
_ERROR = re.compile(r"[\w.]*([Ee]rror|Exception|Interrupt)\b(.*:|$)")
_OURS = re.compile(r"n2a_bids\.errors\.\w+: ")
_SAID = re.compile(r"n2a[\w-]*(?: \w+)?: error: (.+)")
_INTERRUPTED = re.compile(
    r"stopped by (?P<own>SIG[A-Z]+|Ctrl-C)|was stopped \((?P<child>SIG[A-Z]+)\)|^\s*KeyboardInterrupt\b",
    re.MULTILINE,
)
"""What the signals of a scheduler or of Ctrl-C leave behind, in this process or in a child."""
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_TRACEBACK = "Traceback (most recent call last):"
_CUT = "its crash file is empty or ends before the error; is the disk full?"
_LONGEST = 20_000
"""Characters of a traceback that are shown; the end is what matters."""
_LONGEST_MESSAGE = 800
_MOST_LINES = 3
"""Lines of an error that are joined where the first of them ends in a colon."""


@dataclass(frozen=True, slots=True)
class Crash:
    """One step that failed, or that a signal stopped."""

    path: Path
    node: str
    """Name of the step, from the participant's workflow on."""
    message: str
    """Last line of the traceback: the error itself."""
    traceback: str = ""
    directory: str = ""
    stopped_by: str = ""
    """``SIGTERM``, ``Ctrl-C`` and the like where the run was interrupted: the step has no fault then."""

    @property
    def step(self) -> str:
        """Name of the step within the participant.

        Examples
        --------
        >>> Crash(Path("crash-x.txt"), "n2a_0_1_0.sub_01.sub_01_T1w_anat_repeats.denoise", "killed").step
        'sub_01_T1w_anat_repeats.denoise'
        """
        return self.node.split(".", 2)[-1]

    @property
    def title(self) -> str:
        """Images and what was done to them.

        Examples
        --------
        >>> Crash(Path("crash-x.txt"), "n2a_0_1_0.sub_01.sub_01_T1w_anat_repeats.denoise", "killed").title
        'sub-01_T1w, denoising'
        """
        return step_words(self.step)

    @property
    def sentence(self) -> str:
        """What happened, in one line."""
        if self.stopped_by:
            return f"{self.title}: interrupted by {self.stopped_by}; the same command resumes"
        return f"{self.title}: {self.message}"


def find_crashes(folder: Path) -> list[Crash]:
    """Crash files below a folder, oldest first; none where the folder is missing.

    Parameters
    ----------
    folder : path
        ``sub-<label>/log/<run_uuid>``.

    Returns
    -------
    crashes : list of Crash
        Text files are read; pickled ones are only named, because unpickling runs code.
    """
    paths = sorted(folder.glob("crash*"), key=lambda path: (path.stat().st_mtime, path.name))
    return [_read(path) for path in paths if path.suffix in (".txt", ".pklz")]


def find_lasting_crashes(log: Path, run_uuid: str, attempts: Mapping[str, str]) -> list[Crash]:
    """Crashes of a run, and those of earlier runs that no later run has made up for.

    Parameters
    ----------
    log : path
        ``sub-<label>/log``.
    run_uuid : str
        All crashes of this run are returned, first.
    attempts : mapping of str to str
        Label of a unit -> last run that was to denoise it.
    """
    found = find_crashes(log / run_uuid)
    for run in sorted(set(attempts.values()) - {run_uuid}):
        workflows = tuple(re.sub(r"\W", "_", f"{label}_") for label, last in attempts.items() if last == run)
        found += [crash for crash in find_crashes(log / run) if crash.step.startswith(workflows)]
    return found


def _read(path: Path) -> Crash:
    """One crash file."""
    if path.suffix == ".pklz":
        return Crash(path, path.stem, "pickled crash file: show it with `nipypecli crash FILE`")
    text = _ANSI.sub("", path.read_text(encoding="utf-8", errors="replace"))
    node, found = _NODE.search(text), _DIRECTORY.search(text)
    directory = found[1].strip() if found else ""
    several = _ONE_OF_SEVERAL.match(directory)
    name = several[1].replace("/", ".") if several else node[1].strip() if node else path.stem
    start = text.find(_TRACEBACK)
    traceback = (text[start:] if start >= 0 else text).strip()
    return Crash(path, name, _message(traceback), traceback[-_LONGEST:], directory, _interruption(traceback))


def _interruption(traceback: str) -> str:
    """The signal that stopped the step, empty where it failed by itself."""
    found = _INTERRUPTED.search(traceback)
    return (found["own"] or found["child"] or "Ctrl-C") if found else ""


def _message(traceback: str) -> str:
    """The error itself.

    A command of ours that failed has said what was wrong in one paragraph, which is worth more than the
    news that a command failed; otherwise the last line that names an error counts.
    """
    lines = [line.strip() for line in traceback.splitlines()]
    for index, line in enumerate(lines):
        said = _SAID.match(line)
        if said:
            paragraph = itertools.takewhile(lambda text: text and text != "Traceback:", lines[index + 1 :])
            return " ".join([said[1], *paragraph])[:_LONGEST_MESSAGE]
    named = [index for index, line in enumerate(lines) if _ERROR.match(line)]
    if not named:
        last = next((line for line in reversed(lines) if line), "")
        return last[:_LONGEST_MESSAGE] if traceback.startswith(_TRACEBACK) and last != _TRACEBACK else _CUT
    # The name of one of our own errors says nothing that its sentence does not.
    return _OURS.sub("", _whole_sentence(lines[named[-1] :]), count=1)[:_LONGEST_MESSAGE]


def _whole_sentence(lines: list[str]) -> str:
    """The line that names an error, with what follows where it says nothing by itself."""
    first, *rest = lines
    if re.match(r"[\w.]*MemoryError\b", first) and OUT_OF_MEMORY not in first:
        return f"{first.rstrip(':')}: {OUT_OF_MEMORY}"
    if not first.endswith(":"):
        return first
    following = itertools.takewhile(lambda text: not text.startswith("Traceback"), filter(None, rest))
    return " ".join([first, *itertools.islice(following, _MOST_LINES)])
