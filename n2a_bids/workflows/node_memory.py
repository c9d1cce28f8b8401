"""Memory that nodes ask for which hold long series, or all repetitions, and what is left for networks."""

from __future__ import annotations

from contextlib import suppress

import nibabel as nb
import numpy as np
from nipype import Workflow
from nipype.pipeline.engine import Node

from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.io.images import UNREADABLE

_COPIES = {
    "demodulate": 4.0,
    "pick": 3.0,
    "distinct": 3.0,
    "motion": 2.0,
    "shared_motion": 2.0,
    "align": 4.0,
    "split": 4.0,
    "own_grids": 4.0,
    "place_phase": 4.0,
    "restore_phase": 4.0,
    "fit_mean": 4.0,
    "fit_denoised": 4.0,
    "draw_volumes": 4.0,
    "resample": 4.0,
    "measure_regions": 5.0,
}
"""Node -> how often it holds a series, or all repetitions, in single precision, at its peak."""
_BASE_GB = 1.5
"""Libraries, and what does not grow with the number of volumes."""
_COPIES_BESIDE_BLOCKS = {"anat": 12.0, "dwi": 4.0}
"""How often all repetitions, or the longest series, are held while networks are applied in blocks: estimates
of candidates, noise, masks. Two T1w runs of 160 x 224 x 256 voxels took 1.9 GB with the libraries."""
_LEAST_SHARE = 0.25
"""Of what there is, for blocks."""


def held_gb(unit: DenoisingUnit) -> float:
    """Size in single precision of what is held at once: the longest series, or all repetitions.

    Of images whose header can be read.
    """
    sizes = [0.0]
    for image in unit.images:
        # What cannot be read is named by the first node of the workflow.
        with suppress(*UNREADABLE):
            sizes.append(4e-9 * float(np.prod(nb.load(image.path).shape)))
    return max(sizes) if unit.datatype == "dwi" else sum(sizes)


def reserve_memory(workflow: Workflow, unit: DenoisingUnit, limit_gb: float) -> None:
    """Let the nodes that hold whole series, or all repetitions, ask for what these take.

    Networks get the rest for their blocks: what they are told is all theirs.

    Parameters
    ----------
    workflow : Workflow
        Of one unit; modified. A node never asks for less than it was made with.
    limit_gb : float
        What the user allows: a node that may need more asks for all of it, so
        that it runs alone.
    """
    size = held_gb(unit)
    if "denoise" in workflow.list_node_names():
        beside_gb = _BASE_GB + _COPIES_BESIDE_BLOCKS[unit.datatype] * size
        workflow.get_node("denoise").inputs.memory_gb = max(limit_gb - beside_gb, _LEAST_SHARE * limit_gb)
    for name in workflow.list_node_names():
        node: Node = workflow.get_node(name)
        copies = _COPIES.get(name.rsplit(".", 1)[-1])
        if copies is not None:
            needed_gb = max(node.mem_gb, _BASE_GB + copies * size)
            # nipype takes it when a node is made, and has no other way in afterwards.
            node._mem_gb = min(needed_gb, max(limit_gb, node.mem_gb))
