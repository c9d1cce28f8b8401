"""One group of diffusion series, from files to derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nipype import MapNode, Node, Workflow
from nipype.interfaces.utility import Select

from n2a_bids.config import Config
from n2a_bids.dataset.acquisition import read_acquisition
from n2a_bids.dataset.derivatives import find_brain_mask, masks_in_other_spaces
from n2a_bids.dataset.gradient_tables import phase_encoding_on_grid
from n2a_bids.dataset.protocols import protocol_notes
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.b0_threshold import set_b0_threshold
from n2a_bids.interfaces.check import CheckImages, RefuseCopies
from n2a_bids.interfaces.distortion import EstimateDistortion
from n2a_bids.interfaces.dwi_align import AlignSeries
from n2a_bids.interfaces.dwi_mask import B0Mask, PickVolumes
from n2a_bids.interfaces.dwi_motion import EstimateMotion
from n2a_bids.interfaces.inspect_inputs import InspectInputs
from n2a_bids.interfaces.mask import GivenBrainMask
from n2a_bids.interfaces.synthesis import SplitSeries
from n2a_bids.strategy_table import takes_halves
from n2a_bids.workflows.denoise import init_denoise_node
from n2a_bids.workflows.dwi_consumers import init_dwi_consumers_wf, wants_own_grids
from n2a_bids.workflows.dwi_memory import reserve_memory
from n2a_bids.workflows.dwi_outputs import init_dwi_outputs_wf
from n2a_bids.workflows.dwi_reports import init_dwi_reports_wf
from n2a_bids.workflows.dwi_tensor import determines_tensor, init_tensor_wf
from n2a_bids.workflows.mask import mask_warnings
from n2a_bids.workflows.unit import workflow_name


def init_dwi_unit_wf(
    unit: DenoisingUnit, config: Config, *, all_series: Mapping[Path, Path] | None = None
) -> Workflow:
    """Check, mask, correct motion and distortion in one interpolation, denoise, write.

    Parameters
    ----------
    unit : DenoisingUnit
        Diffusion series of any kind.
    config : Config
        Each step is given its section.
    all_series : mapping of Path to Path, optional
        See `init_dwi_consumers_wf`.

    Returns
    -------
    workflow : Workflow
        Complete: it has no inputs.
    """
    workflow = Workflow(workflow_name(unit))
    given = find_brain_mask(config.derivatives, unit)
    align = _init_preparation(
        workflow,
        unit,
        given,
        skip_validation=config.selection.skip_validation,
        seed=config.denoise.random_seed,
    )
    denoise = init_denoise_node(config.denoise, config.resources)
    method = _mask_method(given)
    elsewhere = masks_in_other_spaces(config.derivatives, unit)
    warnings = [*mask_warnings(config.derivatives, given, method, elsewhere), *protocol_notes(unit)]
    outputs = init_dwi_outputs_wf(unit, config, mask_method=method, given_mask=given, warnings=warnings)
    tensor = init_tensor_wf(unit, config) if determines_tensor(unit, config.selection.b0_threshold) else None
    reports = init_dwi_reports_wf(unit, config, tensor=tensor is not None)
    series = (align, "out_files")
    if unit.kind == "dwi-split" and takes_halves(config.denoise.strategy):
        split = _init_split(workflow, align, config.denoise.random_seed)
        series = (split, "out_files")
    table = [("bval_file", "bvals"), ("bvec_file", "bvecs")]
    to_all = [
        *(("mask_file", "inputnode.mask"), ("bval_file", "inputnode.bval")),
        *(("bvec_file", "inputnode.bvec"), ("figures_file", "inputnode.alignment")),
    ]
    denoised = [
        *(("out_file", "inputnode.denoised"), ("mean_file", "inputnode.mean")),
        *(("noise_sd_file", "inputnode.noise_sd"), ("figures_file", "inputnode.denoising")),
    ]
    workflow.connect(
        [
            (series[0], denoise, [(series[1], "in_files")]),
            (align, denoise, [("mask_file", "mask_file"), ("noise_kept", "noise_kept"), *table]),
            # nipype keeps and extends the lists it is given: each connection needs its own.
            (align, outputs, [*to_all]),
            (
                align,
                reports,
                [*to_all, ("out_files", "inputnode.series"), ("b0_files", "inputnode.b0_after")],
            ),
            (denoise, outputs, [*denoised, ("residual_file", "inputnode.residual")]),
            (denoise, reports, [*denoised]),
        ]
    )
    if unit.kind == "dwi-reverse-pe":
        distortion, pick = workflow.get_node("distortion"), workflow.get_node("pick")
        workflow.connect(
            [
                (
                    distortion,
                    outputs,
                    [
                        ("displacement_file", "inputnode.displacement"),
                        ("figures_file", "inputnode.distortion"),
                    ],
                ),
                (pick, reports, [("b0_file", "inputnode.b0_before")]),
            ]
        )
    _connect_inspection(workflow, given)
    if tensor is not None:
        _connect_tensor(workflow, tensor, reports)
    if config.outputs.raw_like_dir is not None or wants_own_grids(unit, config):
        _connect_consumers(workflow, unit, config, all_series)
    set_b0_threshold(workflow, config.selection.b0_threshold)
    reserve_memory(workflow, unit, config.resources.memory_gb)
    return workflow


def _connect_inspection(workflow: Workflow, given: Path | None) -> None:
    """What the b0 of the series tell about inputs and mask goes into the sidecars."""
    inspect = Node(InspectInputs(given_mask=given.name if given else ""), name="inspect", mem_gb=1.0)
    found = [("warnings", "inputnode.found_warnings"), ("skull_stripped", "inputnode.inputs_stripped")]
    workflow.connect(
        [
            (workflow.get_node("pick"), inspect, [("b0_file", "in_files")]),
            (workflow.get_node("mask"), inspect, [("out_mask", "mask_files")]),
            (inspect, workflow.get_node("outputs_wf"), found),
        ]
    )


def _connect_tensor(workflow: Workflow, tensor: Workflow, reports: Workflow) -> None:
    align, denoise = workflow.get_node("align"), workflow.get_node("denoise")
    aligned = [(f"{field}_file", f"inputnode.{field}") for field in ("bval", "bvec", "mask")]
    images = [("mean_file", "inputnode.mean"), ("out_file", "inputnode.denoised")]
    maps = ("fa_mean", "v1_mean", "fa_denoised", "v1_denoised")
    workflow.connect(
        [
            (align, tensor, aligned),
            (denoise, tensor, images),
            (tensor, reports, [(f"outputnode.{field}", f"inputnode.{field}") for field in maps]),
        ]
    )


def _connect_consumers(
    workflow: Workflow, unit: DenoisingUnit, config: Config, all_series: Mapping[Path, Path] | None
) -> None:
    is_pair = unit.kind == "dwi-reverse-pe"
    consumers = init_dwi_consumers_wf(
        unit,
        config,
        all_series=all_series,
        phase_encoding=phase_encoding_on_grid(unit, 0) if is_pair else "",
        readout_ratio=_readout_ratio(unit) if is_pair else 1.0,
    )
    aligned = [(f"{field}_file", f"inputnode.{field}") for field in ("mask", "bval", "bvec", "between")]
    acquired = [
        *(("out_file", "inputnode.series"), ("b0_file", "inputnode.own_b0")),
        *(("bval_file", "inputnode.own_bval"), ("bvec_file", "inputnode.own_bvec")),
    ]
    workflow.connect(
        [
            (workflow.get_node("align"), consumers, [*aligned, ("b0_files", "inputnode.b0")]),
            (workflow.get_node("pick"), consumers, acquired),
            (workflow.get_node("motion"), consumers, [("motion_file", "inputnode.motion")]),
            (workflow.get_node("denoise"), consumers, [("out_file", "inputnode.denoised")]),
            (workflow.get_node("outputs_wf"), consumers, [("describe.denoised", "inputnode.sidecar")]),
        ]
    )
    if is_pair:
        distortion = workflow.get_node("distortion")
        workflow.connect(distortion, "displacement_file", consumers, "inputnode.displacement")


def _mask_method(given: Path | None) -> str:
    """How the brain is found, in a few words."""
    if given is not None:
        return f"given by the user ({given.name})"
    return "by an Otsu threshold on the median-filtered mean b0 (dipy)"


def _init_preparation(
    workflow: Workflow, unit: DenoisingUnit, given: Path | None, *, skip_validation: bool, seed: int
) -> Node:
    """Nodes up to the aligned series; returns the last of them."""
    paths = [image.path for image in unit.images]
    check = Node(CheckImages(in_files=list(map(str, paths)), skip=skip_validation), name="check")
    pick = _pick_node(unit)
    mask = _mask_node(given)
    of_each = ["in_file", "bval_file", "bvec_file", "mask_file"]
    motion = MapNode(EstimateMotion(seed=seed), of_each, name="motion", mem_gb=3.0)
    interface = AlignSeries(volumes=pick.inputs.volumes, keep_mask=given is not None)
    interface.inputs.names = [path.name for path in paths]
    align = Node(interface, name="align", mem_gb=4.0)
    table = [("bval_file", "bval_file"), ("bvec_file", "bvec_file")]
    distinct = Node(RefuseCopies(names=list(map(str, paths))), name="distinct", mem_gb=1.5)
    first_mask = Node(Select(index=[0]), name="first_mask")
    workflow.connect(
        [
            (check, pick, [("out_files", "in_file")]),
            (pick, mask, [("b0_file", "in_file")]),
            (pick, distinct, [("out_file", "in_files")]),
            (distinct, motion, [("out_files", "in_file")]),
            (pick, motion, [*table]),
            (mask, motion, [("out_mask", "mask_file")]),
            (mask, first_mask, [("out_mask", "inlist")]),
            (first_mask, align, [("out", "mask_file")]),
            (motion, align, [("motion_file", "motion_files"), ("b0_file", "b0_files")]),
            (
                pick,
                align,
                [
                    ("out_file", "in_files"),
                    ("bval_file", "bval_files"),
                    ("bvec_file", "bvec_files"),
                ],
            ),
        ]
    )
    if unit.kind == "dwi-reverse-pe":
        _add_distortion(workflow, unit, pick, first_mask, align)
    return align


def _pick_node(unit: DenoisingUnit) -> MapNode:
    pick = MapNode(PickVolumes(), ["in_file", "bval_file", "bvec_file", "volumes"], name="pick", mem_gb=2.0)
    pick.inputs.bval_file = [str(image.bval) for image in unit.images]
    pick.inputs.bvec_file = [str(image.bvec) for image in unit.images]
    pick.inputs.volumes = [list(volumes) for volumes in unit.volumes] or [[] for _ in unit.images]
    return pick


def _mask_node(given: Path | None) -> MapNode:
    interface = B0Mask() if given is None else GivenBrainMask(mask_file=str(given))
    return MapNode(interface, ["in_file"], name="mask", mem_gb=1.0)


def _add_distortion(
    workflow: Workflow, unit: DenoisingUnit, pick: Node, first_mask: Node, align: Node
) -> None:
    direction = phase_encoding_on_grid(unit, 0)
    distortion = Node(
        EstimateDistortion(phase_encoding=direction, readout_ratio=_readout_ratio(unit)),
        name="distortion",
        mem_gb=2.0,
    )
    align.inputs.trait_set(phase_encoding=direction, readout_ratio=_readout_ratio(unit))
    workflow.connect(
        [
            (workflow.get_node("motion"), distortion, [("b0_file", "b0_files")]),
            (first_mask, distortion, [("out", "mask_file")]),
            (
                distortion,
                align,
                [("displacement_file", "displacement_file"), ("motion_file", "between_file")],
            ),
        ]
    )


def _readout_ratio(unit: DenoisingUnit) -> float:
    """Displacement of the second series over that of the first; 1 where a sidecar does not tell."""
    first, second = (read_acquisition(image.metadata).readout_time_s for image in unit.images)
    return second / first if first and second else 1.0


def _init_split(workflow: Workflow, align: Node, seed: int) -> Node:
    first = Node(Select(index=[0]), name="first_series")
    split = Node(SplitSeries(seed=seed), name="split", mem_gb=3.0)
    fields = [("bval_file", "bval_file"), ("bvec_file", "bvec_file"), ("mask_file", "mask_file")]
    workflow.connect(
        [
            (align, first, [("out_files", "inlist")]),
            (first, split, [("out", "in_file")]),
            (align, split, fields),
        ]
    )
    return split
