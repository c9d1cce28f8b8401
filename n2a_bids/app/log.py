"""The log folder of a participant: settings and versions of each run, and the locks while it works."""

from __future__ import annotations

import fcntl
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from n2a_bids import __version__
from n2a_bids.config import Config
from n2a_bids.config.toml import format_settings
from n2a_bids.errors import ConfigError
from n2a_bids.io.files import write_whole
from n2a_bids.system.packages import package_version

_PACKAGES = ("torch", "numpy", "scipy", "nibabel", "nipype", "antspyx", "deepbet", "pybids")


def run_record(label: str, config: Config) -> Path:
    """Where the settings of this run go: ``sub-<label>/log/<run_uuid>/n2a.toml``."""
    return config.output_dir / f"sub-{label}" / "log" / config.run_uuid / "n2a.toml"


def write_log(label: str, config: Config) -> Path:
    """Write the settings of this run, with versions and machine, as TOML that ``--config-file`` takes."""
    environment = {
        "version": __version__,
        "command_line": shlex.join(sys.argv),
        "host": platform.node(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{f"version_{name}": package_version(name) or "absent" for name in _PACKAGES},
    }
    path = run_record(label, config)
    return write_whole(path, format_settings(config, environment))


def run_log(label: str, config: Config) -> Path:
    """Where the lines of this run about a participant go: ``sub-<label>/log/<run_uuid>/n2a.log``."""
    return run_record(label, config).with_name("n2a.log")


@contextmanager
def participant_lock(label: str, config: Config) -> Iterator[None]:
    """Keep a second process off the same participant in the same work directory.

    Raises
    ------
    ConfigError
        If another process holds it.
    """
    with _work_lock(f"sub-{label}", config.work_dir):
        yield


@contextmanager
def results_lock(label: str, config: Config) -> Iterator[None]:
    """Keep a second process off the results of a participant, whatever its work directory.

    Both would write under the same names, and a mean of the one could stand beside an image of the other.

    Raises
    ------
    ConfigError
        If another process holds it.
    """
    path = config.output_dir / f"sub-{label}" / "log" / "lock"
    refusal = (
        f"sub-{label}: another process is writing its results to {config.output_dir}; wait for its end, or "
        "give this run another output directory"
    )
    with _lock(path, refusal):
        try:
            yield
        finally:
            # While it is held: who has it open already looks whether it is there still.
            path.unlink(missing_ok=True)


@contextmanager
def training_lock(config: Config) -> Iterator[None]:
    """Keep a second training off the same work directory: both would write one list and one checkpoint.

    Raises
    ------
    ConfigError
        If another process trains there.
    """
    with _work_lock("training", config.work_dir):
        yield


@contextmanager
def _work_lock(name: str, work_dir: Path) -> Iterator[None]:
    refusal = (
        f"{name}: another process is working on it in {work_dir}; wait for its end, or give this run "
        "another work directory with -w"
    )
    with _lock(work_dir / "locks" / name, refusal):
        yield


@contextmanager
def _lock(path: Path, refusal: str) -> Iterator[None]:
    """A lock that goes with the process, however that ends. File systems without locks are trusted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(refusal) from error
            except OSError:
                pass
            if _is_file_of(path, stream):
                yield
                return


def _is_file_of(path: Path, stream: IO[str]) -> bool:
    """Whether an open file is there still: its holder may have deleted it meanwhile."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    return False
