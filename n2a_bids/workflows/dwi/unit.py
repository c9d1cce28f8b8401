"""The whole workflow of one group of diffusion series, from files to derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.utility import Select
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config
from n2a_bids.dataset.read.given_masks import find_brain_mask
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.dwi.b0_mask import method_words
from n2a_bids.interfaces.dwi.series import set_shared_inputs
from n2a_bids.interfaces.dwi.tensor import SplitSeries
from n2a_bids.interfaces.image_checks import InspectInputs
from n2a_bids.strategy_table import takes_halves
from n2a_bids.workflows.complex_parts import add_complex_output, joined, second_files
from n2a_bids.workflows.denoise import DENOISED, DenoiseFacts, connect_fields, init_denoise_node
from n2a_bids.workflows.derivatives import measures_regions, needs_own_grids, tells_error, writes_complex
from n2a_bids.workflows.descriptions import choice, masking, opening, series_preparation
from n2a_bids.workflows.dwi.downstream import init_dwi_downstream_wf
from n2a_bids.workflows.dwi.motion import motion_node
from n2a_bids.workflows.dwi.preparation import (
    add_placed_phase,
    connect_places,
    init_preparation,
    reference_first,
)
from n2a_bids.workflows.dwi.reports import init_dwi_reports_wf
from n2a_bids.workflows.dwi.tensor import TENSOR_MAPS, determines_tensor, init_tensor_wf, outdated_maps
from n2a_bids.workflows.node_memory import reserve_memory
from n2a_bids.workflows.outputs import init_outputs_wf
from n2a_bids.workflows.regions import init_regions_wf

_ALIGNED = {
    **{field: f"{field}_file" for field in ("mask", "bval", "bvec")},
    **{"alignment": "record_file", "images": "out_files", "b0_after": "b0_files", "accepted": "accepted"},
}
"""What later workflows call the results of the alignment, and its output for each."""


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
        See `init_dwi_downstream_wf`.

    Returns
    -------
    workflow : Workflow
        Complete: it has no inputs.
    """
    workflow = LiterateWorkflow(unit.workflow_name)
    given = find_brain_mask(config.derivatives, unit)
    unit, reference_reason = reference_first(unit, given)
    if config.outputs.raw_like_dir is not None:
        # The tool that takes the series corrects it, with the same b0.
        unit = replace(unit, reversed_b0=None)
    method = f"given by the user ({given.name})" if given else method_words(config.mask.dwi_method)
    workflow.__desc__ = opening(unit) + masking(method) + series_preparation(unit)
    workflow.__postdesc__ = choice(unit, config)
    align = init_preparation(workflow, unit, given, config, reference_reason)
    denoise = _add_denoising(workflow, unit, config)
    outdated = outdated_maps(unit, config)
    outputs = init_outputs_wf(unit, config, mask_method=method, given_mask=given, outdated=outdated)
    workflow.add_nodes([outputs])
    targets = [outputs, *_add_maps_and_reports(workflow, unit, config)]
    if unit.distortion_is_estimated:
        _connect_distortion(workflow)
    _connect_inspection(workflow, unit, given)
    if config.outputs.raw_like_dir is not None or needs_own_grids(unit, config):
        targets.append(init_dwi_downstream_wf(unit, config, all_series=all_series))
        _connect_acquired(workflow, targets[-1], unit)
    if measures_regions(unit, config):
        targets.append(_add_regions(workflow, unit, config))
    for target in targets:
        connect_fields(workflow, align, target, _ALIGNED)
        connect_fields(workflow, denoise, target, DENOISED)
    if writes_complex(unit, config):
        add_complex_output(workflow, unit, config, add_placed_phase(workflow, unit))
    how_brains_are_found = {
        "b0_mask_method": config.mask.dwi_method,
        "b0_mask_seed": config.denoise.random_seed,
    }
    set_shared_inputs(workflow, {"b0_threshold": config.selection.b0_threshold, **how_brains_are_found})
    reserve_memory(workflow, unit, config.resources.memory_gb)
    return workflow


def _add_maps_and_reports(workflow: Workflow, unit: DenoisingUnit, config: Config) -> list[Workflow]:
    """Add the report, and the maps of the tensor where the directions determine it."""
    with_tensor = determines_tensor(unit, config.selection.b0_threshold)
    reports = init_dwi_reports_wf(unit, config, tensor=with_tensor)
    workflow.add_nodes([reports])
    if not with_tensor:
        return [reports]
    tensor = init_tensor_wf(unit, config)
    connect_fields(workflow, tensor, reports, TENSOR_MAPS)
    return [reports, tensor]


def _add_regions(workflow: Workflow, unit: DenoisingUnit, config: Config) -> Workflow:
    """The atlas is registered to the mean b0 of the first series, where the result lies."""
    regions = init_regions_wf(unit, config)
    first_b0 = Node(Select(index=[0]), name="shown_b0")
    workflow.connect(
        [
            (workflow.get_node("align"), first_b0, [("b0_files", "inlist")]),
            (first_b0, regions, [("out", "inputnode.shown")]),
        ]
    )
    return regions


def _add_denoising(workflow: Workflow, unit: DenoisingUnit, config: Config) -> Node:
    """Add the denoising node: it takes the aligned series, or two made of the one that there is."""
    in_place = unit.lies_in_place
    # What reads the result as raw expects its noise floor, as in all that was not denoised.
    keep_floor = config.denoise.keep_noise_floor or in_place
    facts = DenoiseFacts(
        real_valued=unit.uses_phase,
        companion=unit.companion and unit.companion.path,
        whole_image=in_place,
        save_uncertainty=tells_error(unit, config),
    )
    told = replace(config.denoise, keep_noise_floor=keep_floor)
    denoise = init_denoise_node(told, config.resources, facts)
    align = workflow.get_node("align")
    series = align
    if unit.kind == "dwi-split" and takes_halves(config.denoise.strategy):
        series = _init_split(workflow, align, config.denoise.random_seed)
    table = [("bval_file", "bvals"), ("bvec_file", "bvecs")]
    workflow.connect(
        [
            (series, denoise, [("out_files", "in_files")]),
            (align, denoise, [("mask_file", "mask_file"), ("noise_kept", "noise_kept"), *table]),
            (workflow.get_node("pick"), denoise, [("out_file", "stored_files")]),
        ]
    )
    return denoise


def _connect_distortion(workflow: Workflow) -> None:
    """The field of the first series, the record, and the b0s before and after go to outputs and report."""
    distortion, outputs = workflow.get_node("distortion"), workflow.get_node("outputs_wf")
    first_field = Node(Select(index=[0]), name="first_field")
    shown = [("placed_files", "inputnode.b0_before"), ("b0_files", "inputnode.b0_corrected")]
    workflow.connect(
        [
            (distortion, first_field, [("displacement_files", "inlist")]),
            (first_field, outputs, [("out", "inputnode.displacement")]),
            (distortion, outputs, [("record_file", "inputnode.distortion")]),
            (distortion, outputs, [("corrected", "inputnode.corrected")]),
            (distortion, workflow.get_node("reports_wf"), shown),
        ]
    )


def _connect_inspection(workflow: Workflow, unit: DenoisingUnit, given: Path | None) -> None:
    """What the b0 of the series tell about inputs and mask goes into the sidecars."""
    interface = InspectInputs(given_mask=given.name if given else "")
    interface.inputs.names = [image.path.name for image in unit.images]
    inspect = Node(interface, name="inspect", mem_gb=1.0)
    found = [("warnings", "inputnode.found_warnings"), ("skull_stripped", "inputnode.inputs_stripped")]
    workflow.connect(
        [
            (workflow.get_node("pick"), inspect, [("b0_file", "in_files")]),
            (workflow.get_node("pick"), inspect, [(("gap_warnings", joined), "gap_warnings")]),
            (workflow.get_node("mask"), inspect, [("out_mask", "mask_files")]),
            (workflow.get_node("distinct"), inspect, [("warnings", "alignment_warnings")]),
            (inspect, workflow.get_node("outputs_wf"), found),
        ]
    )
    if second_files(unit):
        demodulate = workflow.get_node("demodulate")
        workflow.connect([(demodulate, inspect, [(("warnings", joined), "phase_warnings")])])
    if given is None:
        workflow.connect(workflow.get_node("mask"), ("warnings", joined), inspect, "mask_warnings")


def _connect_acquired(workflow: Workflow, downstream: Workflow, unit: DenoisingUnit) -> None:
    """What is known of each series as it was acquired, and the sidecar of the result."""
    acquired = [
        *(("values_file", "inputnode.own_series"), ("b0_file", "inputnode.own_b0")),
        *(("bval_file", "inputnode.own_bval"), ("bvec_file", "inputnode.own_bvec")),
    ]
    workflow.connect(
        [
            (workflow.get_node("pick"), downstream, acquired),
            (motion_node(workflow), downstream, [("motion_file", "inputnode.motion")]),
            (workflow.get_node("outputs_wf"), downstream, [("describe.denoised", "inputnode.sidecar")]),
        ]
    )
    if not unit.lies_in_place:
        connect_places(workflow, unit, downstream, ("inputnode.between", "inputnode.displacement"))


def _init_split(workflow: Workflow, align: Node, random_seed: int) -> Node:
    first = Node(Select(index=[0]), name="first_series")
    split = Node(SplitSeries(random_seed=random_seed), name="split", mem_gb=3.0)
    fields = [("bval_file", "bval_file"), ("bvec_file", "bvec_file"), ("mask_file", "mask_file")]
    workflow.connect(
        [
            (align, first, [("out_files", "inlist")]),
            (first, split, [("out", "in_file")]),
            (align, split, fields),
        ]
    )
    return split
