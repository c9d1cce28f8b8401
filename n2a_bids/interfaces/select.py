"""A choice among values, made when the workflow runs."""

from __future__ import annotations

import os

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits


class _SelectInputSpec(BaseInterfaceInputSpec):
    values = traits.List(traits.Str(), mandatory=True, desc="one value per repetition")
    places = traits.List(traits.Int(), mandatory=True, desc="which to keep")


class _SelectOutputSpec(TraitedSpec):
    out = traits.List(traits.Str(), desc="the values at these places")


class SelectPlaces(SimpleInterface):
    """Values of those repetitions that are still there; none is a valid answer."""

    input_spec = _SelectInputSpec
    output_spec = _SelectOutputSpec

    def _run_interface(self, runtime):
        self._results["out"] = [os.fspath(self.inputs.values[place]) for place in self.inputs.places]
        return runtime
