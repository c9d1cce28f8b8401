"""The work of one participant: its groups of images, work directory, crash messages and outcome."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from n2a_bids import __version__
from n2a_bids.app.outcomes import Outcome
from n2a_bids.config import Config, SelectionConfig
from n2a_bids.dataset.collect import collect, leave_out_unsuitable
from n2a_bids.dataset.grouping.dwi_b0 import leave_distortion
from n2a_bids.dataset.read.files import listed_in_bidsignore
from n2a_bids.dataset.read.filters import unknown_queries
from n2a_bids.dataset.read.image_memory import leave_out_too_large
from n2a_bids.dataset.templates.archive import provide_templates
from n2a_bids.dataset.templates.regions import asked_of_templateflow
from n2a_bids.dataset.units import Collection, DenoisingUnit, Excluded
from n2a_bids.errors import OUT_OF_MEMORY, BIDSDataError, ConfigError, DenoisingError
from n2a_bids.io.printable import printable
from n2a_bids.reports.records.crashes import find_crashes

_MEANT = re.compile(r"sub(?:[-_ ]\w.*|\d\w*)", re.IGNORECASE)
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
        done = [f"{unit.label}: {_counted_images(unit)}" for unit in self.units]
        return Outcome(self.label, "denoised", (*done, *remarks, *notes))


def _counted_images(unit: DenoisingUnit) -> str:
    """How many images went in."""
    return f"{len(unit.images)} image{'' if len(unit.images) == 1 else 's'}"


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


def crash_sentences(folder: Path) -> list[str]:
    """What went wrong in the steps of a run, by its crash files: ``sub-<label>/log/<run_uuid>``."""
    return [crash.sentence for crash in find_crashes(folder)]


def top_name() -> str:
    """Name of the workflow above all participants: with the version, so that no other one resumes in it."""
    return re.sub(r"\W", "_", f"n2a_{__version__}")


def work_dir_of(label: str, config: Config) -> Path:
    """Intermediate files of a participant."""
    return config.work_dir / top_name() / re.sub(r"\W", "_", f"sub_{label}")


def forget_moved_steps(label: str, config: Config) -> None:
    """Delete the steps of a participant that were done while the work directory had another path.

    Their results name files there, which may be gone, or change under our eyes: a copy would read what its
    original writes. The path is kept beside them; links make no difference, for nipype resolves them.
    """
    folder = Path(os.path.realpath(work_dir_of(label, config)))
    note = folder.with_name(f"{folder.name}.path")
    earlier = ""
    with suppress(FileNotFoundError):
        earlier = note.read_text(encoding="utf-8", errors="surrogateescape")
    if earlier != str(folder) and folder.is_dir():
        was = printable(earlier) or "another folder, or before this was noted"
        warn(f"sub-{label}: its steps were done when {folder} was {was}; they are done again")
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(str(folder), encoding="utf-8", errors="surrogateescape")


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


def selection_doubts(config: Config, collection: Collection) -> list[str]:
    """Say what of the selection may not be meant as it is taken: one sentence each.

    Parameters
    ----------
    collection : Collection
        What was found by it.
    """
    told = unknown_exclusions(config) + unknown_queries(config.selection.bids_filters)
    files = [path for unit in collection.units for image in unit.images for path in image.files]
    hidden = [path.name for path in listed_in_bidsignore(config.bids_dir, files)]
    if hidden:
        told.append(
            f".bidsignore, which is for validators, leaves nothing out here: {', '.join(hidden[:3])}"
            f"{f' and {len(hidden) - 3} more' if len(hidden) > 3 else ''} will be denoised; to leave images "
            "out, give --run-id or --bids-filter-file"
        )
    odd = [] if config.selection.participants else _like_participants(config.bids_dir)
    if odd:
        told.append(
            f"{', '.join(odd[:3])}{' and others' if len(odd) > 3 else ''} in {config.bids_dir}: participants "
            "are folders named sub-<label>, in small letters; these are not looked at"
        )
    return told


def _like_participants(bids_dir: Path) -> list[str]:
    """Folders that seem to be meant as participants, but are not named so."""
    return sorted(
        printable(path.name)
        for path in bids_dir.iterdir()
        if _MEANT.fullmatch(path.name) and not path.name.startswith("sub-") and path.is_dir()
    )


def unknown_exclusions(config: Config) -> list[str]:
    """Say which participants are to be left out but are not there: a mistyped label leaves nobody out."""
    labels = [f"sub-{label.removeprefix('sub-')}" for label in config.selection.exclude_participants]
    absent = [label for label in labels if not (config.bids_dir / label).is_dir()]
    if not absent:
        return []
    return [
        f"--exclude-participant-label leaves nobody out by {', '.join(absent)}: found no such folder in "
        f"{config.bids_dir}; correct the label if it is mistyped"
    ]


def find_work(config: Config, selection: SelectionConfig, strategy: str) -> Collection:
    """Groups that a strategy can take and that fit into memory, and all other images with the reason."""
    found = leave_out_too_large(collect(config.bids_dir, selection), selection, config.resources.memory_gb)
    suited = leave_out_unsuitable(found, strategy)
    if config.outputs.raw_like_dir is None:
        return suited
    return dataclasses.replace(suited, units=tuple(leave_distortion(unit) for unit in suited.units))


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
