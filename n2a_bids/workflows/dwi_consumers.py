"""Denoised diffusion series on the grids of their sources, and as tools that want raw datasets take them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel as nb
from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface, Merge

from n2a_bids.config import Config
from n2a_bids.dataset.derivatives import source_uri
from n2a_bids.dataset.names import derivative_path
from n2a_bids.dataset.raw_like import raw_like_path
from n2a_bids.dataset.raw_like_fields import pair_fields
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.derivatives import WriteDerivatives
from n2a_bids.interfaces.dwi_derivatives import PHASE_ENCODING, shared_phase_encoding
from n2a_bids.interfaces.dwi_own_grid import OwnGrids
from n2a_bids.interfaces.dwi_raw_like import CopyFieldMaps, DescribeOwnGrids, DescribeRawLikeSeries
from n2a_bids.workflows.dwi_preparation import phase_encoding_vectors

_ALIGNED = ("mask", "bval", "bvec", "b0", "between", "accepted")
_ACQUIRED = ("series", "own_b0", "own_bval", "own_bvec", "motion")


def wants_own_grids(unit: DenoisingUnit, config: Config) -> bool:
    """Whether each series of a unit is written on its own grid; one series alone is there anyway."""
    asked = config.outputs.dwi_own_grid or (
        config.outputs.raw_like_dir is not None and unit.kind == "dwi-reverse-pe"
    )
    return asked and len(unit.images) > 1


def raw_like_series(unit: DenoisingUnit, config: Config) -> dict[Path, Path]:
    """Each series of a unit, and the one that stands for it in the raw-like dataset, if there is one.

    One series for each source where they are told apart by distortion, else the combined one.
    """
    root = config.outputs.raw_like_dir
    if root is None:
        return {}
    apart = unit.kind == "dwi-reverse-pe"
    return {
        image.path: raw_like_path(root, image.entities if apart else unit.entities, "dwi")
        for image in unit.images
    }


def init_dwi_consumers_wf(
    unit: DenoisingUnit,
    config: Config,
    *,
    all_series: Mapping[Path, Path] | None = None,
    name: str = "consumers_wf",
) -> Workflow:
    """Write the forms that were asked for.

    A pair of opposite phase encoding goes into the raw-like dataset as two series, each with its own
    distortion, so that they can be corrected there; repeats go as the one series they were combined to.

    Parameters
    ----------
    unit : DenoisingUnit
        Diffusion series.
    config : Config
        Where to, and what.
    all_series : mapping of Path to Path, optional
        `raw_like_series` of all units of the participant: they may share field maps. By default of this one.
    name : str
        Of the workflow.

    Returns
    -------
    workflow : Workflow
        ``inputnode`` takes ``denoised`` and its ``sidecar``, the fields of `_ALIGNED` (common grid), those of
        `_ACQUIRED` (lists, one item for each series) and, for pairs, ``displacement``.
    """
    workflow = Workflow(name)
    fields = ["denoised", "sidecar", *_ALIGNED, *_ACQUIRED, "displacement"]
    inputnode = Node(IdentityInterface(fields), name="inputnode")
    workflow.add_nodes([inputnode])
    own = None
    if wants_own_grids(unit, config):
        own = _init_own_grids(workflow, inputnode, unit, keep_negative=config.denoise.keep_noise_floor)
        if config.outputs.dwi_own_grid:
            _write_own_grids(workflow, inputnode, own, unit, config)
    if config.outputs.raw_like_dir is not None:
        apart = own if unit.kind == "dwi-reverse-pe" else None
        write = _write_raw_like(workflow, inputnode, apart, unit, config)
        series = {
            str(image): str(path) for image, path in (all_series or raw_like_series(unit, config)).items()
        }
        fields = Node(
            CopyFieldMaps(
                series=series, root=str(config.outputs.raw_like_dir), bids_dir=str(config.bids_dir)
            ),
            name="field_maps",
        )
        workflow.connect(write, "out_files", fields, "written")
    return workflow


def _init_own_grids(workflow: Workflow, inputnode: Node, unit: DenoisingUnit, *, keep_negative: bool) -> Node:
    own = Node(OwnGrids(keep_negative=keep_negative), name="own_grids", mem_gb=4.0)
    connected = [
        *(("denoised", "denoised_file"), ("mask", "mask_file"), ("b0", "b0_files")),
        *(("between", "between_file"), ("series", "in_files"), ("own_b0", "own_b0_files")),
        ("accepted", "accepted"),
        *(("own_bval", "bval_files"), ("own_bvec", "bvec_files"), ("motion", "motion_files")),
    ]
    if unit.kind == "dwi-reverse-pe":
        own.inputs.phase_encoding = phase_encoding_vectors(unit)
        connected.append(("displacement", "displacement_files"))
    workflow.connect([(inputnode, own, connected)])
    return own


def _write_own_grids(
    workflow: Workflow, inputnode: Node, own: Node, unit: DenoisingUnit, config: Config
) -> None:
    describe = Node(
        DescribeOwnGrids(
            metadata=[dict(image.metadata) for image in unit.images],
            sources=[source_uri(image.path, config) for image in unit.images],
            corrected=config.selection.dwi_corrected,
        ),
        name="describe_own_grids",
    )
    workflow.connect(inputnode, "sidecar", describe, "sidecar")
    merges = [Node(Merge(4), name=f"own_{kind}") for kind in ("files", "sidecars")]
    describe.inputs.targets = [str(path) for path in _own_grid_paths(unit, config)]
    write = Node(WriteDerivatives(), name="write_own_grids")
    outputs = ("out_files", "mask_files", "bval_files", "bvec_files")
    workflow.connect(
        [
            (own, merges[0], [(field, f"in{number}") for number, field in enumerate(outputs, start=1)]),
            (inputnode, describe, [("accepted", "accepted")]),
            (describe, write, [("targets", "out_files")]),
            (
                describe,
                merges[1],
                [("sidecars", "in1"), ("mask_sidecars", "in2"), ("empty", "in3"), ("empty", "in4")],
            ),
            (merges[0], write, [("out", "in_files")]),
            (merges[1], write, [("out", "sidecars")]),
        ]
    )


def _own_grid_paths(unit: DenoisingUnit, config: Config) -> list[Path]:
    """Of every series, one kind of file after the other."""
    kinds = [("dwi", ".nii.gz"), ("mask", ".nii.gz"), ("dwi", ".bval"), ("dwi", ".bvec")]
    return [
        derivative_path(
            config.output_dir,
            {key: value for key, value in image.entities.items() if key not in ("desc", "space")},
            suffix,
            desc="owngrid",
            extension=extension,
            datatype="dwi",
        )
        for suffix, extension in kinds
        for image in unit.images
    ]


def _write_raw_like(
    workflow: Workflow, inputnode: Node, own: Node | None, unit: DenoisingUnit, config: Config
) -> Node:
    """Nodes that write the series with tables and sidecars; returns the last of them."""
    metadata = [dict(image.metadata) for image in unit.images] if own else [_shared(unit)]
    renamed = raw_like_series(unit, config)
    series = list(dict.fromkeys(renamed.values()))
    describe = Node(
        DescribeRawLikeSeries(
            metadata=metadata,
            fields=pair_fields(unit.entities) if own else {},
            images=[str(path) for path in renamed],
            targets=[str(path) for path in renamed.values()],
            root=str(config.outputs.raw_like_dir),
            bids_dir=str(config.bids_dir),
        ),
        name="raw_like",
    )
    files, sidecars = Node(Merge(3), name="raw_like_files"), Node(Merge(2), name="raw_like_sidecars")
    sidecars.inputs.in2 = [{}] * (2 * len(series))
    stems = [str(path).removesuffix(".nii.gz") for path in series]
    targets = [stem + end for end in (".nii.gz", ".bval", ".bvec") for stem in stems]
    write = Node(WriteDerivatives(out_files=targets), name="write_raw_like")
    node, outputs = inputnode, ("denoised", "bval", "bvec")
    if own:
        node, outputs = own, ("out_files", "bval_files", "bvec_files")
    workflow.connect(
        [
            (inputnode, describe, [("sidecar", "sidecar")]),
            (node, files, [(field, f"in{number}") for number, field in enumerate(outputs, start=1)]),
            (describe, sidecars, [("sidecars", "in1")]),
            (files, write, [("out", "in_files")]),
            (sidecars, write, [("out", "sidecars")]),
        ]
    )
    return write


def _shared(unit: DenoisingUnit) -> dict[str, object]:
    """Metadata that all series of a unit have in common: repeats are one series, on the grid of the first."""
    first, *others = (image.metadata for image in unit.images)
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    affines = [nb.load(image.path).affine for image in unit.images]
    encoding = shared_phase_encoding([first, *others], affines)
    return {key: value for key, value in shared.items() if key not in PHASE_ENCODING} | encoding
