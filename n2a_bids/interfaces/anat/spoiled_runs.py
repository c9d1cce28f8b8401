"""Leaves out T1w repetitions that make the mean worse, and names those whose artefacts do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from n2a_bids.algorithms.quality.spoiled_runs import SpoiledRun, find_spoiled_runs
from n2a_bids.interfaces.anat.judged_repetitions import JudgedRepetition, accepted_indices
from n2a_bids.io.images import load, load_mask


def find_spoiled(
    repetitions: Sequence[JudgedRepetition], files: Sequence[str], common_mask: str
) -> list[SpoiledRun]:
    """Repetitions that are worse than the others by more than noise, by their index among all.

    Parameters
    ----------
    repetitions : sequence of JudgedRepetition
        Of one contrast.
    files : sequence of str
        Those that were accepted, on one grid.
    common_mask : str
        Brain where each of them was measured.
    """
    if len(files) < 3:
        return []
    mask, accepted = load_mask(Path(common_mask), Path(files[0])), accepted_indices(repetitions)
    found = find_spoiled_runs(np.stack([load(Path(path))[0] for path in files]), mask)
    return [replace(one, index=accepted[one.index]) for one in found]


def without_spoiled(
    repetitions: Sequence[JudgedRepetition], spoiled: Sequence[SpoiledRun], may_leave_out_reference: bool
) -> list[JudgedRepetition]:
    """The repetitions, those refused that make the mean worse; the reference only if it may be."""
    judged = list(repetitions)
    for run in spoiled:
        one = judged[run.index]
        if run.must_go and (may_leave_out_reference or not one.is_reference):
            judged[run.index] = replace(one, qc=replace(one.qc, reason=run.reason))
    return judged
