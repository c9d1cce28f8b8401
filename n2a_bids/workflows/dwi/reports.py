"""Workflow of the report figures of diffusion series."""

from __future__ import annotations

import numpy as np
from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface, Select
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config
from n2a_bids.dataset.read.gradient_tables import phase_encoding_on_grid
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.reportlets import anat as reportlets
from n2a_bids.interfaces.reportlets import dwi as dwi_reportlets
from n2a_bids.workflows.derivatives import stays_one_image
from n2a_bids.workflows.dwi.tensor import TENSOR_MAPS, unit_gradients
from n2a_bids.workflows.figures import (
    IMAGES,
    NOISE,
    Figures,
    connect_figures,
    image_figures,
    noise_title,
    told_error,
)

_INPUTS = (
    *("images", "mask", "bval", "bvec", "alignment", "b0_before", "b0_corrected", "b0_after"),
    *("denoised", "mean", "noise_sd", "denoising"),
    *TENSOR_MAPS,
)


def init_dwi_reports_wf(unit: DenoisingUnit, config: Config, *, tensor: bool = True) -> Workflow:
    """Draw the figures and store them in ``sub-<label>/figures``.

    Parameters
    ----------
    unit : DenoisingUnit
        Diffusion series.
    config : Config
        For the output folder.
    tensor : bool
        There are tensor maps to show.

    Returns
    -------
    workflow : Workflow
        ``inputnode`` takes the fields of `_INPUTS`; there is no output but the files.
    """
    workflow = LiterateWorkflow("reports_wf")
    shown = _first_weighted_volume(unit, config.selection.b0_threshold)
    single = stays_one_image(unit, config)
    inputnode = Node(IdentityInterface([*_INPUTS, *dict(told_error(unit, config))]), name="inputnode")
    first = Node(Select(index=[0]), name="first_series")
    first_b0 = Node(Select(index=[0]), name="first_b0")
    workflow.connect(
        [(inputnode, first, [("images", "inlist")]), (inputnode, first_b0, [("b0_after", "inlist")])]
    )
    table = [("bval", "bval_file"), ("bvec", "bvec_file")]
    figures: Figures = {
        "mask": (reportlets.MaskContours(), [("mask", "mask_file")]),
        **image_figures(unit, config, single=single, volume=shown, table=table),
        "gradients": (
            dwi_reportlets.GradientPlot(),
            [("bval", "bval_files"), ("bvec", "bvec_files"), ("mask", "image_files")],
        ),
        "motion": (dwi_reportlets.VolumeMotionPlot(), [("alignment", "alignment_file")]),
        "volumes": (dwi_reportlets.VolumeQuality(noise_label=noise_title(single)), [*IMAGES, *table, NOISE]),
    }
    if tensor:
        maps = [(field, f"{field}_file") for field in TENSOR_MAPS]
        figures["tensor"] = (
            dwi_reportlets.TensorMaps(before="before" if single else "mean"),
            [("mask", "mask_file"), *maps],
        )
    if unit.distortion_is_estimated:
        figures["distortion"] = (
            dwi_reportlets.DistortionFlicker(labels=_directions(unit)),
            [("b0_before", "before_files"), ("b0_corrected", "after_files"), ("mask", "mask_file")],
        )
    connect_figures(workflow, inputnode, figures, unit, config.output_dir)
    workflow.connect(first_b0, "out", workflow.get_node("draw_mask"), "in_file")
    if not single:
        for desc in filter(figures.get, ("denoised", "viewer")):
            workflow.connect(first, "out", workflow.get_node(f"draw_{desc}"), "repetition_file")
    return workflow


def _first_weighted_volume(unit: DenoisingUnit, b0_threshold: float) -> int:
    """Index of the volume that is shown: b0s have too little noise to show anything."""
    return int(np.argmax(~unit_gradients(unit, b0_threshold).is_b0))


def _directions(unit: DenoisingUnit) -> tuple[str, str]:
    """Of the first series, and of the one or the b0 that its distortion is estimated with."""
    first = unit.images[0].entities.get("dir") or phase_encoding_on_grid(unit, 0)
    if unit.reversed_b0 is not None:
        return first, unit.reversed_b0.entities.get("dir") or "opposite"
    other = max(unit.polarity_leaders)
    return first, unit.images[other].entities.get("dir") or phase_encoding_on_grid(unit, other)
