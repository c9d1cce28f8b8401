"""Configuration of nipype (its config file's values), in the main process and in workers."""

from __future__ import annotations

import logging
import re
import sys

from nipype import config as nipype_config
from nipype import logging as nipype_logging

from n2a_bids.config import DebugConfig

Settings = dict[str, dict[str, str]]

_STAMP = re.compile(r"^(stdout|stderr) [\d-]+T[\d:.]+:")
_CLOCK = "%H:%M:%S"
_SAID_ELSEWHERE = re.compile(
    r"Storing result file without outputs|\[Node\] Error on|could not run node|Node \S+ failed to run on host"
    # Of a finished step whose files are gone, which runs again; nothing is wrong with nipype.
    r"|No metadata was found in the pkl file"
)


def configure_nipype(debug: DebugConfig) -> None:
    """Set nipype up for this process: quiet, on standard error, offline, hashing contents.

    Contents rather than times are hashed, so that a copied or freshly mounted dataset does not make a
    resumed run start over.
    """
    level = {0: "WARNING", 1: "INFO"}.get(debug.verbosity, "DEBUG")
    apply_settings(
        {
            "logging": {
                "workflow_level": level,
                "utils_level": level,
                # The denoiser tells its progress through this logger.
                "interface_level": "INFO" if level == "WARNING" else level,
                "log_to_file": "false",
            },
            "execution": {
                "hash_method": "content",
                "crashfile_format": debug.crashfile_format,
                "stop_on_first_crash": str(debug.stop_on_first_crash).lower(),
                "remove_unnecessary_outputs": "false",
                "create_report": "false",
                "check_version": "false",
                "poll_sleep_duration": "0.2",
            },
        }
    )
    if debug.resource_monitor:
        nipype_config.enable_resource_monitor()


def current_settings() -> Settings:
    """What a worker needs to be set up like this process."""
    return {name: dict(nipype_config._sections[name]) for name in ("logging", "execution")}


def apply_settings(settings: Settings) -> None:
    """Set nipype up for this process, with the logger that goes with it."""
    nipype_config.update_config(settings)
    nipype_logging.update_logging(nipype_config)
    # Standard output is for the table of outcomes.
    handler = _StandardError()
    handler.addFilter(_tidy)
    handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s", _CLOCK))
    logging.getLogger("nipype").handlers[:] = [handler]


class _StandardError(logging.StreamHandler):
    """Writes to what is standard error at the time, not when it was made."""

    @property
    def stream(self):
        return sys.stderr

    @stream.setter
    def stream(self, value) -> None:
        pass


def _tidy(record: logging.LogRecord) -> bool:
    """Shorten what nipype logs.

    The stamp goes from a line that a child wrote, which has a time of its own. A traceback stays in the crash
    file and out of the terminal, unless the user asked for more words. That a step failed is said once, by
    `StepReporter`.
    """
    if not isinstance(record.msg, str):
        return True
    record.msg = _STAMP.sub("", record.msg)
    quiet = logging.getLogger("nipype.workflow").level >= logging.WARNING
    if quiet and _SAID_ELSEWHERE.match(record.getMessage()):
        return False
    if quiet and record.msg.startswith("Saving crash info") and record.args:
        record.msg, record.args = "Details in %s", record.args[:1]
    return True
