"""Sums the frames of one micrograph file to a few exposures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.micrographs.alignment import move_back
from n2a_bids.algorithms.micrographs.frame_drift import FrameDrift, estimate_frame_drift
from n2a_bids.algorithms.micrographs.hot_pixels import find_camera_lines, find_hot_pixels
from n2a_bids.algorithms.micrographs.lost_pixels import fill_lost_pixels
from n2a_bids.algorithms.micrographs.odd_frames import constant_frames, repeated_frames, unlike_frames
from n2a_bids.denoising.micrographs.selection import not_whole, wrapping_of
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrograph_pixels import PAGES, Micrograph

_NO_PAGES = str.maketrans("", "", PAGES)
_MOSTLY = 0.5
"""Part of the frames that saturate a pixel where its signal does. Of fewer, noise does, and their mean tells
enough: of 500 noisy frames nearly every bright pixel reaches the largest value once."""


@dataclass(frozen=True, slots=True)
class SummedFrames:
    """A movie as a few exposures."""

    groups: list[Micrograph]
    """Means of one page each, in single precision; where most frames are saturated, the largest value."""
    measured_part: NDArray[np.float32]
    """(G, X, Y, 1) of the frames of a group that were measured: at the borders some have drifted away."""
    notes: tuple[str, ...]
    """Which frames were left out, and how far the others had drifted."""
    drift_pixels: tuple[tuple[float, ...], ...] = ()
    """Where each of the others lay against the first, along columns and rows; empty if none had drifted."""


def sum_frames(stack: Micrograph, n_groups: int) -> SummedFrames:
    """Means of the frames of a file in interleaved groups, which share drift and dose; halves in time do not.

    Where the specimen drifts from frame to frame, each frame is moved back first.

    Parameters
    ----------
    stack : Micrograph
        Its pages are frames.
    n_groups : int
        2 for the even and the odd frames.

    Raises
    ------
    BIDSDataError
        If there are fewer frames than groups, a part of one was lost, or negative counts wrapped.
    """
    n_frames = stack.pixels.shape[2]
    if n_frames < n_groups:
        raise BIDSDataError(
            f"{stack.path}: expected at least {n_groups} frames for --micr-frames {n_groups}, found "
            f"{n_frames} pages; ask for fewer groups"
        )
    _refuse_lost_parts(stack)
    if problem := wrapping_of(replace(stack, pixels=stack.pixels[:, :, :1])):
        raise BIDSDataError(problem)
    odd = _odd_frames(stack)
    kept = [index for index in range(n_frames) if index not in odd]
    notes = tuple(
        f"{stack.path.name}: frame {index}, counted from 0, was left out: {why}" for index, why in odd.items()
    )
    if len(kept) < n_groups:
        raise BIDSDataError(
            f"{stack.path}: expected at least {n_groups} frames that can be used, found {len(kept)}: "
            f"{'; '.join(notes)}; ask for fewer groups, or leave the file out"
        )
    sound = stack if not odd else replace(stack, pixels=stack.pixels[:, :, kept], not_stored=None)
    drift = estimate_frame_drift(sound.pixels)
    groups = [range(first, len(kept), n_groups) for first in range(n_groups)]
    limit = _limit(sound)
    if drift is None:
        means = [_mean_of(sound, group, limit) for group in groups]
        return SummedFrames(means, np.ones((n_groups, *stack.pixels.shape[:2], 1), np.float32), notes)
    hot = _hot_pixels(sound, drift)
    found = [_mean_along(sound, group, limit, drift, hot) for group in groups]
    notes += (
        f"{stack.path.name}: between its frames the specimen drifted by up to {drift.length_pixels:.1f} "
        "pixels; each was moved back before they were summed",
    )
    path = tuple(tuple(map(float, shift)) for shift in drift.of_frames.shift_pixels)
    return SummedFrames([mean for mean, _ in found], np.stack([part for _, part in found]), notes, path)


def _odd_frames(stack: Micrograph) -> dict[int, str]:
    """Frames that would spoil the sums, and why."""
    odd = dict.fromkeys(constant_frames(stack.pixels), "it holds one value in all pixels")
    for index, first in repeated_frames(stack.pixels).items():
        odd.setdefault(index, f"it is frame {first} once more, and holds the same noise")
    left = [index for index in range(stack.pixels.shape[2]) if index not in odd]
    for index in unlike_frames(stack.pixels[:, :, left]):
        odd[left[index]] = "it does not show what the others do (lost in part, jumped, or noise alone)"
    return dict(sorted(odd.items()))


def _limit(stack: Micrograph) -> float:
    """Value at which frames are saturated; none where they hold single events, 0 or the one other value."""
    largest = stack.pixels.max()
    frames = (stack.pixels[:, :, index] for index in range(stack.pixels.shape[2]))
    are_events = all(((frame == 0) | (frame == largest)).all() for frame in frames)
    return np.inf if are_events else stack.largest_value


def _mean_of(stack: Micrograph, group: range, limit: float) -> Micrograph:
    """The mean of some frames as an exposure, of which pixels that reach the limit in most are saturated."""
    frames = stack.pixels[:, :, group.start : group.stop : group.step]
    mean = frames.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32)
    return _as_exposure(stack, mean, (frames >= limit).mean(axis=2, keepdims=True) > _MOSTLY)


def _mean_along(
    stack: Micrograph, group: range, limit: float, drift: FrameDrift, hot: NDArray[np.bool_]
) -> tuple[Micrograph, NDArray[np.float32]]:
    """The mean of some frames moved back, of those measured at each pixel, and their part of all."""
    shape = (*stack.pixels.shape[:2], 1, stack.pixels.shape[3])
    total, nearest = np.zeros(shape), np.zeros(shape)
    count = np.zeros(shape[:2], int)
    n_full = np.zeros(shape)
    for index in group:
        frame = stack.pixels[:, :, index : index + 1]
        full = frame >= limit
        values = frame.astype(np.float32)
        fill_lost_pixels(values[None], hot[None])
        for channel in range(shape[3]):
            moved, inside = move_back(values[:, :, 0, channel], drift.of_frames, index)
            total[:, :, 0, channel] += np.where(inside, moved, 0)
            nearest[:, :, 0, channel] += moved
            if full[..., channel].any():
                flags, _ = move_back(full[:, :, 0, channel].astype(np.float32), drift.of_frames, index)
                n_full[:, :, 0, channel] += np.where(inside, flags, 0)
        count += inside
    seen = count[..., None, None]
    mean = np.where(seen > 0, total / np.maximum(seen, 1), nearest / len(group)).astype(np.float32)
    # A shift by a fraction spreads what is cut off.
    is_full = ndimage.binary_dilation(n_full > _MOSTLY * seen, np.ones((3, 3, 1, 1)))
    return _as_exposure(stack, mean, is_full), (count / len(group)).astype(np.float32)[..., None]


def _as_exposure(stack: Micrograph, mean: NDArray[np.float32], is_full: NDArray[np.bool_]) -> Micrograph:
    """A mean of frames as one exposure of the same camera."""
    if stack.is_integer:
        mean[is_full] = stack.largest_value
    return replace(stack, pixels=mean, axes=stack.axes.translate(_NO_PAGES))


def _hot_pixels(stack: Micrograph, drift: FrameDrift) -> NDArray[np.bool_]:
    """(X, Y, 1) pixels of the camera that are hot in all frames, and its broken lines: moving smears them."""
    parts = (slice(part[0], part[-1] + 1) for part in drift.parts)
    blocks = [stack.pixels[:, :, part].mean(axis=2, keepdims=True, dtype=np.float32) for part in parts]
    means = np.stack(blocks)
    return find_hot_pixels(means, drift.block_drift) | find_camera_lines(means)


def _refuse_lost_parts(stack: Micrograph) -> None:
    """Chunks that are not stored are empty; where other frames show something, they were lost."""
    gaps = stack.not_stored
    if gaps is None:
        return
    pages = (slice(index, index + 1) for index in range(stack.pixels.shape[2]))
    frames = [replace(stack, pixels=stack.pixels[:, :, page], not_stored=gaps[:, :, page]) for page in pages]
    for problem in not_whole(dict(enumerate(frames))).values():
        raise BIDSDataError(problem)
