"""Time left of a run: the expected seconds of its steps, corrected by what they really took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from n2a_bids.app.progress.expected_time import StepPlan

_SMALL = ""
"""Stands for all steps that write and draw."""
_PRIOR_PART = 0.1
"""Weight of the plan against what was measured: that of this part of the work."""
_OF_ONE_STEP = 0.25
"""Weight of the pace of all steps against that of the same step in units before: that of this part of one."""
_OWN_PACE = 3.0
"""A step that tells the part that is done is believed by as many times this part."""
_LEAST_LEFT = 0.05
"""Part of a running step that is left at least, however long it takes."""
_LARGEST_OVERHEAD = 2.0
"""Time of a run over that of its steps."""


@dataclass(slots=True)
class _Unit:
    """One unit while it runs."""

    plan: StepPlan
    left_s: dict[str, float] = field(default_factory=dict)
    """Planned seconds of the steps that have not ended, and of all small ones together."""
    n_small: int = 1
    """Steps without a plan of their own."""

    def __post_init__(self) -> None:
        self.left_s = {**self.plan.steps_s, _SMALL: self.plan.files_s}

    def take(self, step: str) -> float:
        """Planned seconds of a step that has ended: they are not left any more."""
        if step in self.plan.steps_s:
            return self.left_s.pop(step, 0.0)
        seconds = min(self.plan.files_s / self.n_small, self.left_s.get(_SMALL, 0.0))
        if seconds:
            self.left_s[_SMALL] -= seconds
        return seconds


@dataclass(slots=True)
class _Measured:
    """What steps of one kind took."""

    spent_s: float = 0.0
    planned_s: float = 0.0


class TimeLeft:
    """Counts steps as they start and end.

    Parameters
    ----------
    plans : mapping
        Name of each unit -> what its steps should take.
    n_side_by_side : int
        Units that run at the same time.
    clock : callable, optional
        Seconds.
    """

    def __init__(
        self,
        plans: Mapping[str, StepPlan],
        n_side_by_side: int = 1,
        clock: Callable[[], float] = time.time,
    ):
        self._units = {name: _Unit(plan) for name, plan in plans.items()}
        self._n = max(1, n_side_by_side)
        self._prior_s = _PRIOR_PART * sum(plan.total_s for plan in plans.values())
        self._measured: dict[str, _Measured] = {}
        self._running: dict[tuple[str, str], float] = {}
        self._clock, self._started = clock, clock()

    def expect(self, unit: str, steps: Iterable[str]) -> None:
        """Plan a unit that is about to run, without what its workflow has no step for."""
        known, steps = self._units[unit], set(steps)
        known.left_s = {**known.plan.steps_s, _SMALL: known.plan.files_s}
        known.n_small = max(1, len(steps - set(known.plan.steps_s)))
        for step in set(known.plan.steps_s) - steps:
            known.take(step)

    def start(self, unit: str, step: str) -> None:
        """A step starts."""
        self._running[unit, step] = self._clock()

    def end(self, unit: str, step: str, *, is_old: bool = False) -> float:
        """A step has ended; what an earlier run did is no measure of how long steps take.

        Returns
        -------
        spent_s : float
            Seconds that it took.
        """
        now = self._clock()
        spent_s = now - self._running.pop((unit, step), now)
        if unit in self._units:
            planned_s = self._units[unit].take(step)
            if not is_old:
                key = step if step in self._units[unit].plan.steps_s else _SMALL
                measured = self._measured.setdefault(key, _Measured())
                measured.spent_s += spent_s
                measured.planned_s += planned_s
        return spent_s

    def drop(self, unit: str) -> None:
        """Nothing more comes of a unit, but for what runs now."""
        if unit in self._units:
            self._units[unit].left_s.clear()

    def stop(self, units: Iterable[str]) -> None:
        """Nothing runs any more, and nothing more comes of these units."""
        self._running.clear()
        for unit in units:
            self.drop(unit)

    def seconds(self, parts: Mapping[tuple[str, str], tuple[float, float]]) -> float | None:
        """Estimate for the whole run; None where nothing is known of it.

        Parameters
        ----------
        parts : mapping
            Unit and step -> part that was done when it last told, and when that was.
        """
        if not self._units:
            return None
        left_s = sum(
            self._left_of(unit, step, planned_s, parts.get((unit, step)))
            for unit, known in self._units.items()
            for step, planned_s in known.left_s.items()
        )
        n_open = sum(any(known.left_s.values()) for known in self._units.values())
        return left_s * self._overhead() / max(1, min(self._n, n_open))

    def _left_of(self, unit: str, step: str, planned_s: float, told: tuple[float, float] | None) -> float:
        """Seconds that are left of one step."""
        expected_s = planned_s * self._pace(step)
        started = self._running.get((unit, step))
        if started is None:
            return expected_s
        if told is not None:
            part, when = told
            share = min(1.0, _OWN_PACE * part)
            expected_s = (1 - share) * expected_s + share * (when - started) / part
        return max(expected_s - (self._clock() - started), _LEAST_LEFT * expected_s)

    def _pace(self, step: str) -> float:
        """Real over planned seconds of a step: of the same step in other units, and of all steps."""
        rows = self._measured.values()
        spent_s, planned_s = (sum(getattr(row, name) for row in rows) for name in ("spent_s", "planned_s"))
        of_all = (spent_s + self._prior_s) / (planned_s + self._prior_s + 1e-9)
        plans = [unit.plan.steps_s.get(step, unit.plan.files_s) for unit in self._units.values()]
        weight = _OF_ONE_STEP * sum(plans) / len(plans)
        same = self._measured.get(step, _Measured())
        return (same.spent_s + weight * of_all) / (same.planned_s + weight + 1e-9)

    def _overhead(self) -> float:
        """Time of the run so far over that of its steps."""
        now = self._clock()
        spent_s = sum(row.spent_s for row in self._measured.values())
        spent_s += sum(now - started for started in self._running.values()) + 2 * self._prior_s
        passed_s = self._n * (now - self._started) + 2 * self._prior_s
        return min(max(passed_s / (spent_s + 1e-9), 1.0), _LARGEST_OVERHEAD)
