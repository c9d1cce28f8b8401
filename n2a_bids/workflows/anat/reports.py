"""Figures of a T1w unit for the participant's page."""

from __future__ import annotations

from pathlib import Path

from nipype import MapNode, Node, Workflow
from nipype.interfaces.base import Interface
from nipype.interfaces.utility import IdentityInterface
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config
from n2a_bids.dataset.names import derivative_path
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.derivatives.sink import SelectByIndex, WriteDerivatives
from n2a_bids.interfaces.reportlets import anat as reportlets
from n2a_bids.interfaces.reportlets.viewer import ViewerImages
from n2a_bids.workflows.derivatives import tells_error

Figures = dict[str, tuple[Interface, list[tuple[str, str]]]]
"""For each ``desc-`` label the interface that draws it, and its connections to the input node."""

INPUTS = (
    *("images", "reference_file", "mask", "before_files", "after_files", "reference", "moved"),
    *("mean", "denoised", "noise_sd", "denoising"),
)
"""What `init_reports_wf` takes, and the ``uncertainty`` where that is known."""

_IMAGES = (("mean", "mean_file"), ("denoised", "denoised_file"), ("mask", "mask_file"))


def init_reports_wf(unit: DenoisingUnit, config: Config) -> Workflow:
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
    told = ["uncertainty"] if tells_error(unit, config) else []
    inputnode = Node(IdentityInterface([*INPUTS, *told]), name="inputnode")
    single = len(unit.images) == 1
    compared = [*([] if single else [("reference_file", "repetition_file")]), *_IMAGES]
    noise_words = "noise SD" if single else "noise SD of one repetition"
    figures: Figures = {
        "mask": (reportlets.MaskContours(), [("reference_file", "in_file"), ("mask", "mask_file")]),
        "denoised": (reportlets.DenoisingFlicker(), compared),
        "detail": (reportlets.DetailZoom(), compared),
        "residual": (
            reportlets.ResidualMap(different_contrast=unit.kind == "anat-echoes"),
            [*_IMAGES, ("images", "repetition_files"), ("noise_sd", "noise_sd_file")],
        ),
        "noisesd": (
            reportlets.NoiseMap(title=noise_words),
            [("noise_sd", "noise_sd_file"), ("mask", "mask_file")],
        ),
        "loss": (reportlets.LossCurve(), [("denoising", "record_file")]),
        "risk": (
            reportlets.RiskFigure(before="before denoising" if single else "plain mean"),
            [("denoising", "record_file")],
        ),
    }
    if told:
        figures["uncertainty"] = (
            reportlets.UncertaintyMap(),
            [("uncertainty", "uncertainty_file"), *_IMAGES[1:]],
        )
    if config.outputs.wants_viewer:
        figures["viewer"] = _viewer(unit, config)
    connect_figures(workflow, inputnode, figures, unit, config.output_dir)
    if len(unit.images) > 1:
        _connect_alignment(workflow, inputnode, unit, config)
    return workflow


def _viewer(unit: DenoisingUnit, config: Config) -> tuple[Interface, list[tuple[str, str]]]:
    """What the viewer page shows; one image alone is its own mean."""
    single = len(unit.images) == 1
    interface = ViewerImages(
        before="as acquired" if single else "mean",
        different_contrast=unit.kind == "anat-echoes",
        whole_head=config.outputs.viewer_head,
    )
    images = [("reference_file", "repetition_file"), *_IMAGES, ("noise_sd", "noise_sd_file")]
    if tells_error(unit, config):
        images.append(("uncertainty", "uncertainty_file"))
    return interface, images[1:] if single else images


def connect_figures(
    workflow: Workflow, inputnode: Node, figures: Figures, unit: DenoisingUnit, output_dir: Path
) -> None:
    """Draw every figure from fields of the input node, in nodes ``draw_<desc>``, and store them.

    Parameters
    ----------
    workflow : Workflow
        The nodes are added to it.
    inputnode : Node
        Of this workflow.
    figures : dict
        For each ``desc-`` label the interface that draws and its connections to the input node.
    unit : DenoisingUnit
        Its entities are those of the figures.
    output_dir : Path
        Derivative dataset.
    """
    targets = {desc: figure_path(output_dir, unit.entities, unit.suffix, desc) for desc in figures}
    write = Node(reportlets.WriteFigures(targets), name="write")
    for desc, (interface, fields) in figures.items():
        draw = Node(interface, name=f"draw_{desc}", mem_gb=1.0)
        workflow.connect([(inputnode, draw, fields), (draw, write, [("out_file", desc)])])


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
            (inputnode, write, [("moved", "indices")]),
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


def figure_path(output_dir: Path, entities: dict[str, str], suffix: str, desc: str) -> Path:
    """Where a figure goes, or what the viewer shows."""
    extension = ".json" if desc == "viewer" else ".svg"
    return derivative_path(output_dir, entities, suffix, desc=desc, extension=extension, datatype="figures")
