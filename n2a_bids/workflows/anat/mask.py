"""Workflow of brain masks of anatomical repetitions: given, by a network, or from a template."""

from __future__ import annotations

from pathlib import Path

from nipype import MapNode, Node, Workflow
from nipype.interfaces.utility import IdentityInterface
from niworkflows.engine.workflows import LiterateWorkflow

from n2a_bids.config import MaskConfig
from n2a_bids.interfaces.anat.mask import BrainMask, GivenBrainMask, NetworkBrainMask, TemplateBrainMask
from n2a_bids.workflows.descriptions import masking

_DEEPBET_GB = 2.5
_NETWORK_GB = 1.0
_TEMPLATE_GB = 2.0


def init_mask_wf(
    config: MaskConfig,
    *,
    given: Path | None = None,
    owner: int = 0,
    threads: int = 1,
    random_seed: int = 1,
    is_ratio: bool = False,
) -> Workflow:
    """Find the brain in every repetition.

    Parameters
    ----------
    config : MaskConfig
        Method, used where no mask is given.
    given : Path, optional
        Brain mask that the user brought: it is taken for all repetitions.
    owner : int
        Index of the image that it lies on: where the head lies elsewhere in another, the mask follows it.
    threads : int
        Threads that the network may use.
    random_seed : int
        Seed of the registration by ANTs.
    is_ratio : bool
        The images are UNIT1, whose air is noise.

    Returns
    -------
    workflow : Workflow
        ``inputnode.in_files`` to ``outputnode.mask_files``.
    """
    workflow = LiterateWorkflow("mask_wf")
    workflow.__desc__ = masking(mask_method(config, given))
    inputnode = Node(IdentityInterface(["in_files"]), name="inputnode")
    outputnode = Node(IdentityInterface(["mask_files"]), name="outputnode")
    n_procs = 1
    if given is not None:
        interface, memory_gb = GivenBrainMask(mask_file=str(given)), 1.0
    elif config.method == "deepbet":
        interface, memory_gb, n_procs = BrainMask(threads=threads, is_ratio=is_ratio), _DEEPBET_GB, threads
    elif config.method == "network":
        interface, memory_gb = NetworkBrainMask(is_ratio=is_ratio), _NETWORK_GB
    else:
        interface = TemplateBrainMask(random_seed=random_seed, is_ratio=is_ratio)
        memory_gb = _TEMPLATE_GB
        if config.template:
            interface.inputs.template = config.template
    brain = MapNode(interface, "in_file", name="brain", mem_gb=memory_gb, n_procs=n_procs)
    workflow.connect(
        [(inputnode, brain, [("in_files", "in_file")]), (brain, outputnode, [("out_mask", "mask_files")])]
    )
    if given is not None:
        workflow.connect([(inputnode, brain, [(("in_files", _member, owner), "owner_file")])])
    return workflow


def _member(files: list[str], index: int) -> str:
    """One of several files; nipype calls it where a connection leads from a list to a file."""
    return files[index]


def mask_method(config: MaskConfig, given: Path | None = None) -> str:
    """How `init_mask_wf` finds the brain, in a few words."""
    if given is not None:
        return f"given by the user ({given.name})"
    if config.method == "deepbet":
        return "by deepbet"
    if config.method == "network":
        return "by a small network for any contrast (brain-mask)"
    return f"by registration of a template ({config.template or 'ICBM 152'}) with ANTs"
