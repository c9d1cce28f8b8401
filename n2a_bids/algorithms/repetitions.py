"""`Repetitions`, the arrays every strategy starts from, and `DenoisedImage`, what it returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.quality.gain import Gain
from n2a_bids.record.denoising import StrategyRecord
from n2a_bids.strategy_table import Modality


@dataclass(frozen=True, slots=True)
class Companion:
    """Another series of the same volumes, as measured: of each voxel the nearest one of it."""

    data: NDArray[np.float32]
    """(X, Y, Z, C) intensities, any unit, without interpolation."""
    seen: NDArray[np.bool_]
    """(X, Y, Z) voxels that its field of view covers."""


@dataclass(frozen=True, slots=True)
class Repetitions:
    """Aligned noisy repetitions of one image."""

    data: NDArray[np.float32]
    """(R, X, Y, Z, C) intensities, any unit; C is 1 for T1w, the volumes for DWI."""
    mask: NDArray[np.bool_]
    """(X, Y, Z) brain mask."""
    voxel_size_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    left_right_axis: int = 0
    """Array axis that runs left-right: the one along which heads may be flipped."""
    same_contrast: bool = True
    """False when repetitions differ in contrast (echoes): only a linear match is assumed."""
    gradients: Gradients | None = None
    n_measured: NDArray[np.uint8] | NDArray[np.float32] | None = None
    """(X, Y, Z) how many repetitions were measured at each voxel, where some have gaps: these hold what the
    others show there (`gaps.fill_from_others`). Parts count where each is a sum of frames of which some were
    measured. None where all were measured everywhere."""
    noise_kept: float = 1.0
    """Part of the noise SD that the interpolation of the repetitions left; the Rician bias is not reduced."""
    micrograph: bool = False
    """Exposures of a microscope: planes (Z) and channels are images of their own, with counting noise."""
    real_valued: bool = False
    """Real parts of complex images, whose noise is Gaussian and has no floor, also where none is negative."""
    companion: Companion | None = None
    """What a diffusion series that is denoised where it lies may learn from, and is not averaged with."""

    def __post_init__(self) -> None:
        if self.data.ndim != 5:
            raise ValueError(f"data must be (R, X, Y, Z, C), found shape {self.data.shape}")
        if self.mask.shape != self.data.shape[1:4]:
            raise ValueError(f"mask grid {self.mask.shape} is not the image grid {self.data.shape[1:4]}")
        if self.n_measured is not None and self.n_measured.shape != self.mask.shape:
            raise ValueError(f"n_measured has the grid {self.n_measured.shape}, not {self.mask.shape}")
        if not self.mask.any():
            raise ValueError("the mask is empty")
        if not 0 < self.noise_kept <= 1:
            raise ValueError(
                f"noise_kept is a part of the noise SD, above 0 and up to 1; found {self.noise_kept}"
            )

    @property
    def shared(self) -> NDArray[np.bool_] | None:
        """(X, Y, Z) where every repetition was measured; None for everywhere."""
        return None if self.n_measured is None else self.n_measured == len(self.data)

    @property
    def modality(self) -> Modality:
        """What kind of strategy they take."""
        return "micr" if self.micrograph else "anat" if self.gradients is None else "dwi"

    @property
    def n_repetitions(self) -> int:
        """Number of repetitions R."""
        return self.data.shape[0]


@dataclass(frozen=True, slots=True)
class DenoisedImage:
    """What a strategy returns."""

    data: NDArray[np.float32]
    """(X, Y, Z, C) combined denoised image, in the intensity unit of the first repetition."""
    repetitions: NDArray[np.float32] | None = None
    """(R, X, Y, Z, C) denoised repetitions in their own units, where the strategy has them."""
    noise_sd: NDArray[np.float32] | None = None
    """(X, Y, Z, C) noise SD of one repetition, in the unit of `data`, where it was estimated."""
    noise_sd_mean: float | None = None
    """Root mean square noise SD of the plain mean in the mask, unit of `data`, where it does not follow from
    `noise_sd` (interpolation, and little signal in magnitudes, make it less)."""
    uncertainty: NDArray[np.float32] | None = None
    """(X, Y, Z, C) expected error (SD) of every voxel of `data`, in its unit, where it was estimated; 0 where
    there is no signal."""
    gain: Gain | None = None
    """Over the plain mean of the repetitions, where it was estimated."""
    record: StrategyRecord = field(default_factory=StrategyRecord)
    """What was tried, chosen and measured."""


def averaged(n_measured: NDArray[np.integer] | NDArray[np.floating] | int) -> NDArray[np.float32]:
    """How many repetitions a plain mean is made of, at each voxel.

    Parameters
    ----------
    n_measured : (X, Y, Z) array or int
        Repetitions that were measured. Where none was, one stands there as it is.

    Examples
    --------
    >>> averaged(np.array([0, 2, 0.25])).tolist()
    [1.0, 2.0, 0.25]
    """
    counts = np.asarray(n_measured, np.float32)
    return np.where(counts > 0, counts, np.float32(1))


def spread_channels(n_channels: int, most: int) -> list[int]:
    """Indices of at most so many channels or volumes, evenly spread, both ends among them.

    Examples
    --------
    >>> spread_channels(10, 4), spread_channels(2, 4)
    ([0, 3, 6, 9], [0, 1])
    """
    return np.unique(np.linspace(0, n_channels - 1, min(n_channels, most)).astype(int)).tolist()
