"""What a step of a workflow does, in words: its name in the graph tells a user nothing."""

from __future__ import annotations

import re
from typing import get_args

from n2a_bids.dataset.units import Kind

WHAT_IS_DONE = {
    "check": "checking the images",
    "gaps": "looking for gaps",
    "pick": "reading the series",
    "split": "splitting the series",
    "distinct": "looking for copies",
    "mask": "finding the brain",
    "mask_wf": "finding the brain",
    "motion": "estimating motion",
    "shared_motion": "joining eddy currents",
    "register": "registering the series",
    "distortion": "estimating distortion",
    "align": "aligning the images",
    "align_wf.reference": "choosing the reference",
    "align_wf.register": "registering the repetitions",
    "align_wf.resample": "aligning the repetitions",
    "demodulate": "removing the phase",
    "inspect": "judging the alignment",
    "denoise": "denoising",
    "tensor_wf": "fitting tensors",
    "regions_wf": "measuring the regions of the atlas",
    "regions_wf.place": "bringing the regions of the atlas",
    "outputs_wf": "writing the results",
    "reports_wf": "drawing the report",
}
"""Step of a unit, or the workflow it is in -> what it does."""
_ENDS = tuple(kind.replace("-", "_") for kind in get_args(Kind))


def what_is_done(step: str) -> str:
    """What a step of a unit does, or its name where that says more.

    Examples
    --------
    >>> what_is_done("mask_wf.brain"), what_is_done("align_wf.resample"), what_is_done("own_grids")
    ('finding the brain', 'aligning the repetitions', 'own_grids')
    """
    return WHAT_IS_DONE.get(step) or WHAT_IS_DONE.get(step.partition(".")[0]) or step


def step_words(name: str) -> str:
    """Images and what was done to them, by the name of a step within its participant.

    Examples
    --------
    >>> step_words("sub_01_ses_a_T1w_anat_repeats.mask_wf.brain")
    'sub-01_ses-a_T1w, finding the brain'
    >>> step_words("n2a.join")
    'n2a.join'
    """
    unit, _, step = name.partition(".")
    end = next((end for end in _ENDS if unit.endswith(f"_{end}")), None)
    parts = unit.removesuffix(f"_{end}").split("_") if end else []
    # Odd characters of a label were written as underscores, too: then nobody knows where it ends.
    if not step or len(parts) % 2 == 0 or not all(re.fullmatch("[a-z]+", key) for key in parts[:-1:2]):
        return name
    entities = (f"{key}-{value}" for key, value in zip(parts[:-1:2], parts[1::2], strict=True))
    return f"{'_'.join([*entities, parts[-1]])}, {what_is_done(step)}"
