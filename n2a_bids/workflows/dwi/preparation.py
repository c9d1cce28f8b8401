"""Diffusion series from files to one grid: masks, motion, distortion, and the one interpolation."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype import MapNode, Node, Workflow
from nipype.interfaces.utility import Select

from n2a_bids.config import AlignConfig
from n2a_bids.dataset.read.acquisition import read_acquisition
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.anat.mask import GivenBrainMask
from n2a_bids.interfaces.dwi.align import AlignSeries
from n2a_bids.interfaces.dwi.b0_mask import B0Mask
from n2a_bids.interfaces.dwi.copies import FindSeriesCopies
from n2a_bids.interfaces.dwi.distortion import EstimateDistortion
from n2a_bids.interfaces.dwi.in_place import KeepInPlace
from n2a_bids.interfaces.dwi.motion import EstimateMotion
from n2a_bids.interfaces.dwi.phase import PlacePhase
from n2a_bids.interfaces.dwi.register import RegisterSeries
from n2a_bids.interfaces.dwi.series import PickVolumes
from n2a_bids.io.images import UNREADABLE
from n2a_bids.workflows.complex_parts import init_check_node, init_demodulate_node, second_files
from n2a_bids.workflows.dwi.reversed_b0 import add_reversed_b0

_DEEPBET_GB = 2.5
_EQUAL_VOLUME = 0.05
"""Smaller differences of voxel volume are rounding of the headers."""


def reference_first(unit: DenoisingUnit) -> tuple[DenoisingUnit, str]:
    """A unit with its reference, on whose grid the result lies, as the first image.

    The series with the smallest voxels, on whose grid no other loses detail; the first of them, whose
    place is what a user expects.

    Parameters
    ----------
    unit : DenoisingUnit
        Diffusion series.

    Returns
    -------
    unit : DenoisingUnit
        In the order in which it was where headers cannot be read: the first node of the workflow names these.
    reason : str
        Why the first image is the reference.
    """
    volumes: list[float] = []
    with suppress(*UNREADABLE):
        volumes = [abs(np.linalg.det(nb.load(image.path).affine[:3, :3])) for image in unit.images]
    if not volumes or volumes[0] <= (1 + _EQUAL_VOLUME) * min(volumes):
        return unit, "it is the first series"
    limit = (1 + _EQUAL_VOLUME) * min(volumes)
    finest = next(index for index, volume in enumerate(volumes) if volume <= limit)
    order = [finest, *(index for index in range(len(volumes)) if index != finest)]
    moved = {
        name: tuple(getattr(unit, name)[index] for index in order)
        for name in ("images", "volumes", "phase_encoding")
        if getattr(unit, name)
    }
    return replace(unit, **moved), "it has the smallest voxels"


def readout_ratio(unit: DenoisingUnit) -> float:
    """Displacement of the second series over that of the first; 1 where a sidecar does not tell."""
    first, second = (read_acquisition(image.metadata).readout_time_s for image in unit.images)
    return second / first if first and second else 1.0


def phase_encoding_vectors(unit: DenoisingUnit) -> list[list[float]]:
    """Direction of phase encoding of each series, in the world."""
    return [[float(part) for part in one.direction] for one in unit.phase_encoding]


def init_preparation(
    workflow: Workflow,
    unit: DenoisingUnit,
    given: Path | None,
    config: AlignConfig,
    *,
    skip_validation: bool = False,
    keep_negative: bool = False,
    reference_reason: str = "it is the first series",
    random_seed: int = 1,
) -> Node:
    """Add the nodes up to the aligned series.

    Parameters
    ----------
    workflow : Workflow
        Modified.
    unit : DenoisingUnit
        The reference first.
    given : Path, optional
        Brain mask of the user.
    config : AlignConfig
        Thresholds of alignment, the same as those of T1w images.
    skip_validation : bool
        Do not check the images.
    keep_negative : bool
        Keep undershoots of the interpolation.
    reference_reason : str
        For the record.
    random_seed : int
        Of ANTs.

    Returns
    -------
    align : Node
        The last of them, `AlignSeries`, or `KeepInPlace`.
    """
    paths = [image.path for image in unit.images]
    check = init_check_node(unit, skip=skip_validation)
    pick, mask = _pick_node(unit), _mask_node(unit, given)
    of_each = ["in_file", "bval_file", "bvec_file", "mask_file"]
    motion = MapNode(EstimateMotion(random_seed=random_seed), of_each, name="motion", mem_gb=3.0)
    if unit.kind == "dwi-in-place":
        return _add_in_place(workflow, unit, (check, pick, mask, motion))
    interface = AlignSeries(
        volumes=pick.inputs.volumes,
        keep_mask=given is not None,
        keep_negative=keep_negative,
        **config.thresholds,
    )
    interface.inputs.trait_set(names=[path.name for path in paths], reference_reason=reference_reason)
    align = Node(interface, name="align", mem_gb=4.0)
    distinct = Node(FindSeriesCopies(names=[path.name for path in paths]), name="distinct", mem_gb=1.5)
    first_mask = Node(Select(index=[0]), name="first_mask")
    series = [("out_file", "in_files"), ("bval_file", "bval_files"), ("bvec_file", "bvec_files")]
    workflow.connect(
        [
            (pick, mask, [("b0_file", "in_file")]),
            (pick, distinct, series),
            (distinct, align, [("reasons", "excluded")]),
            (pick, motion, [("out_file", "in_file")]),
            (pick, motion, [("bval_file", "bval_file"), ("bvec_file", "bvec_file")]),
            (mask, motion, [("out_mask", "mask_file")]),
            (mask, first_mask, [("out_mask", "inlist")]),
            (first_mask, align, [("out", "mask_file")]),
            (motion, align, [("motion_file", "motion_files"), ("b0_file", "b0_files")]),
            (pick, align, [("values_file", "in_files"), *series[1:]]),
        ]
    )
    _connect_images(workflow, unit, check)
    if unit.kind == "dwi-reverse-pe":
        _add_distortion(workflow, unit, align)
    else:
        _add_registration(workflow, unit, align)
    if unit.reversed_b0 is not None:
        add_reversed_b0(workflow, unit, align)
    return align


def _connect_images(workflow: Workflow, unit: DenoisingUnit, check: Node) -> None:
    """From the checked files to the volumes: of complex series, of the magnitudes and of what is denoised."""
    pick, demodulate = workflow.get_node("pick"), init_demodulate_node(unit)
    if demodulate is None:
        workflow.connect(check, "out_files", pick, "in_file")
        return
    fields = [("magnitude_file", "in_file"), ("values_file", "values_file"), ("phase_file", "phase_file")]
    workflow.connect([(check, demodulate, [("out_files", "in_file")]), (demodulate, pick, fields)])


def _add_in_place(workflow: Workflow, unit: DenoisingUnit, nodes: tuple[Node, ...]) -> Node:
    """The series with its own tables; its motion is estimated for the record alone."""
    check, pick, mask, motion = nodes
    (image,) = unit.images
    tables = {"bval_file": str(image.bval), "bvec_file": str(image.bvec)}
    keep = Node(KeepInPlace(name=image.path.name, **tables), name="align")
    distinct = Node(FindSeriesCopies(names=[image.path.name]), name="distinct", mem_gb=1.5)
    first_mask = Node(Select(index=[0]), name="first_mask")
    series = [("out_file", "in_file"), ("bval_file", "bval_file"), ("bvec_file", "bvec_file")]
    workflow.connect(
        [
            (pick, mask, [("b0_file", "in_file")]),
            (pick, distinct, [(field, f"{name}s") for field, name in series]),
            (pick, motion, series),
            (mask, motion, [("out_mask", "mask_file")]),
            (mask, first_mask, [("out_mask", "inlist")]),
            (first_mask, keep, [("out", "mask_file")]),
            (motion, keep, [("motion_file", "motion_files")]),
            (pick, keep, [("values_file", "in_files"), ("b0_file", "b0_files")]),
        ]
    )
    _connect_images(workflow, unit, check)
    return keep


def _pick_node(unit: DenoisingUnit) -> MapNode:
    of_each = ["in_file", "bval_file", "bvec_file", "volumes"]
    if second_files(unit):
        of_each += ["values_file", "phase_file"]
    pick = MapNode(PickVolumes(), of_each, name="pick", mem_gb=2.0)
    pick.inputs.bval_file = [str(image.bval) for image in unit.images]
    pick.inputs.bvec_file = [str(image.bvec) for image in unit.images]
    pick.inputs.volumes = [list(volumes) for volumes in unit.volumes] or [[] for _ in unit.images]
    return pick


def _mask_node(unit: DenoisingUnit, given: Path | None) -> MapNode:
    if given is not None:
        return MapNode(GivenBrainMask(mask_file=str(given)), ["in_file"], name="mask", mem_gb=1.0)
    mask = MapNode(B0Mask(), ["in_file", "name"], name="mask", mem_gb=_DEEPBET_GB)
    mask.inputs.name = [str(image.path) for image in unit.images]
    return mask


def _add_registration(workflow: Workflow, unit: DenoisingUnit, align: Node) -> None:
    """Motion between series of one phase encoding."""
    names = [image.path.name for image in unit.images]
    register = Node(RegisterSeries(names=names), name="register", mem_gb=1.5)
    workflow.connect(
        [
            (workflow.get_node("motion"), register, [("b0_file", "b0_files")]),
            (workflow.get_node("mask"), register, [("out_mask", "mask_files")]),
            (register, align, [("between_file", "between_file"), ("record_file", "registration_file")]),
        ]
    )


def _add_distortion(workflow: Workflow, unit: DenoisingUnit, align: Node) -> None:
    """Motion between series of opposite phase encoding, and their distortion."""
    directions = phase_encoding_vectors(unit)
    distortion = Node(
        EstimateDistortion(
            names=[str(image.path) for image in unit.images],
            phase_encoding=directions,
            readout_ratio=readout_ratio(unit),
            opposite_is_known=all(one.polarity_is_known for one in unit.phase_encoding),
        ),
        name="distortion",
        mem_gb=2.0,
    )
    align.inputs.phase_encoding = directions
    workflow.connect(
        [
            (workflow.get_node("motion"), distortion, [("b0_file", "b0_files")]),
            (workflow.get_node("mask"), distortion, [("out_mask", "mask_files")]),
            (
                distortion,
                align,
                [
                    ("displacement_files", "displacement_files"),
                    ("between_file", "between_file"),
                    ("record_file", "registration_file"),
                ],
            ),
        ]
    )


def add_placed_phase(workflow: Workflow, unit: DenoisingUnit) -> tuple[Node, str]:
    """Add the node that brings the phase of the first series to the grid of the result.

    Returns
    -------
    node : Node
    field : str
        Its output with the phase.
    """
    if unit.kind == "dwi-in-place":
        first = Node(Select(index=[0]), name="first_phase")
        workflow.connect(workflow.get_node("pick"), "phase_file", first, "inlist")
        return first, "out"
    place = Node(PlacePhase(), name="place_phase", mem_gb=2.0)
    of_each = [("phase_file", "in_files"), ("bval_file", "bval_files"), ("bvec_file", "bvec_files")]
    between = workflow.get_node("distortion" if unit.kind == "dwi-reverse-pe" else "register")
    workflow.connect(
        [
            (workflow.get_node("pick"), place, of_each),
            (workflow.get_node("motion"), place, [("motion_file", "motion_files")]),
            (workflow.get_node("align"), place, [("mask_file", "mask_file")]),
            (between, place, [("between_file", "between_file")]),
        ]
    )
    if unit.distortion_is_estimated:
        place.inputs.phase_encoding = phase_encoding_vectors(unit)
        is_pair = unit.kind == "dwi-reverse-pe"
        displacements = between if is_pair else workflow.get_node("displacements")
        workflow.connect(displacements, "displacement_files", place, "displacement_files")
    return place, "phase_file"
