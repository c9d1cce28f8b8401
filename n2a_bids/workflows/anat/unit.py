"""Workflow of one group of anatomical repetitions, from files to derivatives."""

from __future__ import annotations

from pathlib import Path

from nipype import Node, Workflow

from n2a_bids.config import Config
from n2a_bids.contrasts import find_contrast
from n2a_bids.dataset.group.sidecar_duplicates import count_processing
from n2a_bids.dataset.read.given_masks import find_brain_mask
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.gaps import FindGaps
from n2a_bids.interfaces.image_checks import InspectInputs
from n2a_bids.io.images import same_grid
from n2a_bids.workflows.anat.align import init_align_wf
from n2a_bids.workflows.anat.downstream import init_downstream_wf
from n2a_bids.workflows.anat.mask import init_mask_wf, mask_method
from n2a_bids.workflows.anat.reports import init_reports_wf
from n2a_bids.workflows.complex_parts import (
    add_complex_output,
    init_check_node,
    init_demodulate_node,
    joined,
    writes_complex,
)
from n2a_bids.workflows.denoise import init_denoise_node
from n2a_bids.workflows.derivatives import writes_each_echo
from n2a_bids.workflows.names import workflow_name
from n2a_bids.workflows.outputs import init_outputs_wf


def init_unit_wf(unit: DenoisingUnit, config: Config, *, preproc: bool = False) -> Workflow:
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
    resources = config.resources
    echoes, each_echo = unit.kind == "anat-echoes", writes_each_echo(unit, config)
    threads, random_seed = resources.omp_nthreads, config.denoise.random_seed
    given = find_brain_mask(config.derivatives, unit)
    required_index = None if given is None else _owner_of_mask(given, unit)
    workflow = Workflow(workflow_name(unit))
    check = init_check_node(unit, skip=config.selection.skip_validation)
    gaps = Node(FindGaps(), name="gaps", mem_gb=1.0)
    is_ratio = find_contrast(unit.suffix).has_noisy_background
    mask = init_mask_wf(config.mask, given=given, threads=threads, random_seed=random_seed, is_ratio=is_ratio)
    steps = [count_processing(image.metadata) for image in unit.images]
    align = init_align_wf(
        config.align, steps, required_index=required_index, different_contrast=echoes, random_seed=random_seed
    )
    denoise = init_denoise_node(
        config.denoise,
        resources,
        different_contrast=echoes,
        save_repetitions=each_echo,
        real_valued=unit.uses_phase,
    )
    method = mask_method(config.mask, given)
    inspect = Node(InspectInputs(given_mask=given.name if given else ""), name="inspect", mem_gb=1.0)
    outputs = init_outputs_wf(unit, config, mask_method=method, given_mask=given)
    reports = init_reports_wf(unit, config)
    # Cropped runs: where one of them shows nothing, measures of noise would be wrong.
    denoising_mask = "brain_mask" if config.denoise.skull_strip else "common_mask"
    workflow.connect(
        [
            (gaps, mask, [("out_files", "inputnode.in_files")]),
            (gaps, align, [("out_files", "inputnode.in_files"), ("gap_files", "inputnode.gap_files")]),
            (mask, align, [("outputnode.mask_files", "inputnode.mask_files")]),
            (gaps, inspect, [("out_files", "in_files"), ("warnings", "gap_warnings")]),
            (mask, inspect, [("outputnode.mask_files", "mask_files")]),
            (
                align,
                inspect,
                [
                    ("reference.index", "index"),
                    ("outputnode.accepted", "accepted"),
                    ("outputnode.warnings", "alignment_warnings"),
                ],
            ),
            (
                inspect,
                outputs,
                [("warnings", "inputnode.found_warnings"), ("skull_stripped", "inputnode.inputs_stripped")],
            ),
            (
                align,
                denoise,
                [
                    ("outputnode.out_files", "in_files"),
                    (f"outputnode.{denoising_mask}", "mask_file"),
                    ("outputnode.measured_file", "measured_file"),
                ],
            ),
            (align, denoise, [("reference.reference_file", "stored_files")]),
            (
                align,
                outputs,
                [
                    ("outputnode.brain_mask", "inputnode.mask"),
                    ("outputnode.record_file", "inputnode.alignment"),
                    ("outputnode.accepted", "inputnode.accepted"),
                    ("outputnode.out_transforms", "inputnode.transforms"),
                ],
            ),
            (
                denoise,
                outputs,
                [
                    ("out_file", "inputnode.denoised"),
                    ("mean_file", "inputnode.mean"),
                    ("residual_file", "inputnode.residual"),
                    ("noise_sd_file", "inputnode.noise_sd"),
                    ("record_file", "inputnode.denoising"),
                ],
            ),
            (
                align,
                reports,
                [
                    ("outputnode.out_files", "inputnode.images"),
                    ("outputnode.reference_file", "inputnode.reference_file"),
                    ("outputnode.brain_mask", "inputnode.brain_mask"),
                    ("outputnode.before_files", "inputnode.before_files"),
                    ("outputnode.after_files", "inputnode.after_files"),
                    ("outputnode.reference", "inputnode.reference"),
                    ("outputnode.moved", "inputnode.moved"),
                ],
            ),
            (
                denoise,
                reports,
                [
                    ("out_file", "inputnode.denoised"),
                    ("mean_file", "inputnode.mean"),
                    ("noise_sd_file", "inputnode.noise_sd"),
                    ("record_file", "inputnode.record_file"),
                ],
            ),
        ]
    )
    _connect_images(workflow, unit, config, check)
    if preproc or config.outputs.raw_like_dir is not None:
        downstream = init_downstream_wf(unit, config, preproc=preproc)
        workflow.connect(
            [
                (denoise, downstream, [("out_file", "inputnode.denoised")]),
                (align, downstream, [("outputnode.brain_mask", "inputnode.mask")]),
                (outputs, downstream, [("describe.denoised", "inputnode.sidecar")]),
            ]
        )
    if each_echo:
        workflow.connect(denoise, "repetition_files", outputs, "inputnode.repetitions")
    return workflow


def _connect_images(workflow: Workflow, unit: DenoisingUnit, config: Config, check: Node) -> None:
    """From the checked files to their gaps: of complex images, those of the magnitudes; their output, too."""
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


def _owner_of_mask(mask: Path, unit: DenoisingUnit) -> int:
    """Index of the image that a given mask lies on; the first, if it has a grid of its own."""
    for index, image in enumerate(unit.images):
        if image.path.exists() and same_grid(mask, image.path, tolerance_mm=1e-2):
            return index
    return 0
