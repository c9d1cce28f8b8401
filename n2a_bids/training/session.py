"""``n2a-tools train``: runs the whole training, from aligned repetitions to weights."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import distributed

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.dataset_training.batches import batches_of_groups
from n2a_bids.algorithms.dataset_training.evaluation import LEVELS, Evaluation, evaluate, mean_gain
from n2a_bids.algorithms.dataset_training.exposures import ExposureGroup
from n2a_bids.algorithms.dataset_training.groups import TrainingGroup
from n2a_bids.algorithms.dataset_training.steps import TrainingState, new_state, rank_of_process
from n2a_bids.algorithms.nn.weights import PretrainedWeights, build_network, place_network
from n2a_bids.dataset.write.folder_checks import check_writable
from n2a_bids.denoising.run import choose_device, free_device_memory_gb
from n2a_bids.errors import ConfigError, DenoisingError
from n2a_bids.io.files import content_digest
from n2a_bids.io.weights import load_weights
from n2a_bids.system.progress import ProgressReport
from n2a_bids.system.resources import available_cpus
from n2a_bids.training.card import TrainedNetwork, write_trained
from n2a_bids.training.course import (
    Course,
    LearningPace,
    check_same_epoch,
    fingerprint_of,
    load_course,
    run_course,
)
from n2a_bids.training.groups import (
    AlignedGroup,
    Split,
    describe_split,
    network_of,
    split_subjects,
    tell_apart,
)
from n2a_bids.training.loading import load_group
from n2a_bids.training.processes import train_together
from n2a_bids.training.request import TrainRequest, check_files, named_groups, with_blocks

_SHARE_OF_FREE_MEMORY = 0.5


def run_train(request: TrainRequest) -> None:
    """Train, test, and write weights that are better than the shipped ones.

    Raises
    ------
    ConfigError
        If files are named in a way that cannot be used, or the checkpoint is of another training.
    BIDSDataError
        If an image cannot be used, or there are too few subjects.
    DenoisingError
        If the trained network is not better than the shipped one: nothing is written.
    """
    groups = tell_apart(named_groups(request), request.train)
    request = replace(request, train=with_blocks(request.train, network_of(groups)))
    split = split_subjects(groups, request.train, request.random_seed)
    if request.dry_run:
        sys.stdout.write(describe_split(groups, split) + "\n")
        return
    check_files(groups)
    check_writable(request.out)
    if request.train.processes > 1 and "WORLD_SIZE" not in os.environ:
        train_together(partial(_train, request, groups, split), request.train.processes)
    else:
        _train(request, groups, split)


@contextmanager
def _together(request: TrainRequest) -> Iterator[torch.device]:
    """The device of this process, as one of those that ``torchrun`` has started, or alone."""
    torch.set_num_threads(request.omp_nthreads or min(available_cpus(), 8))
    device = choose_device(request.device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()


Group = TrainingGroup | ExposureGroup


@dataclass(frozen=True, slots=True)
class _Material:
    training: list[Group]
    validation: list[Group]
    test: list[Group]


def _train(request: TrainRequest, groups: list[AlignedGroup], split: Split) -> None:
    with _together(request) as device:
        _train_on(device, request, groups, split)


def _train_on(device: torch.device, request: TrainRequest, groups: list[AlignedGroup], split: Split) -> None:
    report = _Report()
    memory_gb = _SHARE_OF_FREE_MEMORY * free_device_memory_gb(device)
    context = Context(torch.Generator().manual_seed(request.random_seed), device, memory_gb, report)
    network = network_of(groups)
    shipped = load_weights(network)
    if shipped is None and not request.train.from_scratch:
        raise ConfigError(f"expected shipped weights of {network} to start from, found none; install again")
    torch.manual_seed(request.random_seed)
    start = None if request.train.from_scratch else shipped
    state = new_state(partial(build_network, network, start), device, LearningPace(request.train.peak_rate))
    fingerprint = _fingerprint(request, groups, shipped)
    course = load_course(state, request.checkpoint, fingerprint)
    check_same_epoch(course, request.checkpoint)
    material = _prepare_all(groups, split, shipped, context)
    draw = batches_of_groups(
        material.training,
        request.train.targets,
        request.train.batch_size,
        request.train.block_edge,
        state.network.stride,
    )
    try:
        run_course(
            state,
            course,
            draw,
            lambda: _validation_gain(state, material, context, request.random_seed),
            request.train,
            request.checkpoint,
            seed=request.random_seed,
            report=report,
        )
    except FloatingPointError as error:
        raise DenoisingError(
            f"{error}: the rate {request.train.peak_rate:g} is too high; give a lower one by --train-rate, "
            f"and delete the checkpoint {request.checkpoint}"
        ) from error
    if rank_of_process() == 0:
        _test_and_write(request, groups, split, course, material.test, shipped, context)


def _fingerprint(request: TrainRequest, groups: list[AlignedGroup], shipped: PretrainedWeights | None) -> str:
    """Of what shapes the result: how long to train may be changed at a resumption, but for the schedule.

    Aligned files have the same names in many subjects: whose they are, and with that who is kept apart, is
    told by the groups. Contents count, not sizes: images that were corrected have the size that they had.
    """
    train = {name: value for name, value in asdict(request.train).items() if name not in _MAY_CHANGE}
    rows = [
        (
            *(group.subject, group.name, group.real_valued),
            [(path.name, content_digest(path)) for path in group.files],
        )
        for group in groups
    ]
    n_processes = distributed.get_world_size() if distributed.is_initialized() else 1
    settings = {**train, "seed": request.random_seed, "together": n_processes}
    return fingerprint_of(rows, settings | {"shipped": shipped.sha256 if shipped else ""})


_MAY_CHANGE = ("patience", "processes")


def _prepare_all(
    groups: list[AlignedGroup], split: Split, shipped: PretrainedWeights | None, context: Context
) -> _Material:
    parts: dict[str, list[Group]] = {"training": [], "validation": [], "test": []}
    for number, group in enumerate(groups, 1):
        context.report(f"reading {group.name} ({number} of {len(groups)})")
        part = next(name for name in parts if group.subject in getattr(split, name))
        if part != "training" and rank_of_process():
            continue  # judged by the first process
        parts[part].append(load_group(group, shipped, context))
    return _Material(**parts)


def _validation_gain(state: TrainingState, material: _Material, context: Context, seed: int) -> float:
    found = evaluate({"trained": state.averaged}, material.validation, context, seed=seed)
    return mean_gain(found, "trained")


def _test_and_write(
    request: TrainRequest,
    groups: list[AlignedGroup],
    split: Split,
    course: Course,
    test: list[Group],
    shipped: PretrainedWeights | None,
    context: Context,
) -> None:
    """Compare the best epoch with the shipped weights; write it where it is better."""
    context.report("testing on subjects that were not learned from")
    tensors = {name: value.half() for name, value in course.best.items()}
    trained = PretrainedWeights(network_of(groups), "", tensors)
    networks = {"trained": place_network(trained.name, trained, context.device)}
    if shipped is not None:
        networks["shipped"] = place_network(trained.name, shipped, context.device)
    found = evaluate(networks, test, context, levels=LEVELS, seed=request.random_seed + 1)
    _refuse_worse(found, course, request.checkpoint)
    seed = request.random_seed
    result = TrainedNetwork(trained, groups, split, request.train, seed, course, found, shipped)
    path = write_trained(result, request.out)
    context.report(f"wrote {path}")


def _refuse_worse(found: list[Evaluation], course: Course, checkpoint: Path) -> None:
    """No weights that are not better than those that everybody has.

    Raises
    ------
    DenoisingError
    """
    own = mean_gain(found, "trained")
    rival = mean_gain(found, "shipped") if "shipped" in found[0].error_left else 0.0
    # Written so that what is no number is no gain.
    if not own > rival:
        raise DenoisingError(
            f"the trained weights (epoch {course.best_epoch}) are not better than the shipped ones on the "
            f"test subjects: {own:.2f} dB over the mean of repetitions against {rival:.2f} dB; nothing is "
            "written. Train with more subjects or for longer, or denoise with the shipped weights; the curve "
            f"is in the checkpoint {checkpoint}"
        )


class _Report(ProgressReport):
    """One line on standard error for each message, from the first process only."""

    def __call__(self, message: str) -> None:
        """Tell one message."""
        if rank_of_process() == 0:
            super().__call__(message)
