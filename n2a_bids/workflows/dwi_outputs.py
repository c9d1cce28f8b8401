"""Derivatives of diffusion series, under their BIDS names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface, Merge

from n2a_bids.config import Config
from n2a_bids.dataset.derivatives import source_uri
from n2a_bids.dataset.names import derivative_path
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.derivatives import WriteDerivatives
from n2a_bids.interfaces.dwi_derivatives import DescribeDiffusion

_IMAGES = (
    ("denoised", "dwi", "denoised"),
    ("mean", "dwi", "mean"),
    ("residual", "dwi", "residual"),
    ("noise_sd", "dwi", "noisesd"),
    ("mask", "mask", "brain"),
)
"""Field of the input node and of the sidecars, suffix, desc."""

_TABLES = tuple(
    (kind, desc) for desc in ("denoised", "mean", "residual", "noisesd") for kind in ("bval", "bvec")
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
        ``inputnode`` takes the images of `_IMAGES`, ``bval, bvec``, the places of the ``accepted`` series,
        the JSON files ``denoising, alignment, distortion`` and the ``displacement`` map (the last two for
        pairs of opposite phase encoding only),
        and what `InspectInputs` found.
    """
    workflow = Workflow(name)
    is_pair = unit.kind == "dwi-reverse-pe"
    fields = [field for field, _, _ in _IMAGES] + ["denoising", "alignment"]
    extra = ["displacement", "distortion"] if is_pair else []
    of_inputs = ["found_warnings", "inputs_stripped", "accepted"]
    inputnode = Node(IdentityInterface([*fields, "bval", "bvec", *extra, *of_inputs]), name="inputnode")
    inputnode.inputs.trait_set(found_warnings=[], inputs_stripped=False)
    describe = Node(
        DescribeDiffusion(
            sources=[source_uri(image.path, config) for image in unit.images],
            metadata=[dict(image.metadata) for image in unit.images],
            images=[str(image.path) for image in unit.images],
            skull_stripped=config.denoise.skull_strip,
            corrected=is_pair or config.selection.dwi_corrected,
            mask_method=mask_method,
            mask_source="" if given_mask is None else source_uri(given_mask, config),
            warnings=list(warnings),
            run_uuid=config.run_uuid,
        ),
        name="describe",
    )
    files = Node(Merge(len(fields) + len(_TABLES) + len(extra)), name="files")
    sidecars = Node(Merge(files.interface._numinputs), name="sidecars")
    targets = [_path(unit, config, suffix, desc) for _, suffix, desc in _IMAGES]
    targets += [_path(unit, config, "figures", desc, ".json") for desc in ("denoised", "alignment")]
    targets += [_path(unit, config, "dwi", desc, f".{kind}") for kind, desc in _TABLES]
    if is_pair:
        targets += [
            _path(unit, config, "displacement", "susceptibility"),
            _path(unit, config, "figures", "distortion", ".json"),
        ]
    for number in range(len(_IMAGES) + 1, len(targets) + 1):
        setattr(sidecars.inputs, f"in{number}", {})
    write = Node(WriteDerivatives(out_files=[str(path) for path in targets]), name="write")
    sources = [*fields, *(kind for kind, _ in _TABLES), *extra]
    for number, field in enumerate(sources, start=1):
        if field != "denoising":
            workflow.connect(inputnode, field, files, f"in{number}")
    workflow.connect(
        [
            (inputnode, describe, [("denoising", "figures_file"), ("alignment", "alignment_file")]),
            (inputnode, describe, [(field, field) for field in of_inputs]),
            (describe, files, [("figures_file", f"in{fields.index('denoising') + 1}")]),
            (describe, sidecars, [(field, f"in{n}") for n, (field, _, _) in enumerate(_IMAGES, start=1)]),
            (files, write, [("out", "in_files")]),
            (sidecars, write, [("out", "sidecars")]),
        ]
    )
    if is_pair:
        workflow.connect(
            [
                (inputnode, describe, [("distortion", "distortion_file")]),
                (describe, sidecars, [("displacement", f"in{len(targets) - 1}")]),
            ]
        )
    return workflow


def _path(unit: DenoisingUnit, config: Config, suffix: str, desc: str, extension: str = ".nii.gz") -> Path:
    return derivative_path(
        config.output_dir, unit.entities, suffix, desc=desc, extension=extension, datatype="dwi"
    )
