"""Nodes for series of opposite phase encoding: the motion between them, and their distortion."""

from __future__ import annotations

from nipype import Node, Workflow
from nipype.interfaces.utility import Select

from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.dwi.distortion import EstimateDistortion
from n2a_bids.interfaces.dwi.motion import RegisterSeries
from n2a_bids.interfaces.dwi.reversed_b0 import ShareDisplacement
from n2a_bids.workflows.dwi.motion import motion_node


def add_opposite_series(workflow: Workflow, unit: DenoisingUnit, align: Node) -> None:
    """Estimate the distortion of the first series of each polarity, and let the others share it.

    Parameters
    ----------
    workflow : Workflow
        With the nodes ``motion`` and ``mask``; modified.
    unit : DenoisingUnit
        Two or more series of opposite phase encoding, the reference first.
    align : Node
        `AlignSeries` of the unit.
    """
    distortion = Node(_estimate(unit), name="distortion", mem_gb=2.0)
    align.inputs.phase_encoding = unit.phase_encoding_vectors
    if unit.is_opposite_pair:
        connect_b0s(workflow, distortion, align)
        return
    leaders = unit.polarity_leaders
    _connect_leaders(workflow, distortion, sorted(set(leaders)))
    names = [image.path.name for image in unit.images]
    register = Node(RegisterSeries(names=names, leaders=leaders), name="register", mem_gb=1.5)
    share = Node(init_displacements(unit), name="displacements")
    connect_b0s(workflow, register, align)
    workflow.connect(distortion, "between_file", register, "pair_file")
    workflow.connect(distortion, "displacement_files", share, "displacement_files")


def connect_b0s(workflow: Workflow, estimate: Node, align: Node) -> None:
    """What is estimated between all series of a unit comes from their b0s and brains."""
    workflow.connect(
        [
            (motion_node(workflow), estimate, [("b0_file", "b0_files")]),
            (workflow.get_node("mask"), estimate, [("out_mask", "mask_files")]),
            (estimate, align, [("record_file", "registration_file")]),
        ]
    )


def init_displacements(unit: DenoisingUnit) -> ShareDisplacement:
    """The interface that gives each series the distortion of the first of its polarity."""
    times, leaders = [one.readout_time_s for one in unit.phase_encoding], unit.polarity_leaders
    return ShareDisplacement(
        images=[str(image.path) for image in unit.images],
        phase_encoding=unit.phase_encoding_vectors,
        leaders=leaders,
        readout_ratios=[readout_ratio(time, times[leader]) for time, leader in zip(times, leaders)],
    )


def readout_ratio(time_s: float | None, first_s: float | None) -> float:
    """Of readout times; 1 where a sidecar does not tell."""
    return time_s / first_s if time_s and first_s else 1.0


def _estimate(unit: DenoisingUnit) -> EstimateDistortion:
    """Of the first series of each polarity."""
    pair = sorted(set(unit.polarity_leaders))
    first, second = (unit.phase_encoding[index] for index in pair)
    return EstimateDistortion(
        names=[str(unit.images[index].path) for index in pair],
        phase_encoding=[unit.phase_encoding_vectors[index] for index in pair],
        readout_ratio=readout_ratio(second.readout_time_s, first.readout_time_s),
        opposite_is_known=first.polarity_is_known and second.polarity_is_known,
    )


def _connect_leaders(workflow: Workflow, distortion: Node, pair: list[int]) -> None:
    """The b0s and brains of two of the series."""
    motion, mask = motion_node(workflow), workflow.get_node("mask")
    for node, field, target in ((motion, "b0_file", "b0_files"), (mask, "out_mask", "mask_files")):
        leaders = Node(Select(index=pair), name=f"leading_{target}")
        workflow.connect(node, field, leaders, "inlist")
        workflow.connect(leaders, "out", distortion, target)
