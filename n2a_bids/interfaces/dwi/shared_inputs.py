"""Inputs that many nodes of diffusion series have, and one value for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from nipype.interfaces.base import BaseInterfaceInputSpec, traits
from nipype.pipeline.engine import Workflow

from n2a_bids.contrasts import B0_THRESHOLD
from n2a_bids.external.b0_brain import Method


def b0_threshold_trait() -> traits.Float:
    """Input ``b0_threshold`` of an interface that reads gradient tables."""
    return traits.Float(B0_THRESHOLD, usedefault=True, desc="largest b-value that counts as b0, in s/mm2")


class B0BrainInputSpec(BaseInterfaceInputSpec):
    """How an interface finds the brain in a b0."""

    b0_mask_method = traits.Enum(*get_args(Method), usedefault=True, desc="see --dwi-mask-method")
    b0_mask_seed = traits.Int(1, usedefault=True, desc="seed of ANTs, for the template")


def set_shared_inputs(workflow: Workflow, values: Mapping[str, object]) -> None:
    """Give all nodes of a workflow, and of the workflows in it, these values where they have such inputs."""
    for name in workflow.list_node_names():
        inputs = workflow.get_node(name).inputs
        inputs.trait_set(**{key: values[key] for key in values.keys() & set(inputs.copyable_trait_names())})
