"""Nodes that a unit's workflow gets where its images are complex (magnitude and phase)."""

from __future__ import annotations

from nipype import MapNode, Node, Workflow

from n2a_bids.config import Config
from n2a_bids.dataset.read.complex_parts import slice_axis
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.complex_parts import Demodulate, RestorePhase
from n2a_bids.interfaces.derivatives.sink import WriteDerivatives
from n2a_bids.interfaces.image_checks import CheckImages
from n2a_bids.workflows.derivatives import complex_outputs


def joined(lists: list[list[str]]) -> list[str]:
    """Texts of all images; nipype calls it where a connection leads from a list of lists to a list."""
    return [text for texts in lists for text in texts]


def second_files(unit: DenoisingUnit) -> list[str]:
    """Phases and imaginary parts that are used."""
    return [
        str(image.parts.second)
        for image in unit.images
        if image.parts is not None and (unit.uses_phase or image.is_cartesian)
    ]


def init_check_node(unit: DenoisingUnit, *, skip: bool) -> Node:
    """Node that looks at all files of a unit; its ``out_files`` are the images without their second files."""
    files = [str(image.path) for image in unit.images]
    return Node(CheckImages(in_files=files, second_files=second_files(unit), skip=skip), name="check")


def init_demodulate_node(unit: DenoisingUnit) -> MapNode | None:
    """Node that makes magnitudes and real-valued images; None where the images are magnitudes already.

    Returns
    -------
    node : MapNode or None
        ``in_file`` to `Demodulate`'s outputs, lists with an item for each image.
    """
    if not second_files(unit):
        return None
    of_each = ["in_file", "second_file", "form", "phase_units", "slice_axis"]
    node = MapNode(Demodulate(magnitude_only=not unit.uses_phase), of_each, name="demodulate", mem_gb=2.0)
    parts = [image.parts for image in unit.images]
    node.inputs.second_file = ["" if one is None else str(one.second) for one in parts]
    node.inputs.form = ["polar" if one is None else one.form for one in parts]
    node.inputs.phase_units = ["" if one is None else one.phase_units for one in parts]
    axes = [slice_axis(image) for image in unit.images]
    node.inputs.slice_axis = [-1 if axis is None else axis for axis in axes]
    return node


def add_complex_output(
    workflow: Workflow, unit: DenoisingUnit, config: Config, phase: tuple[Node | Workflow, str]
) -> None:
    """Write the denoised image with the phase of the reference, as magnitude and phase.

    Parameters
    ----------
    workflow : Workflow
        Has ``denoise`` and ``outputs_wf``; modified.
    unit : DenoisingUnit
        Of complex images.
    config : Config
        Where to.
    phase : (Node or Workflow, str)
        What gives the phase on the grid of the result, and the name of that output.
    """
    restore = Node(RestorePhase(), name="restore_phase", mem_gb=2.0)
    rows = complex_outputs(unit)
    write = Node(WriteDerivatives({row.field: row.paths(unit, config) for row in rows}), name="write_complex")
    files = [(f"{row.field}_file", row.field) for row in rows]
    sidecars = [(row.sidecar, f"{row.field}_sidecar") for row in rows]
    workflow.connect(
        [
            (workflow.get_node("denoise"), restore, [("out_file", "in_file")]),
            (workflow.get_node("outputs_wf"), restore, [("describe.denoised", "sidecar")]),
            (phase[0], restore, [(phase[1], "phase_file")]),
            (restore, write, [*files, *sidecars]),
        ]
    )
