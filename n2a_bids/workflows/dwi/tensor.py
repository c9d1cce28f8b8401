"""Workflow of tensor maps (FA, MD) of the mean and of the denoised series."""

from __future__ import annotations

from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.tensor import tensor_volumes
from n2a_bids.config import Config
from n2a_bids.dataset.names import derivative_path, source_uri
from n2a_bids.dataset.read.gradient_tables import read_series
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.interfaces.derivatives.sink import WriteDerivatives
from n2a_bids.interfaces.dwi.tensor import TensorMapsOfSeries
from n2a_bids.io.json import sidecar_path
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.workflows.derivatives import is_made_of_several
from n2a_bids.workflows.figures import figure_path

FITTED = ("mean", "denoised")
_MAPS = {
    "fa": ("Fractional anisotropy", "1"),
    "md": ("Mean diffusivity", "mm2/s"),
    "v1": ("First eigenvector, components to the right, to the front and upwards (RAS)", "1"),
}
"""Name, description, unit."""
TENSOR_MAPS = {f"{kind}_{desc}": f"outputnode.{kind}_{desc}" for desc in FITTED for kind in ("fa", "v1")}
"""What the report shows of them, and the output of `init_tensor_wf` for each."""


def unit_gradients(unit: DenoisingUnit, b0_threshold: float) -> Gradients:
    """Table of the volumes that are denoised, as the first series has it."""
    table = read_series(unit.images[0], b0_threshold).gradients
    volumes = list(unit.volumes[0]) if unit.volumes else slice(None)
    return table.subset(volumes)


def determines_tensor(unit: DenoisingUnit, b0_threshold: float) -> bool:
    """Whether the volumes that are denoised suffice for a tensor: a b0 and six spread directions."""
    return tensor_volumes(unit_gradients(unit, b0_threshold)).size > 0


def init_tensor_wf(unit: DenoisingUnit, config: Config) -> Workflow:
    """Fit tensors, and write their maps.

    Parameters
    ----------
    unit : DenoisingUnit
        Diffusion series.
    config : Config
        For the output folder.

    Returns
    -------
    workflow : Workflow
        ``inputnode`` takes ``mean, denoised, bval, bvec, mask``; ``outputnode`` gives ``fa_mean, v1_mean,
        fa_denoised, v1_denoised``.
    """
    workflow = LiterateWorkflow("tensor_wf")
    inputnode = Node(IdentityInterface([*FITTED, "bval", "bvec", "mask"]), name="inputnode")
    outputnode = Node(IdentityInterface(list(TENSOR_MAPS)), name="outputnode")
    written = _written(unit, config)
    targets = {f"{kind}_{desc}": _path(unit, config, kind, desc) for desc in written for kind in _MAPS}
    write = Node(WriteDerivatives(targets), name="write")
    for desc in FITTED:
        fit = Node(TensorMapsOfSeries(), name=f"fit_{desc}", mem_gb=3.0)
        table = [("bval", "bval_file"), ("bvec", "bvec_file"), ("mask", "mask_file")]
        workflow.connect(
            [
                (inputnode, fit, [(desc, "in_file"), *table]),
                (fit, outputnode, [(f"{kind}_file", f"{kind}_{desc}") for kind in ("fa", "v1")]),
            ]
        )
        for kind in _MAPS if desc in written else ():
            write.inputs.trait_set(**{f"{kind}_{desc}_sidecar": _sidecar(unit, config, kind, desc)})
            workflow.connect(fit, f"{kind}_file", write, f"{kind}_{desc}")
    return workflow


def outdated_maps(unit: DenoisingUnit, config: Config) -> list[Path]:
    """Maps that an earlier run with other options may have left: they would show an image that is gone."""
    has_tensor = determines_tensor(unit, config.selection.b0_threshold)
    written = _written(unit, config) if has_tensor else []
    maps = [_path(unit, config, kind, desc) for desc in FITTED if desc not in written for kind in _MAPS]
    figures = [] if has_tensor else [figure_path(config.output_dir, unit.entities, unit.suffix, "tensor")]
    return [*maps, *map(sidecar_path, maps), *figures]


def _written(unit: DenoisingUnit, config: Config) -> list[str]:
    """Of which series maps are written: not of the mean where that is the series as acquired."""
    return [desc for desc in FITTED if desc == "denoised" or is_made_of_several(unit, config)]


def _path(unit: DenoisingUnit, config: Config, kind: str, desc: str) -> Path:
    named = {**unit.entities, "model": "tensor", "param": kind}
    return derivative_path(config.output_dir, named, "dwimap", desc=desc, datatype="dwi")


def _sidecar(unit: DenoisingUnit, config: Config, kind: str, desc: str) -> JsonObject:
    description, units = _MAPS[kind]
    series = derivative_path(config.output_dir, unit.entities, "dwi", desc=desc)
    return {
        "Description": f"{description}, from a tensor fit (weighted least squares on the logarithm)",
        "Units": units,
        "Sources": [source_uri(series, config)],
        "SpatialReference": source_uri(unit.images[0].path, config),
        "SkullStripped": True,
    }
