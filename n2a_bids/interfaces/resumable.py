"""Base classes of nodes: a step whose files are gone, or have other names, runs again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, traits


class HashedNames:
    """Makes the names of files a part of what a step depends on, beside what they contain.

    Records and warnings name the images that they speak of. nipype knows a file by its content alone, and
    would tell of ``run-2`` what has been named ``run-3`` since. Folders do not count: a dataset may be moved.
    """

    def _get_sorteddict(self, objekt: Any, dictwithhash: bool = False, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_sorteddict(objekt, dictwithhash, *args, **kwargs)
        # The list that nipype keeps beside the results has whole paths already. Of a string that is no file,
        # nipype gives back the string itself.
        is_file = isinstance(objekt, str) and not dictwithhash and found is not objekt
        return (Path(objekt).name, found) if is_file else found


class StepInputSpec(HashedNames, BaseInterfaceInputSpec):
    """Inputs of a step: it runs again where the content or the name of a file has changed."""

    interface = traits.Str(desc="class of the step, by which nipype tells it from another; not to be given")


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
    """An interface in Python: its outputs are set in ``_results``.

    Its name is one of its inputs. Two methods for one thing have nodes of one name and may have equal inputs,
    of which alone nipype would think that the other method had run already.
    """

    input_spec = StepInputSpec

    def __init__(self, *args: Any, **inputs: Any):
        super().__init__(*args, **inputs)
        self.inputs.interface = type(self).__name__
