"""Nodes for distortion by a reversed b0, for series that have no partner of their own."""

from __future__ import annotations

from nipype import Node, Workflow
from nipype.interfaces.utility import Merge, Select

from n2a_bids.dataset.read.acquisition import read_acquisition
from n2a_bids.dataset.read.gradient_tables import read_shape
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.dwi.distortion import EstimateDistortion
from n2a_bids.interfaces.dwi.reversed_b0 import MeanReversedB0
from n2a_bids.workflows.dwi.motion import motion_node
from n2a_bids.workflows.dwi.opposite_series import init_displacements, readout_ratio


def add_reversed_b0(workflow: Workflow, unit: DenoisingUnit, align: Node) -> None:
    """Estimate the distortion of the first series from the b0, and let the one interpolation undo it.

    Where the two do not make a plausible field, the series are left as they are, and the record says so.

    Parameters
    ----------
    workflow : Workflow
        With the nodes ``motion`` and ``mask``; modified.
    unit : DenoisingUnit
        With `reversed_b0`; the reference first.
    align : Node
        `AlignSeries` of the unit.
    """
    series = unit.phase_encoding_vectors
    b0 = Node(_mean_b0(unit), name="reversed_b0", mem_gb=1.5)
    first_time = unit.phase_encoding[0].readout_time_s
    partner = unit.reversed_b0
    reversed_time = read_acquisition(partner.metadata, read_shape(partner.path)).readout_time_s
    distortion = Node(
        EstimateDistortion(
            names=[str(unit.images[0].path), str(unit.reversed_b0.path)],
            phase_encoding=[series[0], [-part for part in series[0]]],
            readout_ratio=readout_ratio(reversed_time, first_time),
            is_optional=True,
        ),
        name="distortion",
        mem_gb=2.0,
    )
    share = Node(init_displacements(unit), name="displacements")
    align.inputs.phase_encoding = series
    _connect_b0s(workflow, b0, distortion)
    workflow.connect(distortion, "displacement_files", share, "displacement_files")


def _connect_b0s(workflow: Workflow, b0: Node, distortion: Node) -> None:
    """The b0 and brain of the first series, and those of the partner."""
    for node, field, out, target in (
        (motion_node(workflow), "b0_file", "b0_file", "b0_files"),
        (workflow.get_node("mask"), "out_mask", "mask_file", "mask_files"),
    ):
        first = Node(Select(index=[0]), name=f"first_{target}")
        both = Node(Merge(2), name=f"both_{target}")
        workflow.connect(
            [
                (node, first, [(field, "inlist")]),
                (first, both, [("out", "in1")]),
                (b0, both, [(out, "in2")]),
                (both, distortion, [("out", target)]),
            ]
        )


def _mean_b0(unit: DenoisingUnit) -> MeanReversedB0:
    image = unit.reversed_b0
    interface = MeanReversedB0(in_file=str(image.path))
    if image.is_cartesian:
        interface.inputs.imaginary_file = str(image.parts.second)
    if image.bval is not None and image.bvec is not None:
        interface.inputs.trait_set(bval_file=str(image.bval), bvec_file=str(image.bvec))
    return interface
