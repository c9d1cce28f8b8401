"""T1w repetitions of one subject, prepared to train or judge a network of a dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.preparation.repetitions import Prepared, prepare
from n2a_bids.algorithms.preparation.zero_filling import undo_zero_filling
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.acquired_matrix import on_acquired_matrix
from n2a_bids.algorithms.risk.candidates import Candidate
from n2a_bids.algorithms.risk.held_out import hold_out
from n2a_bids.algorithms.risk.repetition_weights import weigh_repetitions
from n2a_bids.algorithms.strategies.anat.single import SingleConfig, prepare_alone

_MARGIN_VOXELS = 12
"""Around the brain, that a network sees; what lies farther away is not kept."""


@dataclass(frozen=True, slots=True)
class TrainingGroup:
    """Repetitions of one image, or one image alone, of one subject."""

    subject: str
    prepared: Prepared
    bias: NDArray[np.float32] | float = 0.0
    """Rician bias of the repetitions, z-scores: (X, Y, Z), or 0 without a noise floor."""

    @property
    def is_alone(self) -> bool:
        """Whether nothing was repeated, so that the noise level is an estimate from the image itself."""
        return len(self.prepared.images) == 1

    @property
    def least_edge(self) -> int:
        """Shortest edge of the volume, in voxels."""
        return min(self.prepared.mask.shape)

    @property
    def noise_sd(self) -> float:
        """Typical noise SD of the average in the brain, z-scores."""
        return float(np.median(self.prepared.average_noise_sd[self.prepared.mask]))


def prepare_group(
    subject: str, repetitions: Repetitions, weights: PretrainedWeights | None, context: Context
) -> TrainingGroup:
    """Scale, noise level, weights and noise floor of a subject's repetitions, cut to the brain.

    Parameters
    ----------
    repetitions : Repetitions
        One or more repetitions of one contrast, one channel.
    weights : PretrainedWeights or None
        Of the network that tells the noise floor and unequal noise; without it the floor stays.

    Raises
    ------
    ValueError
        If a repetition is constant in the mask, a value is not finite, or there is no noise.
    """
    if repetitions.n_repetitions == 1:
        config = SingleConfig(weights, keep_noise_floor=repetitions.real_valued)
        # Zero-filling makes noise coloured: the image as it was measured.
        measured = undo_zero_filling(repetitions.data[0, ..., 0], repetitions.mask)
        prepared, _ = prepare_alone(measured, config)
    else:
        prepared = on_acquired_matrix(prepare(repetitions), context)
    if not np.median(prepared.repetition_noise_sd[prepared.mask]) > 0:
        raise ValueError("expected repetitions that differ by noise, found no difference between them")
    if weights is None:
        return _cut(TrainingGroup(subject, replace(prepared, magnitude=None)))
    network = context.new_network("resunet-t1w", weights)
    if repetitions.n_repetitions > 1:
        blocks = hold_out(prepared.mask, context.generator)
        prepared = weigh_repetitions(Candidate("pretrained", network), prepared, blocks, context)
    bias: NDArray[np.float32] | float = 0.0
    if prepared.magnitude is not None:
        noise_sd, memory_gb = prepared.average_noise_sd, context.memory_gb
        first = predict(network, prepared.average, noise_sd, device=context.device, memory_gb=memory_gb)
        bias = prepared.estimated_bias(first, prepared.repetition_noise_sd)
    return _cut(TrainingGroup(subject, prepared, bias))


def _cut(group: TrainingGroup) -> TrainingGroup:
    """The group without what lies far from the brain."""
    prepared = group.prepared
    where = bounding_box(prepared.mask, _MARGIN_VOXELS)
    optional = {"n_measured": prepared.n_measured, "background": prepared.background}
    prepared = replace(
        prepared,
        images=np.ascontiguousarray(prepared.images[(slice(None), *where)]),
        mask=prepared.mask[where],
        head=prepared.head[where],
        repetition_noise_sd=prepared.repetition_noise_sd[where],
        **{name: None if volume is None else volume[where] for name, volume in optional.items()},
    )
    bias = group.bias[where] if isinstance(group.bias, np.ndarray) else group.bias
    return TrainingGroup(group.subject, prepared, bias)
