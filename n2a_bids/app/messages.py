"""Messages of a run on standard error: warnings, what an error says, tracebacks for those who ask."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from n2a_bids.config import Config
from n2a_bids.errors import OUT_OF_MEMORY, BIDSDataError, ConfigError, DenoisingError
from n2a_bids.reports.records.crashes import find_crashes


def crash_sentences(folder: Path) -> list[str]:
    """What went wrong in the steps of a run, by its crash files: ``sub-<label>/log/<run_uuid>``."""
    return [crash.sentence for crash in find_crashes(folder)]


def explain(config: Config) -> None:
    """Full traceback of the error at hand for those who ask; the debugger too."""
    if config.debug.show_traceback or config.debug.verbosity:
        traceback.print_exc()
    if config.debug.pdb and sys.stdin.isatty():
        import pdb

        pdb.post_mortem()


def error_sentence(error: Exception) -> str:
    """What an error says, with its kind where it is none of ours."""
    if isinstance(error, BIDSDataError | ConfigError | DenoisingError):
        return str(error)
    said = str(error) or (OUT_OF_MEMORY if isinstance(error, MemoryError) else "no message")
    return f"{type(error).__name__}: {said}"


def warn(message: str) -> None:
    """Tell on standard error what a person should know although the run goes on."""
    sys.stderr.write(f"n2a: warning: {message}\n")
