"""The whole workflow of one group of anatomical repetitions, from files to derivatives."""

from __future__ import annotations

from pathlib import Path

from nipype import Node, Workflow
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config
from n2a_bids.contrasts import find_contrast
from n2a_bids.dataset.grouping.sidecar_duplicates import count_processing
from n2a_bids.dataset.read.given_masks import find_brain_mask, owner_of_mask
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.gaps import FindGaps
from n2a_bids.interfaces.image_checks import InspectInputs
from n2a_bids.interfaces.training_group import ListTrainingGroup
from n2a_bids.workflows.anat.align import init_align_wf, init_single_wf
from n2a_bids.workflows.anat.downstream import init_anat_downstream_wf
from n2a_bids.workflows.anat.mask import init_mask_wf, mask_method
from n2a_bids.workflows.anat.reports import init_anat_reports_wf
from n2a_bids.workflows.complex_parts import (
    add_complex_output,
    init_check_node,
    init_demodulate_node,
    joined,
)
from n2a_bids.workflows.denoise import DENOISED, DenoiseFacts, connect_fields, init_denoise_node
from n2a_bids.workflows.derivatives import measures_regions, tells_error, writes_complex, writes_each_echo
from n2a_bids.workflows.descriptions import choice, opening
from n2a_bids.workflows.node_memory import reserve_memory
from n2a_bids.workflows.outputs import init_outputs_wf
from n2a_bids.workflows.regions import init_regions_wf

_ALIGNED = {
    "mask": "outputnode.brain_mask",
    "alignment": "outputnode.record_file",
    "transforms": "outputnode.out_transforms",
    "images": "outputnode.out_files",
    "measured": "outputnode.measured_file",
    **{
        field: f"outputnode.{field}"
        for field in ("accepted", "reference_file", "before_files", "after_files", "reference", "moved")
    },
}
"""What later workflows call the results of the alignment, and its output for each."""


def init_anat_unit_wf(unit: DenoisingUnit, config: Config, *, preproc: bool = False) -> Workflow:
    """Check, mask, align, denoise, write.

    Parameters
    ----------
    unit : DenoisingUnit
        Repetitions or echoes of an anatomical contrast.
    config : Config
        Each step is given its section.
    preproc : bool
        This unit gives the ``desc-preproc_T1w`` of its session.

    Returns
    -------
    workflow : Workflow
        Complete: it has no inputs. Its name is unique among the units of a dataset.
    """
    echoes, each_echo = unit.has_echoes, writes_each_echo(unit, config)
    given = find_brain_mask(config.derivatives, unit)
    workflow = LiterateWorkflow(unit.workflow_name)
    workflow.__desc__, workflow.__postdesc__ = opening(unit), choice(unit, config)
    align, inspect = _init_preparation(workflow, unit, config, given)
    facts = DenoiseFacts(
        different_contrast=echoes,
        real_valued=unit.uses_phase,
        save_repetitions=each_echo,
        save_uncertainty=tells_error(unit, config),
    )
    denoise = init_denoise_node(config.denoise, config.resources, facts)
    method = mask_method(config.mask, given)
    outputs = init_outputs_wf(unit, config, mask_method=method, given_mask=given)
    aligned = [("out_files", "in_files"), ("measured_file", "measured_file")]
    aligned.append(("brain_mask" if config.denoise.skull_strip else _measured_mask(unit), "mask_file"))
    found = [("warnings", "inputnode.found_warnings"), ("skull_stripped", "inputnode.inputs_stripped")]
    workflow.connect(
        [
            (align, denoise, [(f"outputnode.{field}", target) for field, target in aligned]),
            (align, denoise, [("reference.reference_file", "stored_files")]),
            (inspect, outputs, found),
        ]
    )
    targets = [outputs, init_anat_reports_wf(unit, config)]
    if preproc or config.outputs.raw_like_dir is not None:
        targets.append(init_anat_downstream_wf(unit, config, preproc=preproc))
        workflow.connect(outputs, "describe.denoised", targets[-1], "inputnode.sidecar")
    for target in targets:
        connect_fields(workflow, align, target, _ALIGNED)
        connect_fields(workflow, denoise, target, DENOISED)
    if measures_regions(unit, config):
        regions = init_regions_wf(unit, config)
        connect_fields(workflow, align, regions, _ALIGNED)
        connect_fields(workflow, denoise, regions, DENOISED | {"shown": DENOISED["mean"]})
    _connect_images(workflow, unit, config)
    reserve_memory(workflow, unit, config.resources.memory_gb)
    return workflow


def init_aligned_anat_wf(unit: DenoisingUnit, config: Config) -> Workflow:
    """Check, mask and align only: steps of `init_anat_unit_wf`, which finds them finished, and the other way.

    Parameters
    ----------
    unit : DenoisingUnit
        Repetitions of an anatomical contrast, or one image alone.

    Returns
    -------
    workflow : Workflow
        Complete: it ends with ``aligned/group.json``, which names the aligned files.
    """
    workflow = Workflow(unit.workflow_name)
    align, _ = _init_preparation(workflow, unit, config, find_brain_mask(config.derivatives, unit))
    keep = Node(
        ListTrainingGroup(subject=unit.entities["sub"], label=unit.label, real_valued=unit.uses_phase),
        name="aligned",
        mem_gb=0.1,
    )
    aligned = [("out_files", "in_files"), ("measured_file", "measured_file")]
    aligned.append((_measured_mask(unit), "mask_file"))
    workflow.connect([(align, keep, [(f"outputnode.{field}", target) for field, target in aligned])])
    _connect_images(workflow, unit, config)
    reserve_memory(workflow, unit, config.resources.memory_gb)
    return workflow


def _measured_mask(unit: DenoisingUnit) -> str:
    """Mask of a denoising: of repetitions, the map of what was measured tells where some of them end."""
    return "common_mask" if unit.kind == "anat-single" else "brain_mask"


def _init_preparation(
    workflow: Workflow, unit: DenoisingUnit, config: Config, given: Path | None
) -> tuple[Workflow, Node]:
    """Find gaps, mask and align: the workflow that ends with aligned files, and the look at inputs."""
    random_seed, is_ratio = config.denoise.random_seed, find_contrast(unit.suffix).has_noisy_background
    gaps = Node(FindGaps(), name="gaps", mem_gb=1.0)
    threads = config.resources.omp_nthreads
    owner = None if given is None else owner_of_mask(given, [image.path for image in unit.images])
    mask = init_mask_wf(
        config.mask,
        given=given,
        owner=owner or 0,
        threads=threads,
        random_seed=random_seed,
        is_ratio=is_ratio,
    )
    align = _init_alignment(unit, config, owner)
    inspect = Node(InspectInputs(given_mask=given.name if given else ""), name="inspect", mem_gb=1.0)
    seen = [("outputnode.accepted", "accepted"), ("outputnode.warnings", "alignment_warnings")]
    workflow.connect(
        [
            (gaps, mask, [("out_files", "inputnode.in_files")]),
            (gaps, align, [("out_files", "inputnode.in_files"), ("gap_files", "inputnode.gap_files")]),
            (mask, align, [("outputnode.mask_files", "inputnode.mask_files")]),
            (gaps, inspect, [("out_files", "in_files"), ("warnings", "gap_warnings")]),
            (mask, inspect, [("outputnode.mask_files", "mask_files")]),
            (align, inspect, [("reference.index", "index"), *seen]),
        ]
    )
    return align, inspect


def _init_alignment(unit: DenoisingUnit, config: Config, required_index: int | None) -> Workflow:
    """How the images of a unit come onto one grid; one image alone stays as it is."""
    if unit.kind == "anat-single":
        return init_single_wf()
    return init_align_wf(
        config.align,
        [count_processing(image.metadata) for image in unit.images],
        required_index=required_index,
        same_contrast=not unit.has_echoes,
        of_one_echo="echo" in unit.entities,
        random_seed=config.denoise.random_seed,
    )


def _connect_images(workflow: Workflow, unit: DenoisingUnit, config: Config) -> None:
    """From the checked files to their gaps: of complex images, those of the magnitudes; their output, too."""
    check = init_check_node(unit, skip=config.selection.skip_validation)
    gaps, align = workflow.get_node("gaps"), workflow.get_node("align_wf")
    demodulate = init_demodulate_node(unit)
    if demodulate is None:
        workflow.connect(check, "out_files", gaps, "in_files")
        return
    workflow.connect(
        [
            (check, demodulate, [("out_files", "in_file")]),
            (demodulate, gaps, [("magnitude_file", "in_files")]),
            (demodulate, workflow.get_node("inspect"), [(("warnings", joined), "phase_warnings")]),
        ]
    )
    if unit.uses_phase:
        values = [("values_file", "inputnode.values_files"), ("phase_file", "inputnode.phase_files")]
        workflow.connect([(demodulate, align, values)])
    if writes_complex(unit, config):
        add_complex_output(workflow, unit, config, (align, "outputnode.phase_file"))
