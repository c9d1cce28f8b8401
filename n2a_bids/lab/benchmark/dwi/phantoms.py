"""Diffusion phantoms: noise-free series made from a real one, and noisy ones as they reach the denoiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.distortion.blip_pair import BlipPair
from n2a_bids.algorithms.distortion.field import resample
from n2a_bids.algorithms.distortion.pepolar import correct_pair
from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.noise.interpolation import noise_kept
from n2a_bids.algorithms.registration.dwi_resampling import mean_b0, resample_series
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.lab.benchmark.dwi.pair_motion import MOTIONS, motion_between, moved
from n2a_bids.lab.simulation import dwi as dwi_phantoms
from n2a_bids.lab.simulation.conditions import find_condition
from n2a_bids.lab.simulation.kspace import without_phase
from n2a_bids.lab.simulation.scans import make_receiver, vary

_GAP_VOXELS = 2
"""Between a box and what counts as elsewhere, so that no interpolation joins them."""

_MAKERS = {
    "tensor": dwi_phantoms.tensor_phantom,
    "multi-tensor": dwi_phantoms.multi_tensor_phantom,
}
PHASE_AXIS = 1
_IN_PLANE = (0, 1)
"""Along which the phase of a series is smooth."""
REVERSE_PE = {"reverse-pe" if name == "still" else f"reverse-pe-{name}": name for name in MOTIONS}
"""Conditions of opposite phase encoding, and the motion of the head between the series."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A noise-free series, its table and brain."""

    name: str
    signal: NDArray[np.float32]
    gradients: Gradients
    mask: NDArray[np.bool_]
    voxel_size_mm: tuple[float, float, float]
    elsewhere: Truth | None = None
    """The same brain outside of the box, in the same unit; where it was asked for."""


def make_truths(
    data: NDArray[np.float32],
    gradients: Gradients,
    mask: NDArray[np.bool_],
    voxel_size_mm: tuple[float, float, float],
    names: Sequence[str],
    box: tuple[slice, ...] = (slice(None),) * 3,
    *,
    with_elsewhere: bool = False,
) -> list[Truth]:
    """Phantoms of these names (``tensor``, ``multi-tensor``) from a real series.

    Parameters
    ----------
    data : (X, Y, Z, C) array
    mask : (X, Y, Z) bool array
        Brain mask.
    voxel_size_mm : tuple of float
    box : tuple of slice
        Part of the grid that the phantoms cover.
    with_elsewhere : bool
        Also make the phantom of the rest of the brain, for methods that learn from it.

    Raises
    ------
    ValueError
        If there is to be an elsewhere and the box leaves nothing of the brain.
    """
    unit = float(np.median(data[box][mask[box]]))

    def make(name: str, inside: NDArray[np.bool_], box: tuple[slice, ...]) -> Truth:
        signal = _MAKERS[name](data[box] / unit, gradients, inside[box])
        return Truth(name, signal, gradients, inside[box], voxel_size_mm)

    truths = [make(name, mask, box) for name in names]
    if not with_elsewhere:
        return truths
    taken = np.zeros(mask.shape, bool)
    taken[box] = True
    rest = mask & ~ndimage.binary_dilation(taken, iterations=_GAP_VOXELS)
    if not rest.any():
        raise ValueError("the box leaves nothing of the brain to learn from")
    box = bounding_box(rest)
    return [replace(truth, elsewhere=make(truth.name, rest, box)) for truth in truths]


@dataclass(frozen=True, slots=True)
class Simulated:
    """Noisy repetitions, and what is known of them."""

    truth: Truth
    """As the scan shows it without noise."""
    repetitions: Repetitions
    noise_sd: float
    """Of the real and of the imaginary part of one repetition."""
    unphased: NDArray[np.complex64] | None = None
    """(R, X, Y, Z, C) complex images without their smooth phase, where the condition keeps it."""

    @property
    def magnitudes(self) -> Repetitions:
        """Magnitudes of the complex images; the repetitions themselves, where these are magnitudes."""
        if self.unphased is None:
            return self.repetitions
        return replace(self.repetitions, data=np.abs(self.unphased), real_valued=False)


def simulate(
    truth: Truth,
    condition: str,
    snr: float,
    seed: int,
    peak_mm: float,
    scan: str = "aligned",
    *,
    n_repetitions: int | None = None,
) -> Simulated:
    """Noisy repetitions as they reach the denoiser, and the truth that they are judged by.

    Parameters
    ----------
    condition : str
        ``single``; ``repeat``: two perfect repetitions; ``misaligned``: two, the second moved by up to half
        a voxel and half a degree and left so; ``reverse-pe``: two distorted ones, corrected with the
        estimated displacement, and with a motion of the head between them, which is estimated, too
        (``reverse-pe-3mm``, ``reverse-pe-5mm-5deg``); ``split``: one, which networks that need two get as
        two synthesized halves.
    snr : float
        Of the b0.
    peak_mm : float
        Largest displacement.
    scan : str
        Row of the table of conditions; one that keeps the phase goes with ``single`` and ``repeat`` alone.
    n_repetitions : int, optional
        With ``repeat``: another number than two.
    """
    generator = torch.Generator().manual_seed(1000 + seed)
    noise_sd = dwi_phantoms.noise_sd_for_snr(truth.signal, truth.gradients, truth.mask, snr)
    n_repetitions = n_repetitions or (1 if condition in ("single", "split") else 2)
    scanned, signals, noisy = _scan(truth, scan, noise_sd, n_repetitions, generator)
    if condition in REVERSE_PE:
        pair = _reverse_pe(scanned, signals, noisy, peak_mm, generator, REVERSE_PE[condition])
        return Simulated(scanned, pair, noise_sd)
    if condition == "misaligned":
        signals = [signals[0], _nudged(signals[1], generator)]
    series = np.stack([noisy(signal) for signal in signals])
    if not find_condition(scan).is_complex:
        return Simulated(scanned, as_repetitions(scanned, series), noise_sd)
    unphased = np.stack([without_phase(one, _IN_PLANE) for one in series])
    real = replace(as_repetitions(scanned, np.ascontiguousarray(unphased.real)), real_valued=True)
    return Simulated(scanned, real, noise_sd, unphased)


def _scan(
    truth: Truth, scan: str, noise_sd: float, n_repetitions: int, generator: torch.Generator
) -> tuple[Truth, list[NDArray[np.float32]], Callable[[NDArray], NDArray[np.float32]]]:
    """The truth as the scan shows it, clean repetitions, and what makes a noisy series of a clean one."""
    condition = find_condition(scan)
    if not condition.is_scanned:
        same = [truth.signal] * n_repetitions
        return truth, same, lambda signal: dwi_phantoms.add_rician_noise(signal, noise_sd, generator)
    own = np.random.default_rng(int(torch.randint(2**31 - 1, (), generator=generator)))
    receiver = make_receiver(truth.signal, truth.mask, condition, own)
    varied = vary(truth.signal, truth.mask, condition, n_repetitions, own)
    look = receiver.complex_image if condition.is_complex else receiver.magnitude
    seen = replace(truth, signal=receiver.without_noise(varied.reference))
    return seen, list(varied.signals), lambda signal: look(signal, noise_sd, own)


def as_repetitions(truth: Truth, repetitions: NDArray[np.float32], kept: float = 1.0) -> Repetitions:
    """Series (R, X, Y, Z, C) of a phantom, with its mask and table; `kept` as in `Repetitions.noise_kept`."""
    return Repetitions(
        repetitions, truth.mask, truth.voxel_size_mm, gradients=truth.gradients, noise_kept=kept
    )


def _reverse_pe(
    truth: Truth,
    signals: Sequence[NDArray[np.float32]],
    noisy: Callable[[NDArray], NDArray[np.float32]],
    peak_mm: float,
    generator: torch.Generator,
    motion: str,
) -> Repetitions:
    axis = PHASE_AXIS
    peak_voxels = peak_mm / truth.voxel_size_mm[axis]
    field = dwi_phantoms.susceptibility_displacement(truth.mask, axis, peak_voxels, generator)
    maps = np.eye(4), motion_between(motion, truth.mask.shape, truth.voxel_size_mm, axis)
    scanned = [
        noisy(dwi_phantoms.distort(moved(signal, voxel_map), moved(field, voxel_map), axis, sign))
        for signal, voxel_map, sign in zip(signals, maps, (1, -1), strict=True)
    ]
    b0s = [mean_b0(series, truth.gradients) for series in scanned]
    found = correct_pair(BlipPair(*b0s, truth.mask, truth.voxel_size_mm, (axis, axis)))
    aligned, kept = [], []
    places = ((np.eye(4), found.displacement), (found.voxel_map, found.second_displacement))
    for series, (voxel, displacement) in zip(scanned, places, strict=True):
        maps = [voxel] * series.shape[-1]
        aligned.append(resample_series(series, maps, displacement, axis, truth.mask))
        kept.append(noise_kept(truth.mask.shape, [voxel], displacement, axis, 1, truth.mask))
    return as_repetitions(truth, np.stack(aligned), float(np.sqrt(np.mean(np.square(kept)))))


def _nudged(signal: NDArray[np.float32], generator: torch.Generator) -> NDArray[np.float32]:
    """The signal after a motion that alignment may leave behind."""
    draw = torch.rand(6, generator=generator).numpy() - 0.5
    turn = Rotation.from_rotvec(np.radians(draw[3:])).as_matrix()
    centre = (np.array(signal.shape[:3]) - 1) / 2
    voxel_map = Affine.about(turn, centre, centre + draw[:3]).matrix
    still = np.zeros(signal.shape[:3], np.float32)
    moved = [
        resample(signal[..., c], voxel_map, still, PHASE_AXIS, 0, order=3) for c in range(signal.shape[-1])
    ]
    return np.stack(moved, axis=-1)
