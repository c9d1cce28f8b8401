"""Brain masks of all repetitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nipype import MapNode, Node, Workflow
from nipype.interfaces.utility import IdentityInterface

from n2a_bids.config import MaskConfig
from n2a_bids.interfaces.mask import BrainMask, GivenBrainMask, TemplateBrainMask

_DEEPBET_GB = 2.5
_TEMPLATE_GB = 2.0


def init_mask_wf(
    config: MaskConfig,
    *,
    given: Path | None = None,
    threads: int = 1,
    random_seed: int = 1,
    name: str = "mask_wf",
) -> Workflow:
    """Find the brain in every repetition.

    Parameters
    ----------
    config : MaskConfig
        Method, used where no mask is given.
    given : Path, optional
        Brain mask that the user brought: it is taken for all repetitions, by world coordinates.
    threads : int
        Of deepbet.
    random_seed : int
        Of ANTs.
    name : str
        Of the workflow.

    Returns
    -------
    workflow : Workflow
        ``inputnode.in_files`` to ``outputnode.mask_files``.
    """
    workflow = Workflow(name)
    inputnode = Node(IdentityInterface(["in_files"]), name="inputnode")
    outputnode = Node(IdentityInterface(["mask_files"]), name="outputnode")
    n_procs = 1
    if given is not None:
        interface, memory_gb = GivenBrainMask(mask_file=str(given)), 1.0
    elif config.method == "deepbet":
        interface, memory_gb, n_procs = BrainMask(threads=threads), _DEEPBET_GB, threads
    else:
        interface, memory_gb = TemplateBrainMask(random_seed=random_seed), _TEMPLATE_GB
        if config.template:
            interface.inputs.template = config.template
    brain = MapNode(interface, "in_file", name="brain", mem_gb=memory_gb, n_procs=n_procs)
    workflow.connect(
        [(inputnode, brain, [("in_files", "in_file")]), (brain, outputnode, [("out_mask", "mask_files")])]
    )
    return workflow


def mask_method(config: MaskConfig, given: Path | None = None) -> str:
    """How `init_mask_wf` finds the brain, in a few words."""
    if given is not None:
        return f"given by the user ({given.name})"
    if config.method == "deepbet":
        return "by deepbet"
    return f"by registration of a template ({config.template or 'ICBM 152'}) with ANTs"


def mask_warnings(
    derivatives: Mapping[str, Path], given: Path | None, method: str, elsewhere: Sequence[Path] = ()
) -> list[str]:
    """A sentence for those who brought derivatives, where no mask in them fits a group.

    Parameters
    ----------
    derivatives : mapping of str to Path
        Name and root of each derivative dataset.
    given : Path or None
        The mask that was taken.
    method : str
        How the brain was found, in a few words.
    elsewhere : sequence of Path
        Masks that were passed over because they lie in another space.

    Examples
    --------
    >>> mask_warnings({"masks": Path("/data/masks")}, None, "by deepbet")
    ['no brain mask in the derivatives masks fits this group: the brain was found by deepbet']
    """
    if given is not None or not derivatives:
        return []
    names = ", ".join(derivatives)
    ignored = f" ({', '.join(path.name for path in elsewhere)}: not in the space of the images)"
    return [
        f"no brain mask in the derivatives {names} fits this group{ignored if elsewhere else ''}: the brain "
        f"was found {method}"
    ]
