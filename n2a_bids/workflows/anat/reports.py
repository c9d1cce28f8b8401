"""Workflow of the report figures of a T1w unit."""

from __future__ import annotations

from nipype import MapNode, Node, Workflow
from nipype.interfaces.utility import IdentityInterface
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.derivatives.sink import SelectByIndex, WriteDerivatives
from n2a_bids.interfaces.reportlets import anat as reportlets
from n2a_bids.workflows.figures import (
    IMAGES,
    Figures,
    connect_figures,
    figure_path,
    image_figures,
    told_error,
)

INPUTS = (
    *("images", "reference_file", "mask", "before_files", "after_files", "reference", "moved"),
    *("mean", "denoised", "noise_sd", "denoising"),
)
"""What `init_anat_reports_wf` takes, and the ``uncertainty`` where that is known."""


def init_anat_reports_wf(unit: DenoisingUnit, config: Config) -> Workflow:
    """Draw the figures and store them in ``sub-<label>/figures``.

    Parameters
    ----------
    unit : DenoisingUnit
        Repetitions or echoes of an anatomical contrast.
    config : Config
        For the output folder.

    Returns
    -------
    workflow : Workflow
        ``inputnode`` has the fields of `INPUTS`; there is no output but the files.
    """
    workflow = LiterateWorkflow("reports_wf")
    inputnode = Node(IdentityInterface([*INPUTS, *dict(told_error(unit, config))]), name="inputnode")
    single = len(unit.images) == 1
    figures: Figures = {
        "mask": (reportlets.MaskContours(), [("reference_file", "in_file"), ("mask", "mask_file")]),
        "detail": (reportlets.DetailZoom(), IMAGES),
        "loss": (reportlets.LossCurve(), [("denoising", "record_file")]),
        **image_figures(unit, config, single=single),
    }
    connect_figures(workflow, inputnode, figures, unit, config.output_dir)
    if not single:
        for desc in filter(figures.get, ("denoised", "detail", "viewer")):
            draw = workflow.get_node(f"draw_{desc}")
            workflow.connect(inputnode, "reference_file", draw, "repetition_file")
        _connect_alignment(workflow, inputnode, unit, config)
    return workflow


def _connect_alignment(workflow: Workflow, inputnode: Node, unit: DenoisingUnit, config: Config) -> None:
    """One flicker for each repetition that was moved; which these are is known only when it runs."""
    labels = [_label(unit.names_of(image), unit.entities) for image in unit.images]
    targets = [
        figure_path(config.output_dir, unit.names_of(image), unit.suffix, "alignment")
        for image in unit.images
    ]
    select_reference = Node(SelectByIndex(values=labels), name="alignment_reference")
    select_labels = Node(SelectByIndex(values=labels), name="alignment_labels")
    each = ["before_file", "after_file", "label"]
    draw = MapNode(reportlets.AlignmentFlicker(), each, name="draw_alignment", mem_gb=1.0)
    write = Node(WriteDerivatives({"alignment": targets}), name="write_alignment")
    workflow.connect(
        [
            (inputnode, select_reference, [("reference", "indices")]),
            (inputnode, select_labels, [("moved", "indices")]),
            # An earlier run may have moved what is the reference now.
            (inputnode, write, [("moved", "indices"), ("reference", "gone")]),
            (
                inputnode,
                draw,
                [
                    ("reference_file", "reference_file"),
                    ("mask", "mask_file"),
                    ("before_files", "before_file"),
                    ("after_files", "after_file"),
                ],
            ),
            (select_reference, draw, [(("out", _only), "reference_label")]),
            (select_labels, draw, [("out", "label")]),
            (draw, write, [("out_file", "alignment")]),
        ]
    )


def _only(values: list[str]) -> str:
    """The one value of a list; nipype calls it where a connection leads from a list to a single value."""
    return values[0]


def _label(entities: dict[str, str], shared: dict[str, str]) -> str:
    """What tells one repetition from the others, such as ``run-2``."""
    own = [f"{key}-{value}" for key, value in entities.items() if key not in shared]
    return "_".join(own) or "repetition"
