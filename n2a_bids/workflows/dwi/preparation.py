"""Workflow from diffusion files to one grid: masks, motion, distortion, resampling."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from nipype import MapNode, Node, Workflow
from nipype.interfaces.utility import Select

from n2a_bids.config import Config
from n2a_bids.dataset.read.complex_parts import slice_axis
from n2a_bids.dataset.read.given_masks import owner_of_mask
from n2a_bids.dataset.read.gradient_tables import phase_encoding_axis_in_world
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.anat.mask import GivenBrainMask
from n2a_bids.interfaces.complex_parts import PlacePhase
from n2a_bids.interfaces.dwi.align import AlignSeries
from n2a_bids.interfaces.dwi.b0_mask import B0Mask
from n2a_bids.interfaces.dwi.copies import FindSeriesCopies
from n2a_bids.interfaces.dwi.in_place import KeepInPlace
from n2a_bids.interfaces.dwi.motion import RegisterSeries
from n2a_bids.interfaces.dwi.series import PickVolumes
from n2a_bids.io.images import UNREADABLE, finest_images
from n2a_bids.workflows.complex_parts import init_check_node, init_demodulate_node, second_files
from n2a_bids.workflows.dwi.motion import add_motion, motion_node
from n2a_bids.workflows.dwi.opposite_series import add_opposite_series, connect_b0s
from n2a_bids.workflows.dwi.reversed_b0 import add_reversed_b0

_DEEPBET_GB = 2.5


def reference_first(unit: DenoisingUnit, given: Path | None = None) -> tuple[DenoisingUnit, str]:
    """A unit with its reference, on whose grid the result lies, as the first image.

    The series with the smallest voxels, on whose grid no other loses detail; of several the one that a brain
    mask of the user lies on, whose place the mask tells, else the first, whose place is what a user expects.

    Parameters
    ----------
    unit : DenoisingUnit
        Diffusion series.
    given : Path, optional
        Brain mask of the user.

    Returns
    -------
    unit : DenoisingUnit
        In the order in which it was where headers cannot be read: the first node of the workflow names these.
    reason : str
        Why the first image is the reference.
    """
    paths, finest = [image.path for image in unit.images], [0]
    with suppress(*UNREADABLE):
        finest = finest_images(paths)
    owner = None if given is None else owner_of_mask(given, paths)
    first = owner if owner in finest else finest[0]
    if first == 0:
        return unit, "it is the first series"
    order = [first, *(index for index in range(len(unit.images)) if index != first)]
    moved = {
        name: tuple(getattr(unit, name)[index] for index in order)
        for name in ("images", "volumes", "phase_encoding")
        if getattr(unit, name)
    }
    if first == owner and 0 in finest:
        return replace(unit, **moved), "the brain mask that was given belongs to it"
    return replace(unit, **moved), "it has the smallest voxels"


def init_preparation(
    workflow: Workflow, unit: DenoisingUnit, given: Path | None, config: Config, reference_reason: str
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
    config : Config
        Its thresholds of alignment are those of T1w images, too.
    reference_reason : str
        For the record.

    Returns
    -------
    align : Node
        The last of them, `AlignSeries`, or `KeepInPlace`.
    """
    check = init_check_node(unit, skip=config.selection.skip_validation)
    _add_motion(workflow, unit, given, config)
    _connect_images(workflow, unit, check)
    if unit.lies_in_place:
        align = _in_place_node(unit)
        _connect_alignment(workflow, align)
        workflow.connect(workflow.get_node("pick"), "b0_file", align, "b0_files")
        return align
    align, pick = _align_node(unit, given, config, reference_reason), workflow.get_node("pick")
    _connect_alignment(workflow, align)
    workflow.connect(
        [
            (pick, align, [("bval_file", "bval_files"), ("bvec_file", "bvec_files")]),
            (workflow.get_node("mask"), align, [("out_mask", "mask_files")]),
            (pick, align, [("lost_slices", "lost_slices")]),
            (motion_node(workflow), align, [("b0_file", "b0_files")]),
            (workflow.get_node("distinct"), align, [("reasons", "excluded")]),
        ]
    )
    if unit.has_opposite_series:
        add_opposite_series(workflow, unit, align)
    else:
        _add_registration(workflow, unit, align)
    if unit.reversed_b0 is not None:
        add_reversed_b0(workflow, unit, align)
    connect_places(workflow, unit, align)
    return align


def _add_motion(workflow: Workflow, unit: DenoisingUnit, given: Path | None, config: Config) -> None:
    """Add what is known of each series by itself: its volumes, brain and motion; and which are copies."""
    pick, mask = _pick_node(unit), _mask_node(unit, given)
    names = [image.path.name for image in unit.images]
    distinct = Node(FindSeriesCopies(names=names), name="distinct", mem_gb=1.5)
    tables = ("bval_file", "bvec_file")
    workflow.connect(
        [
            (pick, mask, [("b0_file", "in_file")]),
            (pick, distinct, [("out_file", "in_files"), *((field, f"{field}s") for field in tables)]),
        ]
    )
    if given is not None:
        # Where the head lies elsewhere in another series, the mask follows it.
        owner = owner_of_mask(given, [image.path for image in unit.images])
        head = Node(Select(index=[owner]), name="masked_head")
        workflow.connect([(pick, head, [("b0_file", "inlist")]), (head, mask, [("out", "owner_file")])])
    add_motion(workflow, unit, config)


def _align_node(unit: DenoisingUnit, given: Path | None, config: Config, reference_reason: str) -> Node:
    """The node that undoes motion and distortion in one interpolation, and judges each series."""
    interface = AlignSeries(
        names=[image.path.name for image in unit.images],
        volumes=_volumes_of(unit),
        slice_axes=_slice_axes(unit),
        phase_encoding=[phase_encoding_axis_in_world(image) for image in unit.images],
        reference_reason=reference_reason,
        keep_mask=given is not None,
        compare_errors=_is_of_one_distortion(unit, config),
        keep_negative=config.denoise.keep_noise_floor or unit.uses_phase,
        **config.align.thresholds,
    )
    return Node(interface, name="align", mem_gb=4.0)


def _is_of_one_distortion(unit: DenoisingUnit, config: Config) -> bool:
    """Whether what differs between series is no remainder of opposite distortions, as far as is known."""
    if unit.has_opposite_series:
        return False
    return not config.selection.dwi_corrected or (
        bool(unit.phase_encoding) and not any(unit.polarity_leaders)
    )


def _connect_alignment(workflow: Workflow, align: Node) -> None:
    """The series, their motion, and the mask of the first."""
    first_mask = Node(Select(index=[0]), name="first_mask")
    workflow.connect(
        [
            (workflow.get_node("mask"), first_mask, [("out_mask", "inlist")]),
            (first_mask, align, [("out", "mask_file")]),
            (motion_node(workflow), align, [("motion_file", "motion_files")]),
            (workflow.get_node("pick"), align, [("values_file", "in_files")]),
        ]
    )


def connect_places(
    workflow: Workflow,
    unit: DenoisingUnit,
    target: Node | Workflow,
    fields: tuple[str, str] = ("between_file", "displacement_files"),
) -> None:
    """Tell a node or workflow the motion between the series and, where it is estimated, their distortion."""
    between = workflow.get_node("distortion" if unit.is_opposite_pair else "register")
    workflow.connect(between, "between_file", target, fields[0])
    if unit.distortion_is_estimated:
        displacements = between if unit.is_opposite_pair else workflow.get_node("displacements")
        workflow.connect(displacements, "displacement_files", target, fields[1])


def _connect_images(workflow: Workflow, unit: DenoisingUnit, check: Node) -> None:
    """From the checked files to the volumes: of complex series, of the magnitudes and of what is denoised."""
    pick, demodulate = workflow.get_node("pick"), init_demodulate_node(unit)
    if demodulate is None:
        workflow.connect(check, "out_files", pick, "in_file")
        return
    fields = [("magnitude_file", "in_file"), ("values_file", "values_file"), ("phase_file", "phase_file")]
    workflow.connect([(check, demodulate, [("out_files", "in_file")]), (demodulate, pick, fields)])


def _in_place_node(unit: DenoisingUnit) -> Node:
    """The series with its own tables; its motion is estimated for the record alone."""
    (image,) = unit.images
    tables = {"bval_file": str(image.bval), "bvec_file": str(image.bvec)}
    return Node(KeepInPlace(name=image.path.name, **tables), name="align")


def _pick_node(unit: DenoisingUnit) -> MapNode:
    of_each = ["in_file", "bval_file", "bvec_file", "volumes", "slice_axis"]
    if second_files(unit):
        of_each += ["values_file", "phase_file"]
    pick = MapNode(PickVolumes(has_others=len(unit.images) > 1), of_each, name="pick", mem_gb=2.0)
    pick.inputs.bval_file = [str(image.bval) for image in unit.images]
    pick.inputs.bvec_file = [str(image.bvec) for image in unit.images]
    pick.inputs.volumes = _volumes_of(unit)
    pick.inputs.slice_axis = _slice_axes(unit)
    return pick


def _slice_axes(unit: DenoisingUnit) -> list[int]:
    """Array axis across the slices of each series."""
    axes = map(slice_axis, unit.images)
    return [2 if axis is None else axis for axis in axes]


def _volumes_of(unit: DenoisingUnit) -> list[list[int]]:
    """Which volumes of each series are taken; none named for all."""
    return [list(volumes) for volumes in unit.volumes] or [[] for _ in unit.images]


def _mask_node(unit: DenoisingUnit, given: Path | None) -> MapNode:
    if given is not None:
        return MapNode(GivenBrainMask(mask_file=str(given)), ["in_file"], name="mask", mem_gb=1.0)
    mask = MapNode(B0Mask(), ["in_file", "name"], name="mask", mem_gb=_DEEPBET_GB)
    mask.inputs.name = [str(image.path) for image in unit.images]
    return mask


def _add_registration(workflow: Workflow, unit: DenoisingUnit, align: Node) -> None:
    """Motion between series of one phase encoding."""
    names = [image.path.name for image in unit.images]
    connect_b0s(workflow, Node(RegisterSeries(names=names), name="register", mem_gb=1.5), align)


def add_placed_phase(workflow: Workflow, unit: DenoisingUnit) -> tuple[Node, str]:
    """Add the node that brings the phase of the first series to the grid of the result.

    Returns
    -------
    node : Node
    field : str
        Its output with the phase.
    """
    if unit.lies_in_place:
        first = Node(Select(index=[0]), name="first_phase")
        workflow.connect(workflow.get_node("pick"), "phase_file", first, "inlist")
        return first, "out"
    place = Node(PlacePhase(), name="place_phase", mem_gb=2.0)
    of_each = [("phase_file", "in_files"), ("bval_file", "bval_files"), ("bvec_file", "bvec_files")]
    workflow.connect(
        [
            (workflow.get_node("pick"), place, of_each),
            (motion_node(workflow), place, [("motion_file", "motion_files")]),
            (workflow.get_node("align"), place, [("mask_file", "mask_file")]),
        ]
    )
    if unit.distortion_is_estimated:
        place.inputs.phase_encoding = unit.phase_encoding_vectors
    connect_places(workflow, unit, place)
    return place, "phase_file"
