"""How a finished run ended for each participant: the table at the end of the log, and its exit code."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from n2a_bids.enumeration import counted
from n2a_bids.errors import DONE, FAILED, NOTHING_TO_DO
from n2a_bids.io.printable import printable
from n2a_bids.reports.pages.paths import find_reports

_MOST_PAGES = 10


Status = Literal["denoised", "report written", "failed", "nothing to do", "nothing found"]
"""``nothing to do``: there are images, of which none can be denoised as things are asked for; ``nothing
found``: the selection matches no image."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One participant."""

    participant: str
    """Label without ``sub-``."""
    status: Status
    details: tuple[str, ...] = ()
    """One line each: groups denoised or reports written, images left out with the reason, failures."""


def exit_status(outcomes: Sequence[Outcome], *, require_repetitions: bool = False) -> int:
    """Exit code of a run.

    Parameters
    ----------
    require_repetitions : bool
        Whether a run that has nothing to denoise is one to tell apart from a success.

    Returns
    -------
    status : int
        1 if anything failed; 70 if the selection matched no image, or if nothing was denoised and no
        report written although repetitions are required; else 0.

    Examples
    --------
    >>> exit_status([Outcome("01", "denoised"), Outcome("02", "nothing found")])
    0
    >>> exit_status([Outcome("01", "denoised"), Outcome("02", "failed")])
    1
    >>> exit_status([Outcome("02", "nothing to do")])
    0
    >>> exit_status([Outcome("02", "nothing to do")], require_repetitions=True)
    70
    >>> exit_status([Outcome("02", "nothing found")])
    70
    """
    found = {outcome.status for outcome in outcomes}
    if "failed" in found:
        return FAILED
    enough = {"denoised", "report written"} | (set() if require_repetitions else {"nothing to do"})
    return DONE if found & enough else NOTHING_TO_DO


def format_outcomes(outcomes: Sequence[Outcome], width: int = 110) -> str:
    """Table of participants and outcomes, with the numbers of each at the end.

    Examples
    --------
    >>> print(format_outcomes([Outcome("01", "denoised", ("T1w: 2 runs",))]))
    participant  outcome   details
    sub-01       denoised  T1w: 2 runs
    1 participant: 1 denoised
    """
    names = [printable(f"sub-{outcome.participant}") for outcome in outcomes]
    first = max(map(len, ["participant", *names])) + 2
    second = max(map(len, ["outcome", *(outcome.status for outcome in outcomes)])) + 2
    lines = [f"{'participant':{first}}{'outcome':{second}}details"]
    for name, outcome in zip(names, outcomes):
        indent = " " * (first + second)
        text = [line for detail in outcome.details for line in _wrapped(detail, max(40, width - len(indent)))]
        text = text or [""]
        lines.append(f"{name:{first}}{outcome.status:{second}}{text[0]}".rstrip())
        lines += [indent + line for line in text[1:]]
    counts = dict.fromkeys(get_args(Status), 0)
    for outcome in outcomes:
        counts[outcome.status] += 1
    total = counted(len(outcomes), "participant")
    lines.append(f"{total}: " + ", ".join(f"{count} {status}" for status, count in counts.items() if count))
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    shown = printable(" ".join(text.split()))
    return textwrap.wrap(shown, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def list_reports(output_dir: Path, labels: Sequence[str]) -> str:
    """Paths of the pages of participants, wherever they lie, one on a line; of many the first ones.

    Parameters
    ----------
    labels : sequence of str
        Without ``sub-``.
    """
    pages = [path for label in labels for path in find_reports(output_dir, label)]
    lines = [f"report: {path}" for path in pages[:_MOST_PAGES]]
    if len(pages) > _MOST_PAGES:
        lines.append(f"and {len(pages) - _MOST_PAGES} more in {output_dir}")
    return "".join(f"{line}\n" for line in lines)
