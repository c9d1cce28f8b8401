"""Node that writes results into the output folder under their BIDS names, each file whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    DynamicTraitedSpec,
    File,
    TraitedSpec,
    Undefined,
    isdefined,
    traits,
)

from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.files import copied_whole, write_whole
from n2a_bids.io.json import sidecar_path, sidecar_text
from n2a_bids.record.typed_json import JsonObject


class _WriteDerivativesInputSpec(DynamicTraitedSpec, StepInputSpec):
    targets = traits.Dict(
        traits.Str(), traits.List(traits.Str()), mandatory=True, desc="for each name, where its files go"
    )
    indices = traits.List(traits.Int(), desc="of the files of each name those that are there; all by default")
    gone = traits.List(
        traits.Int(),
        desc="of the files of each name those that this run does not have, but an earlier one may: deleted",
    )
    no_others = traits.Bool(
        False, usedefault=True, desc="delete the files of each name that this run does not have, by indices"
    )
    superseded = traits.List(traits.Str(), desc="files of earlier runs that these replace, deleted if there")


class _WriteDerivativesOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="what was written")


class WriteDerivatives(ResumableInterface):
    """Copy files to the output dataset: each appears whole or not at all, with its sidecar.

    Every name of `targets` becomes two inputs: ``<name>`` takes its file or files, and ``<name>_sidecar``
    what stands in the JSON beside each of them, if anything.
    """

    input_spec = _WriteDerivativesInputSpec
    output_spec = _WriteDerivativesOutputSpec
    # The output folder may have been emptied since the work folder was filled.
    _always_run = True

    def __init__(self, targets: Mapping[str, Path | Sequence[Path]], **inputs: Any):
        # Inputs go to nipype, which refuses names that it does not know.
        super().__init__(targets={name: _as_list(paths) for name, paths in targets.items()})
        for name in targets:
            self.inputs.add_trait(name, traits.Any())
            self.inputs.add_trait(f"{name}_sidecar", traits.Any())
            self.inputs.trait_setq(**{name: Undefined, f"{name}_sidecar": Undefined})
        self.inputs.trait_set(**inputs)

    def _run_interface(self, runtime):
        written = []
        for source, target, sidecar in self._files():
            with copied_whole(Path(source), Path(target)):
                if sidecar:
                    write_whole(sidecar_path(Path(target)), sidecar_text(sidecar) + "\n")
            written.append(target)
        for path in (*_listed(self.inputs.superseded), *self._gone()):
            Path(path).unlink(missing_ok=True)
        self._results["out_files"] = written
        return runtime

    def _gone(self) -> Iterator[Path]:
        """Files and sidecars of repetitions of which there is none now."""
        for targets in self.inputs.targets.values():
            gone = _listed(self.inputs.gone)
            if self.inputs.no_others:
                gone = [index for index in range(len(targets)) if index not in self.inputs.indices]
            for path in (Path(targets[index]) for index in gone):
                yield from (path, sidecar_path(path))

    def _files(self) -> Iterator[tuple[str, str, JsonObject]]:
        """Source, target and sidecar of each file."""
        for name, targets in self.inputs.targets.items():
            if isdefined(self.inputs.indices):
                targets = [targets[index] for index in self.inputs.indices]
            sources = _listed(getattr(self.inputs, name))
            sidecars = _listed(getattr(self.inputs, f"{name}_sidecar")) or [{}] * len(targets)
            yield from zip(sources, targets, sidecars, strict=True)


def _listed(value: Any) -> list[Any]:
    """One value or several as a list: nipype forgets the types of added inputs when it copies a node."""
    if not isdefined(value):
        return []
    return value if isinstance(value, list) else [value]


def _as_list(paths: Path | Sequence[Path]) -> list[str]:
    return [os.fspath(path) for path in ([paths] if isinstance(paths, Path) else paths)]


class _SelectInputSpec(StepInputSpec):
    values = traits.List(traits.Str(), mandatory=True, desc="one value per repetition")
    indices = traits.List(traits.Int(), mandatory=True, desc="which to keep")


class _SelectOutputSpec(TraitedSpec):
    out = traits.List(traits.Str(), desc="the values at these indices")


class SelectByIndex(ResumableInterface):
    """Values of those repetitions that are still there; none is a valid answer."""

    input_spec = _SelectInputSpec
    output_spec = _SelectOutputSpec

    def _run_interface(self, runtime):
        self._results["out"] = [os.fspath(self.inputs.values[index]) for index in self.inputs.indices]
        return runtime
