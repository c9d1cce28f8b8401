"""Corrects a pair of series of opposite phase encoding (PEPOLAR): distortion and head motion together.

A translation of the head along the phase-encoding axis and a constant displacement make the same pair of
images, so that the pair cannot tell them apart. By convention the centre of the brain keeps its place along
this axis (relative to the scanner), and the displacement takes the rest; the corrected images agree
either way.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from n2a_bids.algorithms.distortion.blip_pair import BlipPair, Volume, VoxelMap, agreement
from n2a_bids.algorithms.distortion.field import COARSE_FIELD, DistortionConfig
from n2a_bids.algorithms.distortion.polarity import axis_doubt, explains_more, polarity_doubt
from n2a_bids.algorithms.registration.rigid import register_rigid


@dataclass(frozen=True, slots=True)
class PairConfig:
    """Settings of the estimation of field and motion in turn."""

    coarse: DistortionConfig = COARSE_FIELD
    """Of the fields that need only be good enough to find the motion."""
    fine: DistortionConfig = field(default_factory=DistortionConfig)
    polish: DistortionConfig = field(
        default_factory=lambda: DistortionConfig((2, 1), (0.7, 0.5), (60, 40), (2, 2))
    )
    """Of what is left of the field once the motion is known."""
    most_coarse_rounds: int = 8
    most_fine_rounds: int = 5
    coarse_step_voxels: float = 0.2
    largest_step_voxels: float = 0.05
    """Motion has converged where a round moves no brain voxel farther than this."""


@dataclass(frozen=True, slots=True)
class PairCorrection:
    """Distortion and motion of a pair of b0s, and what is left when they are undone."""

    displacement: Volume
    """(X, Y, Z) voxels of the first image along its phase-encoding axis, on the undistorted grid of the
    first; positive where the first is moved to higher indices."""
    second_displacement: Volume
    """(X, Y, Z) the same of the second, in voxels along its own axis, on the grid of the first."""
    voxel_map: VoxelMap
    """(4, 4) voxel of the first to voxel of the second, rigid part only."""
    corrected: tuple[Volume, Volume]
    """Both images without distortion, on the grid of the first, in their own intensity units."""
    n_rounds: int
    """Estimations of the motion."""
    last_step_voxels: float
    """How far the last of them moved a brain voxel at most."""
    converged: bool
    opposite: bool = True
    """False where the images were found to share one polarity, so that only motion lies between them."""
    polarity_margin: float | None = None
    """Where the polarity was not known: correlation of the corrected images by the hypothesis taken minus
    that by the other."""
    warnings: tuple[str, ...] = ()


def correct_pair(
    pair: BlipPair, *, opposite: bool | None = True, config: PairConfig = PairConfig()
) -> PairCorrection:
    """Find distortion and head motion that make two b0s of opposite polarity agree.

    Motion and field are estimated in turn, first with coarse fields, until the motion comes to rest. Neither
    may wait for the other: a field bends misplaced images until they agree, and hides half of the motion.

    Parameters
    ----------
    opposite : bool, optional
        True where the polarities are known to be opposite. None tries both: opposite, and the same.

    Raises
    ------
    ValueError
        If an image is empty in the brain.
    """
    if opposite:
        return _correct(pair, config)
    alike = _align(pair, config)
    return alike if opposite is False else _likelier(pair, _correct(pair, config), alike)


def doubt_of_pair(pair: BlipPair, correction: PairCorrection, *, config: PairConfig = PairConfig()) -> str:
    """Why two b0s that were corrected as opposite may be of one polarity, or another axis; empty if nothing.

    Parameters
    ----------
    correction : PairCorrection
        Of the pair, by `correct_pair`.
    """
    displacement = correction.displacement[pair.mask]
    # A shift of the head stands in it as a constant, and is no sign of distortion.
    moved_voxels = float(np.percentile(np.abs(displacement - np.median(displacement)), 95))
    alike = _align(pair, config)
    rigid, bent = (_agreement(pair, result) for result in (alike, correction))
    shown = pair.shown(alike.voxel_map, alike.displacement)
    another_axis = axis_doubt(alike.corrected, shown, pair.voxel_size_mm, pair.axis, bent)
    return another_axis or polarity_doubt(rigid, bent, moved_voxels)


def _agreement(pair: BlipPair, result: PairCorrection) -> float:
    """Of the corrected images, in the brain that both show."""
    return agreement(*result.corrected, pair.shown(result.voxel_map, result.displacement))


def _likelier(pair: BlipPair, opposite: PairCorrection, alike: PairCorrection) -> PairCorrection:
    bent, rigid = (_agreement(pair, result) for result in (opposite, alike))
    is_opposite = explains_more(bent, rigid)
    taken = opposite if is_opposite else alike
    margin = round(bent - rigid if is_opposite else rigid - bent, 4)
    note = (
        "whether the phase encodings are opposite was found from the images: "
        f"{'yes' if is_opposite else 'no'} (correlation {bent:.3f} as a pair of opposite polarity, "
        f"{rigid:.3f} as one of the same)"
    )
    names = {name: getattr(taken, name) for name in PairCorrection.__dataclass_fields__}
    return PairCorrection(**names | {"polarity_margin": margin, "warnings": (*taken.warnings, note)})


def _correct(pair: BlipPair, config: PairConfig) -> PairCorrection:
    voxel_map, n_rounds = _place_coarsely(pair, config)
    displacement = pair.estimate(pair.images(voxel_map), config.fine)
    for n_fine in range(config.most_fine_rounds):
        step = pair.step(pair.images(voxel_map, displacement))
        moved, n_rounds = pair.step_size(step), n_rounds + 1
        converged = moved < config.largest_step_voxels
        # The fine field was found along the axis of the first grid: that of a rotated head differs.
        if converged and (n_fine or pair.misdirection(voxel_map, displacement) < config.largest_step_voxels):
            break
        voxel_map = voxel_map @ step
        rest = pair.estimate(pair.images(voxel_map, displacement), config.polish)
        displacement = _compose(displacement, rest, pair.axis)
    return PairCorrection(
        displacement,
        pair.second_displacement(displacement),
        voxel_map,
        pair.corrected(voxel_map, displacement),
        n_rounds,
        round(moved, 4),
        converged,
        warnings=() if converged else (_no_rest(moved, n_rounds),),
    )


def _place_coarsely(pair: BlipPair, config: PairConfig) -> tuple[VoxelMap, int]:
    """Motion between the series by coarse fields, and the number of rounds it took.

    The head is registered before the first field, across the phase encoding; where this misleads, the
    field of the place by the affines makes the images more alike, and the search starts there.
    """
    starts = [pair.start @ pair.step(pair.images(pair.start)), pair.start]
    fields = [pair.estimate(pair.images(voxel_map), config.coarse) for voxel_map in starts]
    agreements = [agreement(*pair.images(*both), pair.mask) for both in zip(starts, fields)]
    best = int(np.argmax(agreements))
    voxel_map, displacement = starts[best], fields[best]
    n_rounds = 1
    for _ in range(config.most_coarse_rounds):
        step = pair.step(pair.images(voxel_map, displacement))
        voxel_map, n_rounds = voxel_map @ step, n_rounds + 1
        if pair.step_size(step) < config.coarse_step_voxels:
            break
        displacement = pair.estimate(pair.images(voxel_map), config.coarse)
    return voxel_map, n_rounds


def _align(pair: BlipPair, config: PairConfig) -> PairCorrection:
    """Motion alone, as between two images of one polarity."""
    voxel_map, still = pair.start, np.zeros(pair.first.shape, np.float32)
    n_rounds = 0
    for _ in range(config.most_coarse_rounds):
        step = register_rigid(*pair.images(voxel_map), pair.mask, pair.voxel_size_mm)
        voxel_map, moved, n_rounds = voxel_map @ step, pair.step_size(step), n_rounds + 1
        converged = moved < config.largest_step_voxels
        if converged:
            break
    return PairCorrection(
        still,
        still.copy(),
        voxel_map,
        pair.corrected(voxel_map, still),
        n_rounds,
        round(moved, 4),
        converged,
        opposite=False,
        warnings=() if converged else (_no_rest(moved, n_rounds),),
    )


def _no_rest(moved: float, n_rounds: int) -> str:
    return (
        f"the motion between the two series did not come to rest: after {n_rounds} rounds, the last moved "
        f"the brain by up to {moved:.2f} voxels"
    )


def _compose(displacement: Volume, rest: Volume, axis: int) -> Volume:
    """Displacement of an image which, corrected by `displacement`, is still displaced by `rest`."""
    positions = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in rest.shape), indexing="ij"))
    positions[axis] += rest
    return rest + ndimage.map_coordinates(displacement, positions, order=1, mode="nearest")
