"""Loads the images of a training group into memory, prepared to train or judge a network."""

from __future__ import annotations

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.dataset_training.exposures import ExposureGroup, prepare_exposures
from n2a_bids.algorithms.dataset_training.groups import TrainingGroup, prepare_group
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.denoising.inputs import DenoiseJob, load_repetitions
from n2a_bids.denoising.micrographs.exposures import load_exposures
from n2a_bids.errors import BIDSDataError
from n2a_bids.training.groups import AlignedGroup


def load_group(
    group: AlignedGroup, shipped: PretrainedWeights | None, context: Context
) -> TrainingGroup | ExposureGroup:
    """Read the files of a group and prepare them.

    Raises
    ------
    BIDSDataError
        If a file cannot be used, is a series, or holds no noise.
    """
    try:
        if group.micrograph:
            return prepare_exposures(group.subject, _load_exposures(group, context), context)
        return prepare_group(group.subject, _load_heads(group), shipped, context)
    except ValueError as error:
        raise BIDSDataError(f"{group.runs[0]}: {error}; leave this subject out") from error


def _load_exposures(group: AlignedGroup, context: Context) -> Repetitions:
    """Exposures on one grid: those of the app are, others are aligned now."""
    if group.mask is None:
        return load_exposures(group.runs, report=context.report).repetitions
    return load_repetitions(DenoiseJob(group.runs, group.mask, measured=group.measured, micrograph=True))


def _load_heads(group: AlignedGroup) -> Repetitions:
    job = DenoiseJob(group.runs, group.mask, measured=group.measured, real_valued=group.real_valued)
    repetitions = load_repetitions(job)
    if repetitions.data.shape[-1] > 1:
        raise BIDSDataError(
            f"{group.runs[0]}: expected one volume, found a series of {repetitions.data.shape[-1]}; no "
            "network for diffusion series is trained: leave it out"
        )
    return repetitions
