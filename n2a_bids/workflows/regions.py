"""Workflow that brings an atlas to the image of a unit and measures noise and gain in its regions."""

from __future__ import annotations

import os
from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config
from n2a_bids.dataset.names import derivative_path, source_uri
from n2a_bids.dataset.templates.regions import is_path
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.derivatives.sink import WriteDerivatives
from n2a_bids.interfaces.regions import FindRegions, PlaceRegions, RegionalNoise
from n2a_bids.interfaces.reportlets.regions import RegionChart, RegionOverlay
from n2a_bids.sentences import sentence
from n2a_bids.workflows.derivatives import REGION_FIGURES, region_outputs, stays_one_image, tells_error
from n2a_bids.workflows.descriptions import joined_sentences
from n2a_bids.workflows.figures import Figures, connect_figures, written_files

_PLACE_GB = 2.5
_SERIES = ("bval", "bvec")


def init_regions_wf(unit: DenoisingUnit, config: Config) -> Workflow:
    """Register the template of an atlas, bring its regions, measure in them, write table and figures.

    Parameters
    ----------
    unit : DenoisingUnit
        Anatomical image, or diffusion series; not echoes.
    config : Config
        Atlas and folders.

    Returns
    -------
    workflow : Workflow
        ``inputnode`` takes the ``shown`` image that is registered (mean, or mean b0), ``mask``, ``denoised``,
        ``noise_sd``, the record ``denoising``, the ``uncertainty`` where that is known, of anatomy
        ``measured`` and ``images``, and of a series ``bval`` and ``bvec``. There is no output but the files:
        where it fails, the image is there all the same.
    """
    workflow = LiterateWorkflow("regions_wf")
    atlas = _atlas_name(config)
    workflow.__postdesc__ = joined_sentences([sentence("regions", atlas=atlas)])
    maps = {
        **{"mask": "mask_file", "denoised": "denoised_file", "noise_sd": "noise_sd_file"},
        **{"denoising": "record_file"},
        **({"uncertainty": "uncertainty_file"} if tells_error(unit, config) else {}),
        **(
            {field: f"{field}_file" for field in _SERIES}
            if unit.datatype == "dwi"
            else {"measured": "measured_file", "images": "repetition_files"}
        ),
    }
    inputnode = Node(IdentityInterface(["shown", *maps]), name="inputnode")
    find = _find_node(unit, config)
    place = Node(PlaceRegions(random_seed=config.denoise.random_seed), name="place", mem_gb=_PLACE_GB)
    own = derivative_path(config.output_dir, unit.entities, unit.suffix, desc="denoised")
    measure = Node(
        RegionalNoise(atlas=atlas, image_uri=source_uri(own, config)), name="measure_regions", mem_gb=1.5
    )
    files = [(f"{name}_file", f"{name}_file") for name in ("labels", "template")]
    workflow.connect(
        [
            (inputnode, place, [("shown", "in_file"), ("mask", "mask_file")]),
            (find, place, [*files, ("brain_file", "brain_file")]),
            (find, measure, [("names", "names"), ("template_file", "template_file")]),
            (place, measure, [("out_file", "labels_file"), ("overlap", "overlap")]),
            (inputnode, measure, list(maps.items())),
        ]
    )
    _connect_files(workflow, unit, config)
    return workflow


def _find_node(unit: DenoisingUnit, config: Config) -> Node:
    """The node that finds template and regions on disk, and removes what an earlier run left of them."""
    find = Node(
        FindRegions(
            regions=config.outputs.regions,
            superseded=written_files(region_outputs(unit), REGION_FIGURES, unit, config),
        ),
        name="find",
        mem_gb=0.5,
    )
    if config.outputs.regions_template:
        find.inputs.template = config.outputs.regions_template
    return find


def _connect_files(workflow: Workflow, unit: DenoisingUnit, config: Config) -> None:
    """Table, look-up table, regions and figures go to the output folder."""
    rows = region_outputs(unit)
    place, measure = workflow.get_node("place"), workflow.get_node("measure_regions")
    write = Node(WriteDerivatives({row.name: row.paths(unit, config) for row in rows}), name="write_tables")
    results = {
        "labels": (place, "out_file"),
        "names": (measure, "names_file"),
        "stats": (measure, "stats_file"),
        "regions": (measure, "record_file"),
    }
    for row in rows:
        source, output = results[row.field]
        workflow.connect(source, output, write, row.name)
        if row.sidecar:
            workflow.connect(measure, row.sidecar, write, f"{row.name}_sidecar")
    drawn = Node(IdentityInterface(["shown", "mask", "labels", "record"]), name="drawn")
    workflow.connect(
        [
            (workflow.get_node("inputnode"), drawn, [("shown", "shown"), ("mask", "mask")]),
            (place, drawn, [("out_file", "labels")]),
            (measure, drawn, [("record_file", "record")]),
        ]
    )
    overlay = [("shown", "in_file"), ("mask", "mask_file"), ("labels", "labels_file")]
    drawings = (
        (RegionOverlay(), overlay),
        (RegionChart(single=stays_one_image(unit, config)), [("record", "record_file")]),
    )
    figures: Figures = dict(zip(REGION_FIGURES, drawings, strict=True))
    connect_figures(workflow, drawn, figures, unit, config.output_dir)


def _atlas_name(config: Config) -> str:
    """What was asked for; of a path the name of the file."""
    regions = os.fspath(config.outputs.regions)
    return Path(regions).name if is_path(regions) else regions
