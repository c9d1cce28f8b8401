"""The largest b-value that counts as b0, as an input of the nodes that read gradient tables."""

from __future__ import annotations

from nipype.interfaces.base import traits
from nipype.pipeline.engine import Workflow

from n2a_bids.contrasts import B0_THRESHOLD

_NAME = "b0_threshold"


def b0_threshold_trait() -> traits.Float:
    """Input ``b0_threshold`` of an interface; `set_b0_threshold` finds it by this name."""
    return traits.Float(B0_THRESHOLD, usedefault=True, desc="largest b-value that counts as b0, in s/mm2")


def set_b0_threshold(workflow: Workflow, b0_threshold: float) -> None:
    """Give all nodes of a workflow that read gradient tables one threshold.

    Parameters
    ----------
    workflow : Workflow
        Modified, with the workflows in it.
    b0_threshold : float
        In s/mm2.
    """
    for name in workflow.list_node_names():
        inputs = workflow.get_node(name).inputs
        if _NAME in inputs.copyable_trait_names():
            inputs.trait_set(**{_NAME: b0_threshold})
