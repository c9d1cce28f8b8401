"""Reads every image whole before denoising, and excludes damaged files with unreadable voxels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from n2a_bids.app.work import ParticipantWork
from n2a_bids.config import Config
from n2a_bids.dataset.collect import leave_out_unsuitable
from n2a_bids.dataset.grouping.sound_groups import is_diffusion, regroup_sound_images
from n2a_bids.dataset.read.complex_parts import values_fault
from n2a_bids.dataset.read.gradient_tables import brain_problem, unlike_b0_problem
from n2a_bids.dataset.read.image_checks import image_problem
from n2a_bids.dataset.read.micrographs import has_micrograph_name
from n2a_bids.dataset.units import Collection, ImageFile


def with_sound_images(batch: Sequence[ParticipantWork], config: Config) -> list[ParticipantWork]:
    """Leave out images that are damaged, absent, or without values or a brain; the others are grouped anew.

    Parameters
    ----------
    config : Config
        Its processors read; with ``--skip-bids-validation`` nothing is read, and nothing left out.

    Returns
    -------
    batch : list of ParticipantWork
        In the same order; a participant may have no unit left.
    """
    if config.selection.skip_validation:
        return list(batch)
    # Decompression leaves Python to the other threads.
    with ThreadPoolExecutor(config.resources.n_procs) as pool:
        return list(pool.map(lambda item: _with_sound_images(item, config), batch))


def _with_sound_images(item: ParticipantWork, config: Config) -> ParticipantWork:
    # A series without a brain, or with a map among its b0s, would stop those that it is denoised with; alone,
    # its own nodes name it.
    together = {image.path for unit in item.units for image in unit.images if len(unit.images) > 1}

    def problem(image: ImageFile) -> str:
        if has_micrograph_name(image.path):
            # Read whole, once, where it is aligned; a fault there stops its own group alone.
            return ""
        found = image_problem(image.path)
        if found or image.path not in together or not is_diffusion(image):
            return found
        found = unlike_b0_problem(image, config.selection.b0_threshold)
        if found or config.derivatives:
            return found
        return brain_problem(image, config.selection.b0_threshold)

    found = regroup_sound_images(item.units, config.selection, problem, values_fault)
    if not found.excluded:
        return dataclasses.replace(item, checked=True)
    suited = leave_out_unsuitable(Collection(found.units, found.excluded), config.denoise.strategy)
    return dataclasses.replace(
        item, units=suited.units, excluded=(*item.excluded, *suited.excluded), checked=True
    )
