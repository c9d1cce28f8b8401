"""Derivatives of a T1w unit, under their BIDS names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface, Merge

from n2a_bids.config import Config
from n2a_bids.dataset.derivatives import source_uri
from n2a_bids.dataset.names import derivative_path
from n2a_bids.dataset.units import DenoisingUnit, ImageFile
from n2a_bids.interfaces.derivatives import DescribeDerivatives, WriteDerivatives
from n2a_bids.interfaces.select import SelectPlaces

_IMAGES = (
    ("denoised", "T1w", "denoised"),
    ("mean", "T1w", "mean"),
    ("residual", "T1w", "residual"),
    ("noise_sd", "T1w", "noisesd"),
    ("mask", "mask", "brain"),
)
"""Field of the input node and of the sidecars, suffix, desc."""


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
        ``inputnode`` takes the five images ``denoised, mean, residual, noise_sd, mask``, the JSON files
        ``denoising, alignment``, ``accepted, transforms, repetitions`` of the repetitions used, and what
        `InspectInputs` found.
    """
    workflow = Workflow(name)
    fields = [*(field for field, _, _ in _IMAGES), "denoising", "alignment"]
    of_inputs = ["found_warnings", "inputs_stripped"]
    selected = ["accepted", "transforms", "repetitions"]
    inputnode = Node(IdentityInterface([*fields, *selected, *of_inputs]), name="inputnode")
    inputnode.inputs.trait_set(found_warnings=[], inputs_stripped=False)
    targets = [
        derivative_path(config.output_dir, unit.entities, suffix, desc=desc) for _, suffix, desc in _IMAGES
    ]
    describe = Node(
        DescribeDerivatives(
            own_uri=source_uri(targets[0], config),
            sources=[source_uri(image.path, config) for image in unit.images],
            metadata=[dict(image.metadata) for image in unit.images],
            skull_stripped=config.denoise.skull_strip,
            mask_method=mask_method,
            mask_source="" if given_mask is None else source_uri(given_mask, config),
            warnings=list(warnings),
            run_uuid=config.run_uuid,
        ),
        name="describe",
    )
    files = Node(Merge(len(fields)), name="files")
    sidecars = Node(Merge(len(_IMAGES) + 2), name="sidecars")
    # The figures are JSON files themselves.
    sidecars.inputs.trait_set(in6={}, in7={})
    targets += [
        derivative_path(
            config.output_dir, unit.entities, "figures", desc=desc, extension=".json", datatype="anat"
        )
        for desc in ("denoised", "alignment")
    ]
    write = Node(WriteDerivatives(out_files=[str(path) for path in targets]), name="write")
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
            ),
            (
                inputnode,
                files,
                [(field, f"in{number}") for number, field in enumerate(fields, 1) if field != "denoising"],
            ),
            (describe, files, [("figures_file", f"in{fields.index('denoising') + 1}")]),
            (
                describe,
                sidecars,
                [(field, f"in{number}") for number, (field, _, _) in enumerate(_IMAGES, 1)],
            ),
            (files, write, [("out", "in_files")]),
            (sidecars, write, [("out", "sidecars")]),
        ]
    )
    _connect_repetitions(workflow, inputnode, describe, unit, config)
    return workflow


def writes_each_echo(unit: DenoisingUnit, config: Config) -> bool:
    """Whether each repetition is an output: echoes differ in contrast, but a plain mean is one image."""
    return unit.kind == "t1w-echoes" and config.denoise.strategy != "mean"


def _connect_repetitions(
    workflow: Workflow, inputnode: Node, describe: Node, unit: DenoisingUnit, config: Config
) -> None:
    """Transforms of the repetitions that were used and, for echoes, each of them denoised."""
    transforms = [
        derivative_path(
            config.output_dir,
            {**_entities(image), "from": "orig", "to": "T1w", "mode": "image"},
            "xfm",
            extension=".txt",
        )
        for image in unit.images
    ]
    _connect_selected(workflow, inputnode, "transforms", transforms)
    if writes_each_echo(unit, config):
        images = [
            derivative_path(config.output_dir, _entities(image), "T1w", desc="denoised")
            for image in unit.images
        ]
        write = _connect_selected(workflow, inputnode, "repetitions", images)
        workflow.connect(describe, "repetitions", write, "sidecars")


def _connect_selected(workflow: Workflow, inputnode: Node, field: str, targets: list[Path]) -> Node:
    select = Node(SelectPlaces(values=[str(path) for path in targets]), name=f"select_{field}")
    write = Node(WriteDerivatives(), name=f"write_{field}")
    workflow.connect(
        [
            (inputnode, select, [("accepted", "places")]),
            (inputnode, write, [(field, "in_files")]),
            (select, write, [("out", "out_files")]),
        ]
    )
    return write


def _entities(image: ImageFile) -> dict[str, str]:
    return {key: value for key, value in image.entities.items() if key not in ("desc", "space")}
