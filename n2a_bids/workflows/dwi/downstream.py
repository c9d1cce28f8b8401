"""Denoised diffusion series in native space of their sources, and for the raw-like dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nb
from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config
from n2a_bids.dataset.names import source_uri
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.dataset.write.raw_like.fieldmaps import pair_fields
from n2a_bids.dataset.write.raw_like.names import outdated_raw_like, raw_like_path
from n2a_bids.interfaces.derivatives.raw_like import CopyFieldMaps, DescribeNativeGrids, DescribeRawLike
from n2a_bids.interfaces.derivatives.sidecar_fields import PHASE_ENCODING, shared_phase_encoding
from n2a_bids.interfaces.derivatives.sink import WriteDerivatives
from n2a_bids.interfaces.dwi.native_grid import NativeGrids
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.workflows.derivatives import OWN_GRID_OUTPUTS, needs_own_grids, writes_own_grids

_ALIGNED = ("mask", "bval", "bvec", "b0_after", "between", "accepted")
_ACQUIRED = ("own_series", "own_b0", "own_bval", "own_bvec", "motion")


def raw_like_series(unit: DenoisingUnit, config: Config) -> dict[Path, Path]:
    """Each series of a unit, and the one that stands for it in the raw-like dataset, if there is one.

    One series for each source where they are told apart by distortion, else the combined one.
    """
    root = config.outputs.raw_like_dir
    if root is None:
        return {}
    apart = unit.kind in ("dwi-reverse-pe", "dwi-in-place")
    return {
        path: raw_like_path(root, unit.names_of(image) if apart else unit.entities, "dwi")
        for image in unit.images
        for path in image.files
    }


def init_dwi_downstream_wf(
    unit: DenoisingUnit,
    config: Config,
    *,
    all_series: Mapping[Path, Path] | None = None,
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

    Returns
    -------
    workflow : Workflow
        ``inputnode`` takes ``denoised`` and its ``sidecar``, the fields of `_ALIGNED` (common grid), those of
        `_ACQUIRED` (lists, one item for each series) and, for pairs, ``displacement``.
    """
    workflow = LiterateWorkflow("downstream_wf")
    fields = ["denoised", "sidecar", *_ALIGNED, *_ACQUIRED, "displacement"]
    inputnode = Node(IdentityInterface(fields), name="inputnode")
    workflow.add_nodes([inputnode])
    own = None
    keep_negative = config.denoise.keep_noise_floor or unit.uses_phase
    if needs_own_grids(unit, config):
        own = _init_own_grids(workflow, inputnode, unit, keep_negative=keep_negative)
        if writes_own_grids(unit, config):
            _write_own_grids(workflow, inputnode, own, unit, config)
    if config.outputs.raw_like_dir is not None:
        apart = own if unit.has_opposite_series else None
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
    own = Node(NativeGrids(keep_negative=keep_negative), name="own_grids", mem_gb=4.0)
    connected = [
        *(("denoised", "denoised_file"), ("mask", "mask_file"), ("b0_after", "b0_files")),
        *(("between", "between_file"), ("own_series", "in_files"), ("own_b0", "own_b0_files")),
        ("accepted", "accepted"),
        *(("own_bval", "bval_files"), ("own_bvec", "bvec_files"), ("motion", "motion_files")),
    ]
    if unit.distortion_is_estimated:
        own.inputs.phase_encoding = unit.phase_encoding_vectors
        connected.append(("displacement", "displacement_files"))
    workflow.connect([(inputnode, own, connected)])
    return own


def _write_own_grids(
    workflow: Workflow, inputnode: Node, own: Node, unit: DenoisingUnit, config: Config
) -> None:
    describe = Node(
        DescribeNativeGrids(
            metadata=[dict(image.metadata) for image in unit.images],
            sources=[source_uri(image.path, config) for image in unit.images],
            corrected=config.selection.dwi_corrected,
        ),
        name="describe_own_grids",
    )
    workflow.connect(inputnode, "sidecar", describe, "sidecar")
    targets = {row.field: row.paths(unit, config) for row in OWN_GRID_OUTPUTS}
    write = Node(WriteDerivatives(targets, no_others=True), name="write_own_grids")
    made = [("out_files", "series"), ("mask_files", "mask"), ("bval_files", "bval"), ("bvec_files", "bvec")]
    workflow.connect(
        [
            (own, write, made),
            (inputnode, describe, [("accepted", "accepted")]),
            (inputnode, write, [("accepted", "indices")]),
            (describe, write, [("sidecars", "series_sidecar"), ("mask_sidecars", "mask_sidecar")]),
        ]
    )


def _write_raw_like(
    workflow: Workflow, inputnode: Node, own: Node | None, unit: DenoisingUnit, config: Config
) -> Node:
    """Nodes that write the series with tables and sidecars; returns the last of them."""
    apart = own or unit.lies_in_place
    metadata = [dict(image.metadata) for image in unit.images] if apart else [_shared(unit)]
    renamed = raw_like_series(unit, config)
    series = list(dict.fromkeys(renamed.values()))
    describe = Node(
        DescribeRawLike(
            metadata=metadata,
            fields=pair_fields(unit.entities) if own else {},
            series={str(image): str(path) for image, path in renamed.items()},
            in_place=unit.lies_in_place,
            root=str(config.outputs.raw_like_dir),
            bids_dir=str(config.bids_dir),
        ),
        name="raw_like",
    )
    outdated = outdated_raw_like(config.outputs.raw_like_dir, config.bids_dir, renamed, series)
    targets = _raw_like_targets(series)
    write = Node(WriteDerivatives(targets, superseded=list(map(str, outdated))), name="write_raw_like")
    node, outputs = inputnode, ("denoised", "bval", "bvec")
    if own:
        node, outputs = own, ("out_files", "bval_files", "bvec_files")
        # A copy, or what could not be aligned, is none of them.
        workflow.connect(
            [
                (inputnode, describe, [("accepted", "accepted")]),
                (inputnode, write, [("accepted", "indices")]),
                (describe, write, [("left_out", "gone")]),
            ]
        )
    workflow.connect(
        [
            (inputnode, describe, [("sidecar", "sidecar")]),
            (node, write, list(zip(outputs, targets))),
            (describe, write, [("sidecars", "series_sidecar")]),
        ]
    )
    return write


def _raw_like_targets(series: Sequence[Path]) -> dict[str, list[Path]]:
    """Where series and their tables go, by what brings them."""
    stems = [str(path).removesuffix(".nii.gz") for path in series]
    ends = {"series": ".nii.gz", "bval": ".bval", "bvec": ".bvec"}
    return {name: [Path(stem + end) for stem in stems] for name, end in ends.items()}


def _shared(unit: DenoisingUnit) -> JsonObject:
    """Metadata that all series of a unit have in common: repeats are one series, on the grid of the first."""
    first, *others = (image.metadata for image in unit.images)
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    affines = [nb.load(image.path).affine for image in unit.images]
    encoding = shared_phase_encoding([first, *others], affines)
    return {key: value for key, value in shared.items() if key not in PHASE_ENCODING} | encoding
