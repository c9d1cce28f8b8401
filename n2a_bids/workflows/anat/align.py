"""Workflow that chooses the reference among T1w repetitions, registers and resamples the others."""

from __future__ import annotations

from collections.abc import Sequence

from nipype import MapNode, Node, Workflow
from nipype.interfaces.utility import IdentityInterface
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import AlignConfig
from n2a_bids.interfaces.anat.align import AlignRepetitions
from n2a_bids.interfaces.anat.register import ChooseReference, RegisterRigid
from n2a_bids.interfaces.anat.single import KeepSingle
from n2a_bids.sentences import MIDSPACE, sentence
from n2a_bids.workflows.descriptions import joined_sentences

ALIGNED = (
    *("out_files", "reference_file", "accepted", "out_transforms", "brain_mask", "common_mask"),
    *("record_file", "reference", "moved", "before_files", "after_files", "measured_file", "warnings"),
    "phase_file",
)
"""What `init_align_wf` gives: the outputs of `AlignRepetitions`."""


def init_single_wf() -> Workflow:
    """One image in the place of aligned repetitions.

    Returns
    -------
    workflow : Workflow
        With the inputs and outputs of `init_align_wf`.
    """
    workflow = LiterateWorkflow("align_wf")
    inputs = ["in_files", "mask_files", "gap_files", "values_files", "phase_files"]
    inputnode = Node(IdentityInterface(inputs), name="inputnode")
    outputnode = Node(IdentityInterface(list(ALIGNED)), name="outputnode")
    # Under the name of the node that chooses among several.
    reference = Node(KeepSingle(), name="reference", mem_gb=1.0)
    workflow.connect(
        [
            (inputnode, reference, [(field, field) for field in inputs]),
            (reference, outputnode, [(field, field) for field in ALIGNED]),
        ]
    )
    return workflow


def init_align_wf(
    config: AlignConfig,
    processing_steps: Sequence[int] = (),
    *,
    required_index: int | None = None,
    same_contrast: bool = True,
    of_one_echo: bool = False,
    random_seed: int = 1,
) -> Workflow:
    """Choose a reference, register the others to it, resample each once, and leave out what does not fit.

    Parameters
    ----------
    config : AlignConfig
        Space and QC thresholds.
    processing_steps : sequence of int
        Of each image, as its sidecar tells: see `count_processing`.
    required_index : int, optional
        Index of the repetition that must be the reference.
    same_contrast : bool
        False for echoes: the threshold on intensities does not apply, and shading is left as it is.
    of_one_echo : bool
        Runs of one echo, of which the other echoes have runs of their own: the first is the reference, and
        stays so.
    random_seed : int
        Seed of the registration by ANTs.

    Returns
    -------
    workflow : Workflow
        ``inputnode.in_files``, ``inputnode.mask_files`` and ``inputnode.gap_files`` (of `FindGaps`), and of
        complex images ``inputnode.values_files`` and ``inputnode.phase_files`` (of `Demodulate`), to
        ``outputnode`` with the fields of `ALIGNED`.
    """
    workflow = LiterateWorkflow("align_wf")
    workflow.__desc__ = _describe(config)
    of_complex = ["values_files", "phase_files"]
    given = ["in_files", "mask_files", "gap_files", *of_complex]
    inputnode = Node(IdentityInterface(given), name="inputnode")
    outputnode = Node(IdentityInterface(list(ALIGNED)), name="outputnode")
    reference = _reference_node(config, processing_steps, required_index, takes_first=of_one_echo)
    moving = ["moving_file", "moving_mask", "moving_gaps"]
    registration = RegisterRigid(random_seed=random_seed, match_shading=same_contrast)
    register = MapNode(registration, moving, name="register", mem_gb=1.5)
    may_leave_out = _may_leave_out(required_index, of_one_echo)
    resample = _resample_node(config, processing_steps, same_contrast, may_leave_out)
    images = [("in_files", "in_files"), ("gap_files", "gap_files")]
    fixed = [(field, field) for field in ("reference_file", "reference_mask", "reference_gaps")]
    moved = [("moving_files", "moving_file"), ("moving_masks", "moving_mask"), ("moving_gaps", "moving_gaps")]
    chosen = [
        *(("index", "index"), ("reason", "reference_reason")),
        *(("reference_mask", "reference_mask"), ("contrast_to_noise", "contrast_to_noise")),
    ]
    workflow.connect(
        [
            # nipype keeps and extends the lists it is given: each connection needs its own.
            (inputnode, reference, [*images, ("mask_files", "mask_files")]),
            (reference, register, [*fixed, *moved]),
            (inputnode, resample, [*images, *((field, field) for field in of_complex)]),
            (reference, resample, chosen),
            (register, resample, [("out_transform", "transforms")]),
            (resample, outputnode, [(field, field) for field in ALIGNED]),
        ]
    )
    return workflow


def _describe(config: AlignConfig) -> str:
    space = MIDSPACE if config.space == "midspace" else ""
    return joined_sentences([sentence("aligned", repetitions="The repetitions", space=space)])


def _resample_node(
    config: AlignConfig,
    processing_steps: Sequence[int],
    same_contrast: bool,
    may_leave_out: dict[str, bool],
) -> Node:
    """The node that judges each repetition and resamples it once."""
    thresholds = dict(config.thresholds)
    if not same_contrast:
        thresholds["min_correlation"] = -1.0
    interface = AlignRepetitions(
        space=config.space,
        processing_steps=list(processing_steps),
        match_shading=same_contrast,
        **may_leave_out,
        **thresholds,
    )
    return Node(interface, name="resample", mem_gb=2.5)


def _may_leave_out(required_index: int | None, of_one_echo: bool) -> dict[str, bool]:
    """Whether the alignment may go on without its reference: one whose mask was given must stay."""
    free = required_index is None
    return {
        "may_leave_out_reference": free,
        "may_leave_out_spoiled_reference": free and not of_one_echo,
    }


def _reference_node(
    config: AlignConfig, processing_steps: Sequence[int], required_index: int | None, *, takes_first: bool
) -> Node:
    choice = ChooseReference(takes_first=takes_first, min_overlap=config.min_overlap)
    reference = Node(choice, name="reference", mem_gb=1.0)
    if required_index is not None:
        reference.inputs.required_index = required_index
    if processing_steps:
        reference.inputs.processing_steps = list(processing_steps)
    return reference
