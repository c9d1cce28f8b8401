"""``n2a_bids.estimate_noise``: noise level and map of images, as a Python function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.noise.single_image import estimate_noise as estimate_single_image_noise
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.api.arguments import image_list, input_folder
from n2a_bids.api.images import ImageLike, image_like, write_inputs, write_mask
from n2a_bids.denoising.inputs import DenoiseJob, load_repetitions
from n2a_bids.denoising.measures import noise_sd_map
from n2a_bids.errors import BIDSDataError, DenoisingError
from n2a_bids.external.t1w_brain import write_brain_mask


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """Noise level and noise map of one repetition."""

    noise_sd: nb.Nifti1Image
    """SD in every voxel, in the intensity of the first image."""
    median_noise_sd: float
    """Median in the brain."""
    warnings: tuple[str, ...] = field(default=())


def estimate_noise(images: Sequence[ImageLike], mask: ImageLike | None = None) -> NoiseEstimate:
    """Estimate the noise SD of one repetition from the differences of all, or of one image from itself.

    Parameters
    ----------
    images : sequence of image
        Aligned repetitions on one grid: paths, images of nibabel, or (array, affine). Of one alone the finest
        detail and the air tell the noise, less surely: a warning says how surely.
    mask : image, optional
        Brain on that grid. By default it is found.

    Returns
    -------
    estimate : NoiseEstimate

    Raises
    ------
    BIDSDataError
        If an image cannot be used, or the grids differ.
    DenoisingError
        If the noise cannot be told from what is given.

    Examples
    --------
    >>> import numpy as np, n2a_bids
    >>> grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij"))
    >>> ball = 100 * np.exp(-(grid**2).sum(axis=0))
    >>> noise = np.random.default_rng(0).normal(0, 5, (2, *ball.shape))
    >>> found = n2a_bids.estimate_noise([(ball + one, np.eye(4)) for one in noise], (ball > 50, np.eye(4)))
    >>> bool(4.7 < found.median_noise_sd < 5.3)
    True
    """
    with input_folder("noise") as folder:
        paths = write_inputs(image_list(images), folder)
        if not paths:
            raise BIDSDataError("expected one image or more to estimate the noise of, found none")
        if mask is None:
            brain = write_brain_mask(paths[0], folder / "brain.nii.gz")
        else:
            brain = write_mask(mask, folder)
        repetitions = load_repetitions(DenoiseJob(tuple(paths), brain))
        noise_sd, warnings = _noise_of(repetitions)
        return NoiseEstimate(
            image_like(noise_sd, paths[0]), float(np.median(noise_sd[repetitions.mask])), warnings
        )


def _noise_of(repetitions: Repetitions) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Noise map, and what is to be said of it."""
    noise_sd = noise_sd_map(repetitions)
    if noise_sd is not None:
        return noise_sd, ()
    if repetitions.data.shape[-1] > 1:
        raise BIDSDataError(
            f"image 1: expected one volume, or a second series of the same volumes, found one series of "
            f"{repetitions.data.shape[-1]}; give repetitions as an image each"
        )
    try:
        alone = estimate_single_image_noise(repetitions.data[0, ..., 0], repetitions.mask)
    except ValueError as error:
        raise DenoisingError(f"the noise of one image cannot be told: {error}") from error
    uncertain = f"{100 * np.expm1(alone.uncertainty):.0f} %"
    return alone.noise_sd, (f"from one image, by its finest detail and its air: known to about {uncertain}",)
