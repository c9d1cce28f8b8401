"""The work of one participant: its groups of images and how they ended; what is needed before and after."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from n2a_bids.app.messages import explain, warn
from n2a_bids.app.outcomes import Outcome
from n2a_bids.config import Config, SelectionConfig
from n2a_bids.dataset.collect import collect, leave_out_unsuitable
from n2a_bids.dataset.grouping.dwi_b0 import leave_distortion
from n2a_bids.dataset.memory_limit import leave_out_too_large
from n2a_bids.dataset.templates.archive import provide_templates
from n2a_bids.dataset.templates.regions import asked_of_templateflow
from n2a_bids.dataset.units import Collection, DenoisingUnit, Excluded
from n2a_bids.enumeration import counted
from n2a_bids.errors import ConfigError
from n2a_bids.io.printable import printable
from n2a_bids.strategy_table import find_strategy

_NOTHING_PLANNED: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ParticipantWork:
    """Groups to denoise and images left out, of one participant."""

    label: str
    """Without ``sub-``."""
    units: tuple[DenoisingUnit, ...]
    excluded: tuple[Excluded, ...]
    checked: bool = False
    """Every voxel of the images has been looked at."""

    @classmethod
    def of(cls, label: str, collection: Collection) -> ParticipantWork:
        """Pick one participant out of everything found."""
        return cls(
            label,
            tuple(unit for unit in collection.units if unit.entities["sub"] == label),
            tuple(item for item in collection.excluded if label_of(item.path) == label),
        )

    @property
    def looked_at(self) -> list[Path]:
        """Every file that was looked at, whatever became of it."""
        images = [image for unit in self.units for image in (*unit.images, unit.reversed_b0, unit.companion)]
        files = [path for image in images if image is not None for path in image.files]
        return list(dict.fromkeys([*files, *(item.path for item in self.excluded)]))

    def settings(self, config: Config) -> Config:
        """Those of its workflow, whose first steps need not read voxels again that have been looked at."""
        if not self.checked:
            return config
        return replace(config, selection=replace(config.selection, skip_validation=True))

    def outcome(self, failures: Sequence[str], remarks: Sequence[str] = ()) -> Outcome:
        """How it ended: a broken file among the images left out is a failure, too.

        Parameters
        ----------
        failures : sequence of str
            What went wrong while running, one sentence each.
        remarks : sequence of str
            What to know about results that are there, one sentence each.
        """
        notes = [f"{printable(item.path.name)}: {item.reason}" for item in self.excluded]
        faults = [note for note, item in zip(notes, self.excluded) if item.is_error]
        if failures or faults:
            return Outcome(self.label, "failed", tuple(dict.fromkeys([*failures, *faults, *notes])))
        if not self.units:
            has_images = any(item.is_selected for item in self.excluded)
            return Outcome(self.label, "nothing to do" if has_images else "nothing found", tuple(notes))
        done = [f"{unit.label}: {counted(len(unit.images), 'image')}" for unit in self.units]
        return Outcome(self.label, "denoised", (*done, *remarks, *notes))


def label_of(path: Path) -> str:
    """Participant of an image, by the folder that it is in, or of that folder.

    Examples
    --------
    >>> label_of(Path("/data/sub-x/bids/sub-01/anat/sub-01_T1w.nii.gz"))
    '01'
    >>> label_of(Path("/data/sub-x/bids/sub-01_copy"))
    '01_copy'
    """
    folder = path.parent if path.parent.name in ("anat", "dwi", "micr") else path
    folders = (part for part in reversed(folder.parts) if part.startswith("sub-"))
    return next(folders, "sub-").removeprefix("sub-")


def find_work(config: Config, selection: SelectionConfig, strategy: str) -> Collection:
    """Groups that a strategy can take and that fit into memory, and all other images with the reason."""
    found = leave_out_too_large(collect(config.bids_dir, selection), selection, config.resources.memory_gb)
    suited = leave_out_unsuitable(found, strategy)
    if config.outputs.raw_like_dir is None:
        return suited
    return dataclasses.replace(suited, units=tuple(leave_distortion(unit) for unit in suited.units))


def missing_weights(config: Config, units: Sequence[DenoisingUnit]) -> list[str]:
    """Say which groups will fail, since ``--weights-dir`` lacks what their strategy starts from.

    Returns
    -------
    told : list of str
        A sentence for each kind of image.

    Raises
    ------
    ConfigError
        If it holds nothing for any of the groups, so that all would fail after their alignment.
    """
    folder = config.denoise.weights_dir
    if folder is None or not units or config.stage not in ("run", "dry-run"):
        return []
    told, datatypes = [], dict.fromkeys(unit.datatype for unit in units)
    for datatype in datatypes:
        needed = find_strategy(config.denoise.strategy, datatype).weights_of(config.denoise.recipe)[:1]
        label = next(unit.label for unit in units if unit.datatype == datatype)
        told += [
            f"{folder}: expected {name}.safetensors in --weights-dir (or N2A_WEIGHTS_DIR) for {label} and "
            "others like it, found none; take the folder of weights for these images, or leave them out with "
            "--modalities"
            for name in needed
            if not (folder / f"{name}.safetensors").is_file()
        ]
    if len(told) == len(datatypes):
        raise ConfigError(told[0])
    return told


def provide_named_templates(config: Config) -> None:
    """Download what ``--mask-template`` and ``--regions`` name where the options allow it.

    It comes to where the steps look.

    Raises
    ------
    ConfigError
        If it cannot be fetched.
    """
    regions = config.outputs.regions
    if regions:
        regions = asked_of_templateflow(regions, config.outputs.regions_template)
    if config.mask.templateflow_download and (config.mask.template or regions):
        home = provide_templates(config.mask.template, regions, config.work_dir / "cache" / "templateflow")
        os.environ["TEMPLATEFLOW_HOME"] = str(home)


def write_methods_text(
    config: Config, labels: Sequence[str], planned: Mapping[str, str] = _NOTHING_PLANNED
) -> None:
    """Tell in ``logs/CITATION.*`` what was done to the given participants.

    Parameters
    ----------
    config : Config
        The run.
    labels : sequence of str
        Participants without ``sub-``.
    planned : mapping of str to str
        By suffix, what a run that has not begun will do.
    """
    # Imported late: listing a dataset needs no reports.
    from n2a_bids.reports.methods.citation import write_citation

    try:
        files = write_citation(config.output_dir, labels, planned)
    except Exception as error:
        explain(config)
        warn(f"the methods text could not be written: {type(error).__name__}: {error}")
        return
    if config.outputs.md_only_boilerplate:
        for path in files:
            if path.suffix != ".md":
                path.unlink(missing_ok=True)
