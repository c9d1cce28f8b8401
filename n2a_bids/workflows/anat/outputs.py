"""Derivatives of a T1w unit, under their BIDS names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface

from n2a_bids.config import Config
from n2a_bids.dataset.names import derivative_path
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.dataset.write.derivatives import source_uri
from n2a_bids.interfaces.derivatives.sidecars import DescribeDerivatives
from n2a_bids.workflows.derivatives import connect_outputs, describing_inputs, input_fields, outputs_of


def init_outputs_wf(
    unit: DenoisingUnit,
    config: Config,
    *,
    mask_method: str = "not recorded",
    given_mask: Path | None = None,
    warnings: Sequence[str] = (),
    name: str = "outputs_wf",
) -> Workflow:
    """Write images, sidecars, transforms and figures of a unit.

    Parameters
    ----------
    unit : DenoisingUnit
        T1w repetitions or echoes.
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
        ``inputnode`` takes the files of `ANAT_OUTPUTS`, the record ``denoising``, the places ``accepted`` of
        the repetitions that were used, and what `InspectInputs` found.
    """
    workflow = Workflow(name)
    fields = input_fields(outputs_of(unit, config))
    of_inputs = ["found_warnings", "inputs_stripped"]
    inputnode = Node(IdentityInterface([*fields, "denoising", "accepted", *of_inputs]), name="inputnode")
    inputnode.inputs.trait_set(found_warnings=[], inputs_stripped=False)
    own = derivative_path(config.output_dir, unit.entities, "T1w", desc="denoised")
    describe = Node(
        DescribeDerivatives(
            own_uri=source_uri(own, config),
            **describing_inputs(
                unit, config, mask_method=mask_method, given_mask=given_mask, warnings=warnings
            ),
        ),
        name="describe",
    )
    workflow.connect(
        [
            (
                inputnode,
                describe,
                [
                    ("denoising", "figures_file"),
                    ("alignment", "alignment_file"),
                    ("accepted", "accepted"),
                    *((field, field) for field in of_inputs),
                ],
            )
        ]
    )
    connect_outputs(workflow, inputnode, describe, unit, config)
    return workflow
