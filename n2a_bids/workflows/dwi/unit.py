"""Workflow of one group of diffusion series, from files to derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.utility import Select
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config, DenoiseConfig
from n2a_bids.dataset.read.given_masks import find_brain_mask
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.dwi.b0_mask import method_words, set_mask_method
from n2a_bids.interfaces.dwi.b0_threshold import set_b0_threshold
from n2a_bids.interfaces.dwi.tensor import SplitSeries
from n2a_bids.interfaces.image_checks import InspectInputs
from n2a_bids.strategy_table import takes_halves
from n2a_bids.workflows.complex_parts import add_complex_output, joined, second_files, writes_complex
from n2a_bids.workflows.denoise import init_denoise_node
from n2a_bids.workflows.derivatives import is_made_of_several, tells_error
from n2a_bids.workflows.descriptions import choice, masking, opening, series_preparation
from n2a_bids.workflows.dwi.downstream import init_dwi_downstream_wf, wants_own_grids
from n2a_bids.workflows.dwi.node_memory import reserve_memory
from n2a_bids.workflows.dwi.preparation import add_placed_phase, init_preparation, reference_first
from n2a_bids.workflows.dwi.reports import init_dwi_reports_wf
from n2a_bids.workflows.dwi.tensor import determines_tensor, init_tensor_wf
from n2a_bids.workflows.names import workflow_name
from n2a_bids.workflows.outputs import init_outputs_wf


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
    workflow = LiterateWorkflow(workflow_name(unit))
    unit, reference_reason = reference_first(unit)
    if config.outputs.raw_like_dir is not None:
        # The tool that takes the series corrects it, with the same b0.
        unit = replace(unit, reversed_b0=None)
    given = find_brain_mask(config.derivatives, unit)
    align = init_preparation(
        workflow,
        unit,
        given,
        config.align,
        skip_validation=config.selection.skip_validation,
        keep_negative=config.denoise.keep_noise_floor or unit.uses_phase,
        reference_reason=reference_reason,
        random_seed=config.denoise.random_seed,
    )
    denoise = init_denoise_node(
        _denoising_of(unit, config),
        config.resources,
        real_valued=unit.uses_phase,
        save_uncertainty=tells_error(unit, config),
        whole_image=unit.kind == "dwi-in-place",
        companion=unit.companion and unit.companion.path,
    )
    method = f"given by the user ({given.name})" if given else method_words(config.mask.dwi_method)
    workflow.__desc__ = opening(unit) + masking(method) + series_preparation(unit)
    workflow.__postdesc__ = choice(unit, config)
    outputs = init_outputs_wf(unit, config, mask_method=method, given_mask=given)
    tensor = init_tensor_wf(unit, config) if determines_tensor(unit, config.selection.b0_threshold) else None
    reports = init_dwi_reports_wf(unit, config, tensor=tensor is not None)
    series = (align, "out_files")
    if unit.kind == "dwi-split" and takes_halves(config.denoise.strategy):
        split = _init_split(workflow, align, config.denoise.random_seed)
        series = (split, "out_files")
    table = [("bval_file", "bvals"), ("bvec_file", "bvecs")]
    workflow.connect(
        [
            (series[0], denoise, [(series[1], "in_files")]),
            (align, denoise, [("mask_file", "mask_file"), ("noise_kept", "noise_kept"), *table]),
            (workflow.get_node("pick"), denoise, [("out_file", "stored_files")]),
        ]
    )
    _connect_results(workflow, outputs, reports, unit, config)
    if unit.distortion_is_estimated:
        _connect_distortion(workflow, outputs, reports)
    _connect_inspection(workflow, unit, given)
    if tensor is not None:
        _connect_tensor(workflow, tensor, reports)
    if config.outputs.raw_like_dir is not None or wants_own_grids(unit, config):
        _connect_downstream(workflow, unit, config, all_series)
    if writes_complex(unit, config):
        add_complex_output(workflow, unit, config, add_placed_phase(workflow, unit))
    set_b0_threshold(workflow, config.selection.b0_threshold)
    set_mask_method(workflow, config.mask.dwi_method, config.denoise.random_seed)
    reserve_memory(workflow, unit, config.resources.memory_gb)
    return workflow


def _denoising_of(unit: DenoisingUnit, config: Config) -> DenoiseConfig:
    """What reads the result as raw expects its noise floor, as in all that was not denoised."""
    in_place = unit.kind == "dwi-in-place"
    return replace(config.denoise, keep_noise_floor=config.denoise.keep_noise_floor or in_place)


def _connect_results(
    workflow: Workflow, outputs: Workflow, reports: Workflow, unit: DenoisingUnit, config: Config
) -> None:
    align, denoise = workflow.get_node("align"), workflow.get_node("denoise")
    to_all = [
        *(("mask_file", "inputnode.mask"), ("bval_file", "inputnode.bval")),
        *(("bvec_file", "inputnode.bvec"), ("record_file", "inputnode.alignment")),
    ]
    denoised = [
        *(("out_file", "inputnode.denoised"), ("noise_sd_file", "inputnode.noise_sd")),
        ("record_file", "inputnode.denoising"),
    ]
    mean = [("mean_file", "inputnode.mean")]
    shown = [("out_files", "inputnode.series"), ("b0_files", "inputnode.b0_after")]
    workflow.connect(
        [
            # nipype keeps and extends the lists it is given: each connection needs its own.
            (align, outputs, [*to_all, ("accepted", "inputnode.accepted")]),
            (align, reports, [*to_all, *shown]),
            (
                denoise,
                outputs,
                [
                    *denoised,
                    *(mean if is_made_of_several(unit, config) else ()),
                    ("residual_file", "inputnode.residual"),
                ],
            ),
            (denoise, reports, [*denoised, *mean]),
        ]
    )
    for target in (outputs, reports) if tells_error(unit, config) else ():
        workflow.connect(denoise, "uncertainty_file", target, "inputnode.uncertainty")


def _connect_distortion(workflow: Workflow, outputs: Workflow, reports: Workflow) -> None:
    """The field of the first series, the record, and the b0s before and after go to outputs and report."""
    distortion = workflow.get_node("distortion")
    first_field = Node(Select(index=[0]), name="first_field")
    shown = [("placed_files", "inputnode.b0_before"), ("b0_files", "inputnode.b0_corrected")]
    workflow.connect(
        [
            (distortion, first_field, [("displacement_files", "inlist")]),
            (first_field, outputs, [("out", "inputnode.displacement")]),
            (distortion, outputs, [("record_file", "inputnode.distortion")]),
            (distortion, outputs, [("corrected", "inputnode.corrected")]),
            (distortion, reports, shown),
        ]
    )


def _connect_inspection(workflow: Workflow, unit: DenoisingUnit, given: Path | None) -> None:
    """What the b0 of the series tell about inputs and mask goes into the sidecars."""
    inspect = Node(InspectInputs(given_mask=given.name if given else ""), name="inspect", mem_gb=1.0)
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


def _connect_downstream(
    workflow: Workflow, unit: DenoisingUnit, config: Config, all_series: Mapping[Path, Path] | None
) -> None:
    downstream = init_dwi_downstream_wf(unit, config, all_series=all_series)
    aligned = [(f"{field}_file", f"inputnode.{field}") for field in ("mask", "bval", "bvec")]
    aligned += [("b0_files", "inputnode.b0"), ("accepted", "inputnode.accepted")]
    acquired = [
        *(("values_file", "inputnode.series"), ("b0_file", "inputnode.own_b0")),
        *(("bval_file", "inputnode.own_bval"), ("bvec_file", "inputnode.own_bvec")),
    ]
    workflow.connect(
        [
            (workflow.get_node("align"), downstream, aligned),
            (workflow.get_node("pick"), downstream, acquired),
            (workflow.get_node("motion"), downstream, [("motion_file", "inputnode.motion")]),
            (workflow.get_node("denoise"), downstream, [("out_file", "inputnode.denoised")]),
            (workflow.get_node("outputs_wf"), downstream, [("describe.denoised", "inputnode.sidecar")]),
        ]
    )
    if unit.kind == "dwi-in-place":
        return
    is_pair = unit.kind == "dwi-reverse-pe"
    between = workflow.get_node("distortion" if is_pair else "register")
    workflow.connect(between, "between_file", downstream, "inputnode.between")
    if unit.distortion_is_estimated:
        displacements = between if is_pair else workflow.get_node("displacements")
        workflow.connect(displacements, "displacement_files", downstream, "inputnode.displacement")


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
