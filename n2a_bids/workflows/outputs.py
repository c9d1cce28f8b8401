"""Writes derivatives under their BIDS names, with sidecars: the nodes for rows of `derivatives`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config
from n2a_bids.dataset.grouping.protocols import input_notes
from n2a_bids.dataset.names import derivative_path, source_uri
from n2a_bids.dataset.read.given_masks import mask_warnings, masks_in_other_spaces
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.dataset.write.preproc import outdated_preproc
from n2a_bids.interfaces.derivatives.sidecars import DescribeResults
from n2a_bids.interfaces.derivatives.sink import WriteDerivatives
from n2a_bids.workflows.derivatives import (
    REGION_FIGURES,
    Output,
    has_known_distortion,
    input_fields,
    measures_regions,
    outputs_of,
    superseded_outputs,
)
from n2a_bids.workflows.figures import written_files


def init_outputs_wf(
    unit: DenoisingUnit,
    config: Config,
    *,
    mask_method: str = "not recorded",
    given_mask: Path | None = None,
    outdated: Sequence[Path] = (),
) -> Workflow:
    """Write images, sidecars, tables, transforms and figures of a unit.

    Parameters
    ----------
    unit : DenoisingUnit
        T1w repetitions, echoes, or diffusion series.
    config : Config
        Folders and whether the brain is cut out.
    mask_method : str
        How the brain was found, in a few words.
    given_mask : Path, optional
        Mask that the user gave.
    outdated : sequence of Path
        Further files that an earlier run of this group may have left and this one does not renew.

    Returns
    -------
    workflow : Workflow
        ``inputnode`` takes the files of `outputs_of` the unit, the record ``denoising``, the indices
        ``accepted`` of the repetitions that were used, whether distortion was ``corrected`` (only where it
        is estimated), and what `InspectInputs` found.
    """
    workflow = LiterateWorkflow("outputs_wf")
    rows = outputs_of(unit, config)
    is_estimated = has_known_distortion(unit, config)
    told = ["found_warnings", "inputs_stripped", "accepted", *(["corrected"] if is_estimated else [])]
    inputnode = Node(IdentityInterface([*input_fields(rows), "denoising", *told]), name="inputnode")
    inputnode.inputs.trait_set(found_warnings=[], inputs_stripped=False)
    describe = _describe_node(unit, config, mask_method, given_mask)
    workflow.connect(
        [
            (inputnode, describe, [("denoising", "record_file"), ("alignment", "alignment_file")]),
            (inputnode, describe, [(field, field) for field in told]),
        ]
    )
    if is_estimated:
        workflow.connect(inputnode, "distortion", describe, "distortion_file")
    _add_sinks(workflow, unit, config, rows, outdated)
    return workflow


def _describe_node(unit: DenoisingUnit, config: Config, mask_method: str, given_mask: Path | None) -> Node:
    """The node that writes the sidecars, with all that is known before the images are."""
    elsewhere = masks_in_other_spaces(config.derivatives, unit)
    return Node(
        DescribeResults(
            datatype=unit.datatype,
            own_uri=source_uri(
                derivative_path(config.output_dir, unit.entities, unit.suffix, desc="denoised"), config
            ),
            sources=[source_uri(image.path, config) for image in unit.images],
            second_sources=[
                source_uri(image.files[1], config) if unit.uses_phase or image.is_cartesian else ""
                for image in unit.images
            ],
            real_valued=unit.uses_phase,
            images=[str(image.path) for image in unit.images],
            metadata=[dict(image.metadata) for image in unit.images],
            skull_stripped=config.denoise.skull_strip,
            mask_method=mask_method,
            mask_source="" if given_mask is None else source_uri(given_mask, config),
            warnings=[
                *mask_warnings(config.derivatives, given_mask, mask_method, elsewhere),
                *input_notes(unit),
            ],
            run_uuid=config.run_uuid,
            in_place=unit.lies_in_place,
            corrected=has_known_distortion(unit, config) or config.selection.dwi_corrected,
            companion="" if unit.companion is None else source_uri(unit.companion.path, config),
            reversed_b0="" if unit.reversed_b0 is None else source_uri(unit.reversed_b0.path, config),
        ),
        name="describe",
    )


def _superseded(unit: DenoisingUnit, config: Config, outdated: Sequence[Path]) -> list[str]:
    """Files that an earlier run with other options may have left, with their sidecars and figures."""
    rows = superseded_outputs(unit, config)
    figures = [row.desc for row in rows if not (row.of_each_repetition or row.part)]
    figures += [] if measures_regions(unit, config) else REGION_FIGURES
    files = written_files(rows, dict.fromkeys(figures), unit, config)
    # Magnitudes that are denoised as such have the names of those of a complex image.
    renewed = written_files(outputs_of(unit, config), (), unit, config)
    others = (*outdated, *outdated_preproc(unit, config))
    return [*(file for file in files if file not in renewed), *map(str, others)]


def _add_sinks(
    workflow: Workflow,
    unit: DenoisingUnit,
    config: Config,
    rows: Sequence[Output],
    outdated: Sequence[Path],
) -> None:
    """Bring the file and the sidecar of each row to the nodes that write them."""
    inputnode, describe = workflow.get_node("inputnode"), workflow.get_node("describe")
    for sink, of_each in (("write", False), ("write_repetitions", True)):
        chosen = [row for row in rows if row.of_each_repetition == of_each]
        if not chosen:
            continue
        targets = {row.name: row.paths(unit, config) for row in chosen}
        # Of a run that is left out now, an earlier one may have written a transform.
        kept = {"no_others": of_each, "superseded": _superseded(unit, config, outdated)}
        write = Node(WriteDerivatives(targets, **kept), name=sink)
        for row in chosen:
            workflow.connect(describe if row.is_described else inputnode, row.field, write, row.name)
            if row.sidecar:
                workflow.connect(describe, row.sidecar, write, f"{row.name}_sidecar")
        if of_each:
            workflow.connect(inputnode, "accepted", write, "indices")
