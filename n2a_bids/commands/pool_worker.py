"""A process of the pool that runs the steps: its beginning, and its end."""

from __future__ import annotations

import multiprocessing
import os
import threading
from contextlib import suppress

import psutil

from n2a_bids.commands.nipype_settings import Settings, apply_settings


def start_worker(folder: str, settings: Settings) -> None:
    """Set a new process up: it knows nothing of the settings of nipype.

    Parameters
    ----------
    folder : str
        Current folder of the run.
    settings : dict
        Those of the run, see `n2a_bids.commands.nipype_settings.current_settings`.
    """
    os.chdir(folder)
    apply_settings(settings)
    threading.Thread(target=_end_with_the_run, daemon=True).start()


def _end_with_the_run() -> None:
    """End this process and all that it started when the run was killed.

    The death of a parent process would be no sign: that is the server that forks, which stays for as long
    as its workers do, and these would wait for work for ever.
    """
    run = multiprocessing.parent_process()
    if run is None:
        return
    run.join()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(1)
