"""Base classes of nodes: a step whose files are gone from the work directory runs again."""

from __future__ import annotations

from typing import Any

from nipype.interfaces.base import SimpleInterface


class Resumable:
    """Lets nipype run a finished step again whose files are not there any more.

    Scratch disks are cleared of old files, and steps that pass images on name those of the dataset, which
    another job may find elsewhere. nipype then asks which files the step would have written. An interface
    in Python, which has not run, names none: nipype takes that for its outputs, and the next steps find
    nothing.
    """

    def aggregate_outputs(self, runtime: Any = None, needed_outputs: Any = None) -> Any:
        """Outputs of a run that has just ended, that nipype hands over: of an earlier one none are known."""
        if runtime is None:
            raise FileNotFoundError("the files of this step are gone")
        return super().aggregate_outputs(runtime, needed_outputs)


class ResumableInterface(Resumable, SimpleInterface):
    """An interface in Python: its outputs are set in ``_results``."""
