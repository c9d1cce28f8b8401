"""Denoised T1w images for fMRIPrep (``desc-preproc``) and for the raw-like dataset."""

from __future__ import annotations

from nipype import Node, Workflow
from nipype.interfaces.utility import IdentityInterface
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import Config
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.dataset.write.preproc import preproc_path
from n2a_bids.dataset.write.raw_like.names import outdated_raw_like, raw_like_path
from n2a_bids.interfaces.anat.bias import BiasCorrect
from n2a_bids.interfaces.derivatives.raw_like import DescribeRawLike
from n2a_bids.interfaces.derivatives.sink import WriteDerivatives


def init_anat_downstream_wf(unit: DenoisingUnit, config: Config, *, preproc: bool) -> Workflow:
    """Write the forms that were asked for.

    Parameters
    ----------
    unit : DenoisingUnit
        Repetitions or echoes of an anatomical contrast.
    config : Config
        Where to; `OutputConfig.raw_like_dir` asks for the raw-like image.
    preproc : bool
        Write ``desc-preproc_T1w``. fMRIPrep takes exactly one for a participant and session, so its name
        has no other entities, and only one unit may ask for it.

    Returns
    -------
    workflow : Workflow
        ``inputnode`` takes ``denoised, mask`` and the ``sidecar`` of the denoised image.
    """
    workflow = LiterateWorkflow("downstream_wf")
    inputnode = Node(IdentityInterface(["denoised", "mask", "sidecar"]), name="inputnode")
    # A workflow without work would lose its input node, and with it the connections to it.
    workflow.add_nodes([inputnode])
    if preproc:
        _connect_preproc(workflow, inputnode, unit, config)
    if config.outputs.raw_like_dir is not None:
        _connect_raw_like(workflow, inputnode, unit, config)
    return workflow


def _connect_preproc(workflow: Workflow, inputnode: Node, unit: DenoisingUnit, config: Config) -> None:
    correct = Node(BiasCorrect(random_seed=config.denoise.random_seed), name="bias", mem_gb=1.5)
    write = Node(WriteDerivatives({"preproc": preproc_path(unit, config.output_dir)}), name="write_preproc")
    workflow.connect(
        [
            (inputnode, correct, [("denoised", "in_file"), ("mask", "mask_file"), ("sidecar", "sidecar")]),
            (correct, write, [("out_file", "preproc"), ("sidecar", "preproc_sidecar")]),
        ]
    )


def _connect_raw_like(workflow: Workflow, inputnode: Node, unit: DenoisingUnit, config: Config) -> None:
    root = config.outputs.raw_like_dir
    describe = Node(DescribeRawLike(root=str(root), bids_dir=str(config.bids_dir)), name="raw_like")
    target = raw_like_path(root, unit.entities, unit.suffix)
    images = [path for image in unit.images for path in image.files]
    outdated = outdated_raw_like(root, config.bids_dir, images, [target])
    write = Node(
        WriteDerivatives({"raw_like": target}, superseded=list(map(str, outdated))), name="write_raw_like"
    )
    workflow.connect(
        [
            (inputnode, describe, [("sidecar", "sidecar")]),
            (inputnode, write, [("denoised", "raw_like")]),
            (describe, write, [("sidecars", "raw_like_sidecar")]),
        ]
    )
