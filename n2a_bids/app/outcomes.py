"""How a run ended for each participant, the table of it, and the one exit code."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from n2a_bids.io.printable import printable

DONE, FAILED, NOTHING_TO_DO = 0, 1, 70
"""Exit codes of a run that came to its end."""


Status = Literal["denoised", "report written", "failed", "nothing to do"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One participant."""

    participant: str
    """Label without ``sub-``."""
    status: Status
    details: tuple[str, ...] = ()
    """One line each: groups denoised or reports written, images left out with the reason, failures."""


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """Exit code of a run.

    Returns
    -------
    status : int
        1 if anything failed, 70 if nothing was denoised and no report written, else 0.

    Examples
    --------
    >>> exit_status([Outcome("01", "denoised"), Outcome("02", "nothing to do")])
    0
    >>> exit_status([Outcome("01", "denoised"), Outcome("02", "failed")])
    1
    >>> exit_status([Outcome("02", "nothing to do")])
    70
    """
    found = {outcome.status for outcome in outcomes}
    if "failed" in found:
        return FAILED
    return DONE if found & {"denoised", "report written"} else NOTHING_TO_DO


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
    total = f"{len(outcomes)} participant{'' if len(outcomes) == 1 else 's'}"
    lines.append(
        f"{total}: " + ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    )
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    shown = printable(" ".join(text.split()))
    return textwrap.wrap(shown, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
