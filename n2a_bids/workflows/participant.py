"""Workflow of all groups of images of one participant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nipype import Workflow
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.dataset.write.preproc import preproc_units
from n2a_bids.workflows.anat.unit import init_anat_unit_wf
from n2a_bids.workflows.descriptions import paragraphs
from n2a_bids.workflows.micr import init_micr_unit_wf


def init_participant_wf(participant: str, units: Sequence[DenoisingUnit], config: Config) -> Workflow:
    """One workflow per participant; its units do not depend on each other.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    units : sequence of DenoisingUnit
        Of this participant.
    config : Config
        The run.

    Returns
    -------
    workflow : Workflow
        Its name depends on the participant only, so that a later run resumes in its folder. A node that
        fails stops what depends on it, and nothing else.
    """
    workflow = LiterateWorkflow(re.sub(r"\W", "_", f"sub_{participant}"))
    preproc = preproc_units(units) if config.outputs.fmriprep_derivatives else []
    diffusion = [unit for unit in units if unit.datatype == "dwi"]
    for unit in units:
        if unit.datatype == "micr":
            workflow.add_nodes([init_micr_unit_wf(unit, config)])
        elif unit not in diffusion:
            workflow.add_nodes([init_anat_unit_wf(unit, config, preproc=unit in preproc)])
    if diffusion:
        _add_diffusion(workflow, diffusion, config)
    return workflow


def describe_units(participant: str, units: Sequence[DenoisingUnit], config: Config) -> dict[str, str]:
    """What the workflows of some units say of themselves, without running any.

    Returns
    -------
    paragraphs : dict
        Suffix of the images -> text with citations as ``[@key]``.
    """
    workflow = init_participant_wf(participant, units, config)
    described = {one.name: one.visit_desc() for one in workflow._graph.nodes}
    return paragraphs((unit.suffix, described[unit.workflow_name]) for unit in units)


def _add_diffusion(workflow: Workflow, units: Sequence[DenoisingUnit], config: Config) -> None:
    # Only diffusion needs dipy and what comes with it.
    from n2a_bids.workflows.dwi.downstream import raw_like_series
    from n2a_bids.workflows.dwi.unit import init_dwi_unit_wf

    series: dict[Path, Path] = {}
    for unit in units:
        series |= raw_like_series(unit, config)
    workflow.add_nodes([init_dwi_unit_wf(unit, config, all_series=series) for unit in units])
