"""Report figures that anatomy and diffusion have alike, and where all figures are stored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.base import Interface

from n2a_bids.config import Config
from n2a_bids.dataset.names import derivative_path
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.reportlets import anat as reportlets
from n2a_bids.interfaces.reportlets.viewer import ViewerImages
from n2a_bids.io.json import sidecar_path
from n2a_bids.workflows.derivatives import Output, tells_error

Connections = Sequence[tuple[str, str]]
"""Fields of an input node, and the inputs that they go to."""
Figures = dict[str, tuple[Interface, Connections]]
"""For each ``desc-`` label the interface that draws it, and its connections to the input node."""

IMAGES: Connections = (("mean", "mean_file"), ("denoised", "denoised_file"), ("mask", "mask_file"))
NOISE = ("noise_sd", "noise_sd_file")


def noise_title(single: bool) -> str:
    """What the noise map is called."""
    return "noise SD" if single else "noise SD of one repetition"


def told_error(unit: DenoisingUnit, config: Config) -> list[tuple[str, str]]:
    """The connection of the expected error, where it is known."""
    return [("uncertainty", "uncertainty_file")] if tells_error(unit, config) else []


def image_figures(
    unit: DenoisingUnit, config: Config, *, single: bool, volume: int = 0, table: Connections = ()
) -> Figures:
    """What denoising did to an image, or to one volume of a series.

    Parameters
    ----------
    unit : DenoisingUnit
        Not of micrographs.
    config : Config
        Strategy, and whether there is a viewer.
    single : bool
        Nothing was averaged: the image before denoising is the one that was acquired.
    volume : int
        Volume that is shown of a series.
    table : sequence of (str, str)
        Connections of the gradient table of a series.
    """
    told = told_error(unit, config)
    same_contrast = not unit.has_echoes
    figures: Figures = {
        "denoised": (reportlets.DenoisingFlicker(volume=volume), IMAGES),
        "residual": (
            reportlets.ResidualMap(volume=volume, same_contrast=same_contrast),
            [*IMAGES, ("images", "repetition_files"), NOISE],
        ),
        "noisesd": (
            reportlets.NoiseMap(volume=volume, title=noise_title(single)),
            [NOISE, ("mask", "mask_file")],
        ),
        "risk": (
            reportlets.RiskFigure(before="before denoising" if single else "plain mean"),
            [("denoising", "record_file")],
        ),
    }
    if told:
        figures["uncertainty"] = (reportlets.UncertaintyMap(volume=volume), [*told, *IMAGES[1:], *table])
    if config.outputs.wants_viewer:
        viewer = ViewerImages(
            before="as acquired" if single else "mean",
            same_contrast=same_contrast,
            whole_head=config.outputs.viewer_head,
        )
        figures["viewer"] = (viewer, [*IMAGES, NOISE, *told, *table])
    return figures


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
        workflow.connect([(inputnode, draw, list(fields)), (draw, write, [("out_file", desc)])])


def written_files(
    rows: Sequence[Output], figures: Iterable[str | None], unit: DenoisingUnit, config: Config
) -> list[str]:
    """Where rows go, with their sidecars, and figures of these labels."""
    files = [(path, row.sidecar) for row in rows for path in row.paths(unit, config)]
    sidecars = [sidecar_path(path) for path, sidecar in files if sidecar]
    drawn = [figure_path(config.output_dir, unit.entities, unit.suffix, desc) for desc in figures]
    return [os.fspath(path) for path in (*(path for path, _ in files), *sidecars, *drawn)]


def figure_path(output_dir: Path, entities: dict[str, str], suffix: str, desc: str | None) -> Path:
    """Where a figure goes, or what the viewer shows."""
    extension = ".json" if desc == "viewer" else ".svg"
    return derivative_path(output_dir, entities, suffix, desc=desc, extension=extension, datatype="figures")
