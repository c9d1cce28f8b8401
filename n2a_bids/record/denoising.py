"""`DenoisingRecord` and `StrategyRecord`: every number and fact that is known of one denoising.

A strategy returns a :class:`StrategyRecord`; ``n2a-tools denoise`` completes it to a
:class:`DenoisingRecord`, which travels as JSON (:mod:`n2a_bids.record.typed_json`) with the names of the
fields. `None` stands for what could not be measured. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from n2a_bids.record.typed_json import NULL


@dataclass(frozen=True, slots=True)
class Choice:
    """What was delivered of the candidates: one of them, a blend, or the mean."""

    name: str = ""
    """Candidate, or ``blend`` of several."""
    description: str = ""
    """The same in words, without a full stop."""
    shares: Mapping[str, float] | None = None
    """Candidate -> share of a blend, the largest first; sum 1."""
    mean_won: bool = False
    """Whether the mean was kept since nothing beat it, or was asked for."""

    @property
    def largest_part(self) -> str:
        """The candidate that makes up most of the output, or all of it.

        Examples
        --------
        >>> Choice("blend", shares={"mean": 0.2, "network": 0.8}).largest_part
        'network'
        """
        return max(self.shares, key=self.shares.get) if self.shares else self.name or "unknown"


@dataclass(frozen=True, slots=True)
class CandidateRisk:
    """Estimated error of a candidate, on voxels that it did not learn from."""

    name: str
    risk: float | None = field(default=None, metadata=NULL)
    """Mean squared error minus that of the first candidate; in squared z-scores (T1w), or squared noise SDs
    of the mean (diffusion) or of the echoes."""
    standard_error: float | None = field(default=None, metadata=NULL)
    """Of the risk, from the spread between blocks."""
    block_risks: tuple[float | None, ...] | None = None
    """The risk in every block; of a blend."""
    gain_over_mean_db: float | None = None
    """Squared error of the mean that was denoised over that of the candidate, dB."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """Training loss of one epoch."""

    phase: str
    epoch: int
    """From 1, in each phase."""
    loss: float
    """Mean over the epoch; squared z-scores."""


@dataclass(frozen=True, slots=True)
class RepetitionRecord:
    """What the denoiser saw of one repetition: its scale, its weight and its noise."""

    file: str = ""
    gain: float | None = None
    """Intensity = gain * z-score + offset."""
    offset: float | None = None
    weight: float | None = None
    """Share in the mean that was denoised."""
    noise_sd: float | None = None
    """Median in the brain, in the intensity of the repetition."""


@dataclass(frozen=True, slots=True)
class CountingNoiseRecord:
    """Noise of one channel of a micrograph: variance = gain * intensity + offset, in squared intensities."""

    gain: float
    """Intensity of one counted particle; 0 where the variance does not change with the intensity."""
    offset: float


@dataclass(frozen=True, slots=True)
class RingCorrelationRecord:
    """Fourier ring correlation of the even and the odd exposures of a micrograph, first channel."""

    frequency: tuple[float, ...]
    """Cycles per pixel."""
    before: tuple[float, ...]
    """Correlation of the halves as they are, and"""
    after: tuple[float, ...]
    """of each denoised by itself with the other as it is; 0 where these do not agree beyond chance."""
    one_bit: tuple[float, ...]
    """Threshold of one bit of information."""
    pixels_before: float | None = field(default=None, metadata=NULL)
    """Pixels of one period at which the correlation falls below 1/7; None where it never reaches it."""
    pixels_after: float | None = field(default=None, metadata=NULL)
    one_bit_pixels_before: float | None = field(default=None, metadata=NULL)
    """The same for the threshold of one bit."""
    one_bit_pixels_after: float | None = field(default=None, metadata=NULL)


@dataclass(frozen=True, slots=True)
class VolumeGroupRecord:
    """Volumes of a diffusion series that were denoised together."""

    volumes: int
    """How many."""
    chosen: str
    """Candidate that was kept for them."""


@dataclass(frozen=True, slots=True)
class NetworkWeights:
    """Pretrained weights that were used."""

    name: str
    sha256: str
    """Of the file, hexadecimal."""


@dataclass(frozen=True, slots=True)
class NoiseModelRecord:
    """How the noise of neighbouring voxels hangs together, along the axes of the image as stored."""

    source: str = ""
    """What the noise was seen in."""
    fwhm_voxels: tuple[float, ...] | None = None
    """Full width at half maximum of the noise along each axis; 1 for white noise."""
    mean_fwhm_voxels: float | None = None
    """Geometric mean of these."""
    neighbour_correlation: tuple[float, ...] | None = None
    """Of the noise of direct neighbours along each axis."""
    is_white: bool | None = None
    """Whether neighbours have nothing in common, within measurement."""
    stored_matrix: tuple[int, ...] | None = None
    """Of the image that k-space was looked at in."""
    acquired_matrix: tuple[int, ...] | None = None
    """Voxels along each axis that hold all that was acquired; about."""
    acquired_fraction: float | None = None
    """Voxels of the acquired matrix over those stored; 1 without zero-filling."""
    partial_fourier: tuple[float, ...] | None = None
    """Part of the lines along each axis that was acquired; 1 for all, or not to be told."""
    elliptical_plane: str | None = None
    """Axes of the plane whose corners of k-space are empty, as ``jk``."""
    looks_filtered: bool | None = None
    """Whether neighbours have more in common than empty k-space explains."""


@dataclass(frozen=True, slots=True)
class ImageQualityRecord:
    """Quality of one anatomical image, by the definitions of MRIQC."""

    snr_csf: float | None = None
    """Median over SD in the tissue, without shading."""
    snr_gm: float | None = None
    snr_wm: float | None = None
    snr_total: float | None = None
    """Mean of the three."""
    cnr: float | None = None
    """Difference of the medians of grey and white matter over the SD of both and of the air."""
    cjv: float | None = None
    """Robust SDs of grey and white matter over the difference of their medians; lower is better."""
    efc: float | None = None
    """Entropy of the intensities over the largest possible, 0 to 1; lower is better."""
    fber: float | None = None
    """Mean power in the head over that outside of it."""
    wm2max: float | None = None
    """Median of white matter over the 99.95th percentile of the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyRecord:
    """What a strategy tells of its work."""

    chosen: Choice = Choice()
    candidates: tuple[CandidateRisk, ...] | None = None
    history: tuple[Epoch, ...] | None = None
    """Training, in order."""
    networks: tuple[str, ...] | None = None
    """Names of the pretrained networks that took part as they are."""
    repetitions: tuple[RepetitionRecord, ...] = ()
    rician: bool | None = None
    """Anatomy: whether the air showed a noise floor, whose bias was taken out; of one image alone
    without air, whether it was taken for a magnitude."""
    noise_level_uncertainty: float | None = None
    """Relative, where nothing was repeated and the noise level is estimated from the one image."""
    n_coils: float | None = None
    """Effective number of receive coils of the noise floor that was taken out, where there are several."""
    noise_floor_removed: bool | None = None
    """Diffusion: whether the noise floor was taken out."""
    noise_floor_ratio: float | None = None
    """Diffusion: noise SD that set the floor that was taken out, over the noise SD of the brain. Below 1
    where the darkest voxels are quieter than the rest, as where noise grows with the signal."""
    counting_noise: tuple[CountingNoiseRecord, ...] | None = None
    """Micrographs: noise of one exposure, channel by channel."""
    ring_correlation: RingCorrelationRecord | None = None
    noise_kept: float | None = None
    """Diffusion: part of the noise SD that interpolation left."""
    mean_better: float | None = None
    """Part of the brain (0 to 1) where the plain mean is expected to have a smaller error than the denoised
    image."""
    uncertainty_shells: tuple[float, ...] | None = None
    """Diffusion: b-value of each map of the expected error, s/mm2; 0 for b0."""
    groups: tuple[VolumeGroupRecord, ...] | None = None
    noise_sd_per_volume: tuple[float | None, ...] | None = None
    """Diffusion: noise SD of one acquisition of every volume, in image intensity."""
    warnings: tuple[str, ...] = ()
    """What a person should look at, one sentence each."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Part of the work -> wall-clock time in s; ``total`` is that of the denoising step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisingRecord(StrategyRecord):
    """One denoising: what was asked for and used, what came out, what it gained and what it cost."""

    n2a_version: str | None = None
    strategy: str | None = None
    recipe: str | None = None
    random_seed: int | None = None
    device: str | None = None
    """``cpu`` or ``cuda``."""
    device_name: str | None = None
    precision: str | None = None
    """Number format of the networks."""
    cuda_graphs: bool | None = None
    weights: NetworkWeights | None = field(default=None, metadata=NULL)
    """Those that the training of the subject started from."""
    further_weights: tuple[NetworkWeights, ...] | None = None
    """Those that took part as they are."""
    n_repetitions: int | None = None
    same_contrast: bool = True
    """False for echoes."""
    noise_model: NoiseModelRecord | None = None
    quality_mean: ImageQualityRecord | None = None
    """Of the plain mean of an anatomical image; in the same voxels as that of the denoised one."""
    quality_denoised: ImageQualityRecord | None = None
    noise_sd_mean: float | None = None
    """Noise SD of the plain mean, root mean square over the brain; image intensity."""
    equivalent_averages: float | None = None
    """Repetitions of the average noise whose plain mean has the same squared error."""
    gain_of_weighting_db: float | None = None
    gain_of_denoising_db: float | None = None
    error_denoised: float | None = None
    """Estimated root mean squared error of the denoised image; image intensity."""
    sharpness_mean: float | None = None
    """Slope across the borders between tissues over the contrast of the image, per mm."""
    sharpness_denoised: float | None = None
    residual_edge_correlation: float | None = None
    difference_edge_correlation: float | None = None
    fwhm_mm_residual: float | None = None
    fwhm_mm_difference: float | None = None
    skull_stripped: bool | None = None
    mask_method: str | None = None
    """How the brain was found, in a few words."""
    sources: tuple[str, ...] | None = None
    """BIDS URIs of the images that the group consists of, used or not."""
    real_valued: bool | None = None
    """Whether real parts of complex images were denoised, whose noise has no floor."""
    run_uuid: str | None = None
    """Run that wrote the record."""
    peak_memory_mb: float | None = None
    """Largest resident memory of the denoising step; 1 MB is 1e6 bytes."""
    peak_gpu_memory_mb: float | None = None

    @property
    def output_description(self) -> str:
        """How the result came about, in the words of the strategy."""
        return str(self.chosen.description or self.chosen.name or self.strategy).rstrip(".")


def list_epochs(phase: str, losses: Iterable[float]) -> tuple[Epoch, ...]:
    """Training losses of one phase, in order.

    Examples
    --------
    >>> list_epochs("fit", [0.5])
    (Epoch(phase='fit', epoch=1, loss=0.5),)
    """
    return tuple(Epoch(phase, epoch, float(loss)) for epoch, loss in enumerate(losses, start=1))
