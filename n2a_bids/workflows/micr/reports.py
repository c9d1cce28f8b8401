"""Workflow of the report figures of micrographs."""

from __future__ import annotations

from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.reportlets import micr as reportlets
from n2a_bids.interfaces.reportlets.anat import LossCurve, RiskFigure
from n2a_bids.workflows.figures import Figures, connect_figures

INPUTS = (
    *("images", "mask", "alignment"),
    *("denoised", "mean", "residual", "noise_sd", "denoising"),
)
"""What `init_micr_reports_wf` takes."""


def init_micr_reports_wf(unit: DenoisingUnit, config: Config) -> Workflow:
    """Draw the figures and store them in ``sub-<label>/figures``.

    Parameters
    ----------
    unit : DenoisingUnit
        Exposures of one field of view.
    config : Config
        For the output folder.

    Returns
    -------
    workflow : Workflow
        ``inputnode`` has the fields of `INPUTS`; there is no output but the files.
    """
    workflow = LiterateWorkflow("reports_wf")
    inputnode = Node(IdentityInterface(list(INPUTS)), name="inputnode")
    images = [("images", "out_files"), ("mean", "mean"), ("denoised", "denoised"), ("mask", "mask_file")]
    figures: Figures = {
        "drift": (reportlets.DriftChart(), [("alignment", "alignment_file")]),
        "denoised": (reportlets.MicrographFlicker(), images),
        "detail": (reportlets.MicrographDetail(), images),
        "residual": (
            reportlets.MicrographResidual(),
            [*images, ("residual", "residual"), ("noise_sd", "noise_sd")],
        ),
        "rings": (
            reportlets.RingChart(),
            [("denoising", "record_file"), ("mean", "mean"), ("denoised", "denoised")],
        ),
        "loss": (LossCurve(), [("denoising", "record_file")]),
        "risk": (RiskFigure(), [("denoising", "record_file")]),
    }
    if config.outputs.wants_viewer:
        figures["viewer"] = (reportlets.MicrographViewer(), [*images, ("noise_sd", "noise_sd")])
    connect_figures(workflow, inputnode, figures, unit, config.output_dir)
    return workflow
