"""Nodes for the motion within diffusion series, with eddy currents that series of one protocol share."""

from __future__ import annotations

import numpy as np
from nipype import MapNode, Node, Workflow

from n2a_bids.config import Config
from n2a_bids.dataset.read.acquisition import read_acquisition
from n2a_bids.dataset.read.gradient_tables import phase_encoding_axis_in_world, read_shape
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.dwi.motion import EstimateMotion
from n2a_bids.interfaces.dwi.shared_motion import ShareEddyCurrents

_ONE_AXIS = 0.98
"""Cosine between the axes of phase encoding of series that have eddy currents in common."""
_ONE_READOUT = 0.01
"""Relative difference of readout times, by which displacements grow, that is none."""
_OF_SERIES = (
    *("in_file", "bval_file", "bvec_file", "mask_file", "phase_encoding"),
    *("lost_slices", "slice_axis", "volumes"),
)


def add_motion(workflow: Workflow, unit: DenoisingUnit, config: Config) -> None:
    """Add the nodes that estimate the motion of each series, and the b0 without it.

    Parameters
    ----------
    workflow : Workflow
        With the nodes ``pick`` and ``mask``; modified.
    """
    # What corrected the distortion by fields has corrected that by eddy currents, too.
    axes = [
        [] if config.selection.dwi_corrected else phase_encoding_axis_in_world(image) for image in unit.images
    ]
    estimate = EstimateMotion(random_seed=config.denoise.random_seed)
    motion = MapNode(estimate, list(_OF_SERIES), name="motion", mem_gb=3.0)
    motion.inputs.phase_encoding = axes
    motion.inputs.slice_axis = workflow.get_node("pick").inputs.slice_axis
    motion.inputs.volumes = workflow.get_node("pick").inputs.volumes
    _connect_series(workflow, motion)
    if not _share_currents(unit, axes):
        return
    share = ShareEddyCurrents(random_seed=config.denoise.random_seed)
    of_each = [*_OF_SERIES, "index", "motion_file", "b0_file"]
    shared = MapNode(share, of_each, name="shared_motion", mem_gb=3.0)
    shared.inputs.phase_encoding, shared.inputs.index = axes, list(range(len(axes)))
    shared.inputs.slice_axis, shared.inputs.volumes = motion.inputs.slice_axis, motion.inputs.volumes
    _connect_series(workflow, shared)
    found = [("motion_file", "motion_file"), ("b0_file", "b0_file"), ("currents_file", "currents_files")]
    workflow.connect(
        [(motion, shared, found), (workflow.get_node("pick"), shared, [("out_file", "in_files")])]
    )


def motion_node(workflow: Workflow) -> Node:
    """The node of the final motion of a workflow with `add_motion`."""
    return workflow.get_node("shared_motion") or workflow.get_node("motion")


def _connect_series(workflow: Workflow, motion: Node) -> None:
    also = [(name, name) for name in ("bval_file", "bvec_file", "lost_slices")]
    workflow.connect(
        [
            (workflow.get_node("pick"), motion, [("out_file", "in_file"), *also]),
            (workflow.get_node("mask"), motion, [("out_mask", "mask_file")]),
        ]
    )


def _share_currents(unit: DenoisingUnit, axes: list[list[float]]) -> bool:
    """Whether the series have one axis of phase encoding and one readout, as far as their sidecars tell."""
    if len(unit.images) < 2 or not all(axes):
        return False
    if any(abs(np.dot(axes[0], one)) < _ONE_AXIS for one in axes):
        return False
    times_s = [
        read_acquisition(image.metadata, read_shape(image.path)).readout_time_s for image in unit.images
    ]
    known = [time_s for time_s in times_s if time_s is not None]
    if len(known) < len(times_s):
        return not known
    return bool(np.ptp(known) <= _ONE_READOUT * min(known))
