"""Derivatives of diffusion series, under their BIDS names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface

from n2a_bids.config import Config
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.dataset.write.derivatives import source_uri
from n2a_bids.interfaces.derivatives.dwi import DescribeDiffusion
from n2a_bids.workflows.derivatives import (
    connect_outputs,
    describing_inputs,
    has_known_distortion,
    input_fields,
    outputs_of,
)


def init_dwi_outputs_wf(
    unit: DenoisingUnit,
    config: Config,
    *,
    mask_method: str = "not recorded",
    given_mask: Path | None = None,
    warnings: Sequence[str] = (),
    name: str = "outputs_wf",
) -> Workflow:
    """Write images, tables, sidecars and figures of a unit.

    Parameters
    ----------
    unit : DenoisingUnit
        Diffusion series.
    config : Config
        Folders and whether the brain is cut out.
    mask_method : str
        How the brain was found, in a few words.
    given_mask : Path, optional
        Mask that the user gave.
    warnings : sequence of str
        What to look at, beyond what the denoiser finds.
    name : str
        Of the workflow.

    Returns
    -------
    workflow : Workflow
        ``inputnode`` takes the files of `DWI_OUTPUTS`, the record ``denoising``, the places of the
        ``accepted`` series, whether distortion was ``corrected`` (only where it is estimated), and what
        `InspectInputs` found.
    """
    workflow = Workflow(name)
    fields = input_fields(outputs_of(unit, config))
    is_estimated = has_known_distortion(unit, config)
    of_inputs = ["found_warnings", "inputs_stripped", "accepted", *(["corrected"] if is_estimated else [])]
    inputnode = Node(IdentityInterface([*fields, "denoising", *of_inputs]), name="inputnode")
    inputnode.inputs.trait_set(found_warnings=[], inputs_stripped=False)
    describe = Node(
        DescribeDiffusion(
            images=[str(image.path) for image in unit.images],
            corrected=is_estimated or config.selection.dwi_corrected,
            reversed_b0="" if unit.reversed_b0 is None else source_uri(unit.reversed_b0.path, config),
            **describing_inputs(
                unit, config, mask_method=mask_method, given_mask=given_mask, warnings=warnings
            ),
        ),
        name="describe",
    )
    workflow.connect(
        [
            (inputnode, describe, [("denoising", "figures_file"), ("alignment", "alignment_file")]),
            (inputnode, describe, [(field, field) for field in of_inputs]),
        ]
    )
    if is_estimated:
        workflow.connect(inputnode, "distortion", describe, "distortion_file")
    connect_outputs(workflow, inputnode, describe, unit, config)
    return workflow
