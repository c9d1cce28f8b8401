"""Handles signals (SIGTERM, SIGHUP) that ask a run to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from n2a_bids.errors import Interrupted

_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interruption:
    """A signal that asks the run to stop.

    An exception from a signal handler is not enough: nipype takes whatever is raised inside an interface,
    Ctrl-C too, for a failure of that step and goes on with the next.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __call__(self, signal_number: int, frame: object) -> None:
        """Signal handler."""
        # A second signal must not break the cleaning up of the first.
        for one in _NUMBERS:
            signal.signal(one, signal.SIG_IGN)
        is_keyboard = signal_number == signal.SIGINT
        name = signal.Signals(signal_number).name
        self.error = KeyboardInterrupt() if is_keyboard else Interrupted(f"stopped by {name}")
        raise self.error

    def check(self) -> None:
        """Raise again what a signal has raised before."""
        if self.error is not None:
            raise self.error


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Listen to SIGTERM, SIGHUP and Ctrl-C while the block runs; only the main thread can."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    # Under nohup a lost terminal does not matter.
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    previous = {one: signal.signal(one, interruption) for one in _NUMBERS if one not in ignored}
    try:
        yield interruption
    finally:
        for signal_number, handler in previous.items():
            signal.signal(signal_number, handler)
