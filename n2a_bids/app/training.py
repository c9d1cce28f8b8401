"""Level ``n2a ... train``: prepares repetitions of all participants, trains one network on them."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from n2a_bids.app.log import participant_lock, training_lock
from n2a_bids.app.messages import warn
from n2a_bids.app.selection_doubts import options_without_training, unknown_exclusions
from n2a_bids.app.work import ParticipantWork, find_work, provide_named_templates
from n2a_bids.app.work_dir import forget_moved_steps, top_name, work_dir_of
from n2a_bids.config import Config, TrainConfig
from n2a_bids.config.options import declared_fields
from n2a_bids.dataset.names import name_field
from n2a_bids.dataset.read.layout import read_description, select_participants
from n2a_bids.dataset.units import Collection, DenoisingUnit
from n2a_bids.dataset.write.description import write_dataset_files
from n2a_bids.dataset.write.folder_checks import check_output_dir
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.reports.records.crashes import find_crashes
from n2a_bids.system.child import child_environment, raise_if_killed
from n2a_bids.system.environment import brief_environment, prepare_environment
from n2a_bids.system.signals import Interruption
from n2a_bids.training.groups import (
    AlignedGroup,
    Split,
    copies,
    describe_split,
    network_of,
    read_groups,
    split_subjects,
    tell_apart,
    write_groups,
)

_KINDS = ("anat-repeats", "anat-single", "micr-repeats", "micr-frames")
"""Groups of one contrast, for which a network ships."""
_NO_NETWORK = {
    "anat-echoes": "echoes are denoised jointly by the network of one contrast, which repetitions train",
    "dwi": "diffusion series are denoised by filters that are learned from each series, so that there is no "
    "network to train for them (docs/training.md)",
}
"""Kind of group, or how it begins -> why no network is trained for it."""


def run_training(config: Config, interruption: Interruption) -> int:
    """Prepare every group as the participant level does, in its work directory, and train.

    Parameters
    ----------
    config : Config
        The run.
    interruption : Interruption
        Signals that arrive.

    Returns
    -------
    status : int
        0; 1 where the result is not better than the shipped weights, or training failed. Groups that could
        not be prepared are named and left out.

    Raises
    ------
    BIDSDataError
        If there is nothing to train on, or too few participants.
    ConfigError
        If the images are of several contrasts, a folder cannot be written, or another training is at work
        in the work directory.
    Interrupted, KeyboardInterrupt
        After a signal: what is done is kept.
    """
    read_description(config.bids_dir)
    select_participants(config.bids_dir, config.selection)
    for sentence in unknown_exclusions(config) + options_without_training(config):
        warn(sentence)
    check_output_dir(config.bids_dir, config.output_dir)
    if config.stage == "dry-run":
        with brief_environment(config):
            _list(config)
        return 0
    prepare_environment(config)
    with training_lock(config):
        return _prepare_and_train(config, interruption)


def _prepare_and_train(config: Config, interruption: Interruption) -> int:
    provide_named_templates(config)
    units, reasons = _without_copies(_units(find_work(config, config.selection, "auto")))
    for name, reason in reasons.items():
        warn(f"{name}: {reason}; not trained on")
    _split(_planned(units), config)
    groups = _prepare(units, config, interruption)
    _split(groups, config)
    for problem in write_dataset_files(
        config.output_dir, config.bids_dir, config.derivatives, work_dir=config.work_dir
    ):
        warn(problem)
    return _train(groups, config)


def _list(config: Config) -> None:
    found = find_work(config, config.selection, "auto")
    units, reasons = _without_copies(_units(found))
    groups = tell_apart(_planned(units), config.train)
    split = _split(groups, config)
    sys.stdout.write(describe_split(groups, split) + "\n")
    for name, reason in reasons.items():
        sys.stdout.write(f"{name}: not trained on: {reason}\n")
    for unit in found.units:
        if unit.kind not in _KINDS:
            sys.stdout.write(f"{unit.label}: not trained on: {_why_not(unit)}\n")


def _split(groups: Sequence[AlignedGroup], config: Config) -> Split:
    """Who is for what, as `n2a-tools train` will find it; an error where they are too few."""
    return split_subjects(tell_apart(groups, config.train), config.train, config.denoise.random_seed)


def _why_not(unit: DenoisingUnit) -> str:
    return next(reason for kind, reason in _NO_NETWORK.items() if unit.kind.startswith(kind))


def _units(found: Collection) -> list[DenoisingUnit]:
    """Groups to learn from.

    Raises
    ------
    BIDSDataError
        If there are none.
    ConfigError
        If they are of several contrasts.
    """
    units = [unit for unit in found.units if unit.kind in _KINDS]
    if not units:
        others = dict.fromkeys(f"{unit.kind} ({_why_not(unit)})" for unit in found.units)
        raise BIDSDataError(
            "expected repetitions of T1w images (or another anatomical contrast), or exposures of a "
            f"microscope, to train on, found {', '.join(others) or 'nothing that is repeated'}; --dry-run of "
            "the participant level tells more"
        )
    suffixes = sorted({unit.suffix for unit in units})
    if len(suffixes) > 1:
        raise ConfigError(
            f"expected images of one contrast, or of one kind of microscope, since one network is trained; "
            f"found {', '.join(suffixes)}; choose one by --modalities or --bids-filter-file"
        )
    return units


def _without_copies(units: Sequence[DenoisingUnit]) -> tuple[list[DenoisingUnit], dict[str, str]]:
    """Groups without those that hold a file of another subject, and why by their labels."""
    reasons = copies(_planned(units))
    return [unit for unit in units if unit.label not in reasons], reasons


def _planned(units: Sequence[DenoisingUnit]) -> list[AlignedGroup]:
    """Groups before they are aligned."""
    return [
        AlignedGroup(
            subject=unit.entities["sub"],
            name=unit.label,
            runs=tuple(image.path for image in unit.images),
            mask=None,
            micrograph=unit.datatype == "micr",
            field_of_view=name_field(unit.entities) if unit.datatype == "micr" else "",
        )
        for unit in units
    ]


def _prepare(
    units: Sequence[DenoisingUnit], config: Config, interruption: Interruption
) -> list[AlignedGroup]:
    """Check, mask and align every group; what fails is named and left out."""
    # Imported late: listing a dataset needs no nipype.
    from n2a_bids.app.batch import batches
    from n2a_bids.app.damaged_images import with_sound_images
    from n2a_bids.app.nipype_settings import configure_nipype

    configure_nipype(config.debug)
    outputs = dataclasses.replace(config.outputs, complex_output=False)
    config = dataclasses.replace(config, outputs=outputs)
    labels = sorted({unit.entities["sub"] for unit in units})
    collection = Collection(tuple(units), ())
    work = [ParticipantWork.of(label, collection) for label in labels]
    groups = []
    for planned in batches(work, config.resources):
        checked = with_sound_images(planned, config)
        with ExitStack() as locks:
            batch = [item for item in checked if _begin(item, config, locks)]
            reason = _align(batch, config, interruption)
            groups += [group for item in batch for group in _aligned(item, config, reason)]
    return groups


def _begin(item: ParticipantWork, config: Config, locks: ExitStack) -> bool:
    """Keep other runs off a participant, and forget which files an earlier run aligned."""
    try:
        locks.enter_context(participant_lock(item.label, config))
    except ConfigError as error:
        warn(f"{error}; not trained on")
        return False
    forget_moved_steps(item.label, config)
    for unit in item.units:
        _group_file(item, unit, config).unlink(missing_ok=True)
    return True


def _group_file(item: ParticipantWork, unit: DenoisingUnit, config: Config) -> Path:
    from n2a_bids.interfaces.training_group import GROUP_FILE

    return work_dir_of(item.label, config) / unit.workflow_name / "aligned" / GROUP_FILE


def _align(batch: Sequence[ParticipantWork], config: Config, interruption: Interruption) -> str:
    """Run the steps before the denoising; returns what went wrong first, if anything did."""
    from nipype import Workflow

    from n2a_bids.app.execution import leave_crashes_in, run_to_the_end
    from n2a_bids.workflows.anat.unit import init_aligned_anat_wf
    from n2a_bids.workflows.micr import init_aligned_micr_wf

    workflow = Workflow(top_name(), base_dir=str(config.work_dir))
    for item in batch:
        if item.units:
            one = Workflow(work_dir_of(item.label, config).name)
            units = [unit for unit in item.units if unit.kind in _KINDS]
            settings = item.settings(config)
            made = {"anat": init_aligned_anat_wf, "micr": init_aligned_micr_wf}
            one.add_nodes([made[unit.datatype](unit, settings) for unit in units])
            workflow.add_nodes([one])
    leave_crashes_in(workflow, _crash_folder(config))
    return run_to_the_end(workflow, config, interruption) if workflow.list_node_names() else ""


def _aligned(item: ParticipantWork, config: Config, reason: str) -> list[AlignedGroup]:
    """Groups of a participant whose alignment is there; the others are named with what their steps said."""
    for image in item.excluded:
        warn(f"{image.path.name}: {image.reason}; not trained on")
    groups = []
    for unit in item.units:
        path = _group_file(item, unit, config)
        if path.is_file():
            groups += read_groups(path)
            continue
        crashes = find_crashes(_crash_folder(config))
        said = [crash.sentence for crash in crashes if unit.workflow_name in crash.step]
        warn(
            f"{unit.label} could not be aligned, and is not trained on: {'; '.join(said) or reason}; crash "
            f"files are in {_crash_folder(config)}"
        )
    return groups


def _train(groups: Sequence[AlignedGroup], config: Config) -> int:
    """Run ``n2a-tools train`` in a process of its own, which torch and CUDA end with."""
    folder, resources = _folder(config), config.resources
    command = [
        *(sys.executable, "-m", "n2a_bids.cli.tools", "train"),
        *("--groups", str(write_groups(groups, folder / "groups.json"))),
        *("--out", str(config.train.out_dir or config.output_dir / "weights")),
        *("--checkpoint", str(folder / f"{network_of(groups)}.pt")),
        *("--random-seed", str(config.denoise.random_seed), "--device", config.denoise.device),
        *("--omp-nthreads", str(resources.omp_nthreads), *_option_words(config.train)),
    ]
    hide = config.denoise.device == "cpu"
    environment = {**os.environ, **child_environment(resources.omp_nthreads, hide_gpu=hide)}
    status = subprocess.run(command, env=environment, check=False).returncode
    raise_if_killed("the training process", status)
    return status


def _option_words(settings: TrainConfig) -> list[str]:
    """Settings as options: ``n2a-tools train`` spells them as ``n2a`` does."""
    words = []
    for declared in declared_fields(TrainConfig):
        value = getattr(settings, declared.name)
        if value:
            words += [declared.flags[0]] if value is True else [declared.flags[0], str(value)]
    return words


def _folder(config: Config) -> Path:
    folder = config.work_dir / top_name() / "train"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _crash_folder(config: Config) -> Path:
    """Crash files of this run alone."""
    return _folder(config) / config.run_uuid
