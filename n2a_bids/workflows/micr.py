"""The workflow of a group of micrograph exposures, from files to derivatives and report figures."""

from __future__ import annotations

from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config
from n2a_bids.dataset.grouping.protocols import input_notes
from n2a_bids.dataset.names import derivative_path, name_field, parse_name, shared_suffix_labels, source_uri
from n2a_bids.dataset.read.image_memory import exposures_gb
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.micr import AlignExposures, WriteMicrographs
from n2a_bids.interfaces.reportlets import micr as reportlets
from n2a_bids.interfaces.reportlets.anat import LossCurve, RiskFigure
from n2a_bids.interfaces.training_group import ListTrainingGroup
from n2a_bids.workflows.denoise import DENOISED, DenoiseFacts, connect_fields, init_denoise_node
from n2a_bids.workflows.descriptions import choice, opening
from n2a_bids.workflows.figures import Figures, connect_figures

_BASE_GB = 0.7
"""Libraries, and what does not grow with the exposures."""
_LABELS = {"denoised": "denoised", "mean": "mean", "residual": "residual", "noise_sd": "noisesd"}
INPUTS = (
    *("images", "mask", "alignment"),
    *("denoised", "mean", "residual", "noise_sd", "denoising"),
)
"""What `init_micr_reports_wf` takes."""


def init_micr_unit_wf(unit: DenoisingUnit, config: Config) -> Workflow:
    """Denoise the exposures of one field of view: read, align, denoise and write them.

    Parameters
    ----------
    unit : DenoisingUnit
        Exposures of one field of view, or one file of frames.
    config : Config
        Each step is given its section.

    Returns
    -------
    workflow : Workflow
        Complete: it has no inputs. Its name is unique among the units of a dataset.
    """
    workflow = LiterateWorkflow(unit.workflow_name)
    workflow.__desc__, workflow.__postdesc__ = opening(unit), choice(unit, config)
    align = _init_align_node(unit, config)
    denoise = init_denoise_node(config.denoise, config.resources, DenoiseFacts(micrograph=True))
    write = Node(
        WriteMicrographs(
            targets={name: str(path) for name, path in micr_targets(unit, config).items()},
            in_files=align.inputs.in_files,
            frames=unit.is_movie,
            as_float=config.outputs.micr_float,
            metadata=align.inputs.metadata,
            sources=[source_uri(image.path, config) for image in unit.images],
            warnings=input_notes(unit),
            run_uuid=config.run_uuid,
        ),
        name="write",
        mem_gb=align.mem_gb,
    )
    aligned = [("out_files", "in_files"), ("mask_file", "mask_file"), ("measured_file", "measured_file")]
    results = [("mean_file", "mean"), ("residual_file", "residual"), ("noise_sd_file", "noise_sd")]
    denoised = [("out_file", "denoised"), *results, ("record_file", "record_file")]
    reports = init_micr_reports_wf(unit, config)
    workflow.connect(
        [
            (align, denoise, aligned),
            (align, write, [("record_file", "alignment_file"), ("warnings", "found_warnings")]),
            (align, write, [("accepted", "accepted"), ("bit_depth", "bit_depth")]),
            (denoise, write, denoised),
        ]
    )
    connect_fields(workflow, denoise, reports, DENOISED)
    connect_fields(
        workflow, align, reports, {"images": "out_files", "mask": "mask_file", "alignment": "record_file"}
    )
    return workflow


def init_aligned_micr_wf(unit: DenoisingUnit, config: Config) -> Workflow:
    """Read and align only: the step of `init_micr_unit_wf`, which finds it finished, and the other way.

    Parameters
    ----------
    unit : DenoisingUnit
        Exposures of one field of view, or one file of frames.

    Returns
    -------
    workflow : Workflow
        Complete: it ends with ``aligned/group.json``, which names the aligned files.
    """
    workflow = Workflow(unit.workflow_name)
    keep = Node(
        ListTrainingGroup(
            subject=unit.entities["sub"], label=unit.label, field_of_view=name_field(unit.entities)
        ),
        name="aligned",
        mem_gb=0.1,
    )
    aligned = [("out_files", "in_files"), ("mask_file", "mask_file"), ("measured_file", "measured_file")]
    workflow.connect([(_init_align_node(unit, config), keep, aligned)])
    return workflow


def _init_align_node(unit: DenoisingUnit, config: Config) -> Node:
    n_frame_groups = (config.selection.micr_frames or 0) if unit.is_movie else 0
    needed_gb = _BASE_GB + exposures_gb([image.path for image in unit.images], n_frame_groups)
    return Node(
        AlignExposures(
            in_files=[str(image.path) for image in unit.images],
            metadata=[dict(image.metadata) for image in unit.images],
            n_frame_groups=n_frame_groups,
        ),
        name="align",
        # A node that may need more than there is asks for all of it, so that it runs alone.
        mem_gb=min(needed_gb, max(config.resources.memory_gb, _BASE_GB)),
    )


def micr_targets(unit: DenoisingUnit, config: Config) -> dict[str, Path]:
    """Where the images and records of a group go.

    Images keep the format of the first exposure; floating-point maps, which PNG cannot hold, are TIFF.
    """
    own = parse_name(unit.images[0].path)[2].lower()
    floating = ".tif" if own == ".png" else own
    targets = {}
    for name, label in _LABELS.items():
        rounded = name in ("denoised", "mean") and not config.outputs.micr_float
        targets[name] = derivative_path(
            config.output_dir,
            unit.entities,
            unit.suffix,
            desc=label,
            extension=own if rounded else floating,
            datatype="micr",
        )
    labels = unit.entities | shared_suffix_labels("figures", unit.suffix)
    for name, label in (("record", "denoised"), ("alignment", "alignment")):
        targets[name] = derivative_path(
            config.output_dir, labels, "figures", desc=label, extension=".json", datatype="micr"
        )
    return targets


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
