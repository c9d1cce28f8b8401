"""Leaves out T1w repetitions that make the mean worse, and names those whose artefacts do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np

from n2a_bids.algorithms.normalization import Mask
from n2a_bids.algorithms.quality.spoiled_runs import SpoiledRun, find_spoiled_runs
from n2a_bids.algorithms.registration.resampling import field_of_view
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.interfaces.anat.judged_repetitions import JudgedRepetition, accepted_indices
from n2a_bids.io.images import load, load_mask
from n2a_bids.io.transforms import read_itk_transform


def find_spoiled(
    repetitions: Sequence[JudgedRepetition],
    files: Sequence[str],
    transforms: Sequence[str],
    common_mask: str,
) -> list[SpoiledRun]:
    """Repetitions that are worse than the others by more than noise, by their index among all.

    Parameters
    ----------
    repetitions : sequence of JudgedRepetition
        Of one contrast.
    files : sequence of str
        Those that were accepted, on one grid.
    transforms : sequence of str
        World of that grid to the world of each of them.
    common_mask : str
        Brain where each of them was measured.
    """
    if len(files) < 3:
        return []
    mask, accepted = load_mask(Path(common_mask), Path(files[0])), accepted_indices(repetitions)
    images = np.stack([load(Path(path))[0] for path in files])
    paths = [repetitions[index].path for index in accepted]
    found = find_spoiled_runs(images, mask, _seen_by_all(paths, transforms, Path(files[0])))
    return [replace(one, index=accepted[one.index]) for one in found]


def _seen_by_all(paths: Sequence[Path], transforms: Sequence[str], grid: Path) -> Mask:
    """Where a grid lies in the field of view of every repetition: beyond, the reference stands for it."""
    placed = nb.load(grid)
    views = []
    for path, file in zip(paths, transforms, strict=True):
        image, motion = nb.load(path), Affine(read_itk_transform(Path(file)))
        voxel_map = motion.between_voxels(placed.affine, image.affine)
        views.append(field_of_view(image.shape[:3], voxel_map, placed.shape[:3]))
    return np.logical_and.reduce(views)


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
