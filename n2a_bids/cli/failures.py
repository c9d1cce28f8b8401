"""Turns an error that breaks a command off into its message and exit code (those of `n2a_bids.errors`)."""

from __future__ import annotations

import sys
import textwrap
import traceback
from collections.abc import Callable
from contextlib import suppress

from n2a_bids.errors import (
    CTRL_C,
    FAILED,
    NOTHING_TO_DO,
    OUT_OF_MEMORY,
    PACKAGE_MISSING,
    STOPPED,
    WRONG_OPTION,
    BIDSDataError,
    ConfigError,
    DenoisingError,
    Interrupted,
)

_STATUS = {
    ConfigError: WRONG_OPTION,
    BIDSDataError: NOTHING_TO_DO,
    DenoisingError: FAILED,
    OSError: FAILED,
    MemoryError: FAILED,
    ModuleNotFoundError: PACKAGE_MISSING,
    Interrupted: STOPPED,
    KeyboardInterrupt: CTRL_C,
}
_HINTS = {
    PACKAGE_MISSING: "a Python package is missing: install n2a-bids again",
    CTRL_C: "stopped by Ctrl-C",
}
_RESUMES = "what is done is kept, and the same command resumes"


def status_of(
    program: str, run: Callable[[], int], *, show_traceback: bool = False, resumes: bool = True
) -> int:
    """Run a command and turn whatever it raises into its exit code.

    Parameters
    ----------
    program : str
        Name that stands before the message on standard error.
    run : callable
        The command; returns its exit code.
    show_traceback : bool
        Also print where the error comes from.
    resumes : bool
        Whether the same command goes on where it was stopped.

    Returns
    -------
    status : int
        0 to 130, see ``n2a --help``.
    """
    _show_any_text()
    try:
        return run()
    except (*_STATUS, Exception) as error:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), FAILED)
        if status == CTRL_C:
            _forget_interrupted_exec()
        if status == PACKAGE_MISSING and (error.name or "").startswith("n2a_bids"):
            status = FAILED
        if show_traceback:
            traceback.print_exc()
        expected = isinstance(error, tuple(_STATUS))
        message = (
            str(error) if expected else f"unexpected {type(error).__name__}: {error} (--debug shows where)"
        )
        if isinstance(error, MemoryError) and OUT_OF_MEMORY not in message:
            message = ": ".join(filter(None, (message, OUT_OF_MEMORY)))
        told = ": ".join(filter(None, (message, _HINTS.get(status, ""))))
        going_on = _RESUMES if resumes and status in (STOPPED, CTRL_C) else ""
        paragraph = " ".join(f"{program}: error: {'; '.join(filter(None, (told, going_on)))}".split())
        if sys.stderr.isatty():
            # Logs and crash files keep it in one line, where it can be searched.
            paragraph = textwrap.fill(paragraph, 100, break_long_words=False, break_on_hyphens=False)
        # After SIGHUP there is often no terminal left to write to; the exit code stays what it is.
        with suppress(OSError):
            print(paragraph, file=sys.stderr)
        return status


def _forget_interrupted_exec() -> None:
    """Let the exit code stand where Ctrl-C struck within exec(), as while a library makes a named tuple.

    ``python -m`` then ends itself by SIGINT in place of the code, although the interruption was caught; it
    remembers the last text that was executed alone.
    """
    exec("")


def _show_any_text() -> None:
    """Let the terminal escape what it cannot show: names of files may hold any bytes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
