"""``n2a_bids.denoise``: denoising as a Python function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nb
import numpy as np
import torch

from n2a_bids.api.aligned_files import RANDOM_SEED, AlignmentOptions, align_files, refuse_unsound
from n2a_bids.api.arguments import image_list, input_folder, whole_number
from n2a_bids.api.images import GradientTable, ImageLike, image_like, write_inputs, write_mask
from n2a_bids.config import DenoiseConfig
from n2a_bids.config.options import check_choices
from n2a_bids.denoising.brain import find_series_brain
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.denoising.record import with_earlier_warnings
from n2a_bids.denoising.run import DenoiseResult, denoise_files
from n2a_bids.errors import BIDSDataError
from n2a_bids.external.t1w_brain import write_brain_mask
from n2a_bids.record.alignment import AlignmentRecord
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.strategy_table import check_recipe


@dataclass(frozen=True, slots=True)
class Denoised:
    """What a denoising gives: images on the grid of the reference, in its intensities, and its record."""

    image: nb.Nifti1Image
    """Denoised, float32; the whole head."""
    mean: nb.Nifti1Image
    """Plain mean of the repetitions."""
    mask: nb.Nifti1Image
    """Brain."""
    noise_sd: nb.Nifti1Image | None
    """Noise SD of one repetition; None where it cannot be told."""
    record: DenoisingRecord
    """What was tried, what was kept and why, and what it gained."""
    alignment: AlignmentRecord | None = None
    """How the repetitions were aligned; None where they were taken as they lie."""

    @property
    def residual(self) -> nb.Nifti1Image:
        """Plain mean minus denoised image: noise, and no anatomy, if all is well."""
        difference = self.mean.get_fdata(dtype=np.float32) - self.image.get_fdata(dtype=np.float32)
        return nb.Nifti1Image(difference, self.image.affine, self.image.header)


def denoise(
    images: Sequence[ImageLike],
    mask: ImageLike | None = None,
    *,
    strategy: str = "auto",
    recipe: str = "default",
    align: bool = True,
    random_seed: int = RANDOM_SEED,
    device: str = "auto",
    gradients: GradientTable | None = None,
    different_contrast: bool = False,
    threads: int = 0,
    weights_dir: str | Path | None = None,
    report: Callable[[str], None] | None = None,
) -> Denoised:
    """Denoise repetitions of an MRI of one person.

    Parameters
    ----------
    images : sequence of image
        Paths, images of nibabel, or (array, affine): repetitions of an anatomical image, or diffusion series
        on one grid.
    mask : image, optional
        Brain, in the world coordinates of the images. By default it is found.
    strategy : str
        As ``n2a --strategy``: "auto" tries several and keeps what measures best, and the plain
        mean is one of them.
    recipe : str
        As ``n2a --recipe``: how much time it may take.
    align : bool
        Register anatomical repetitions first. False takes the images as they lie, on one grid; diffusion
        series are always taken so.
    random_seed : int
        Of everything random: equal inputs and seeds give equal results on one machine.
    device : {"auto", "cpu", "cuda"}
    gradients : GradientTable, optional
        Makes the images diffusion series: an object with ``bvals`` and ``bvecs``, such as dipy's.
    different_contrast : bool
        The images are echoes, which differ in contrast.
    threads : int
        Of torch; 0 takes the processors that this process may use, at most 8.
    weights_dir : path, optional
        Folder with other pretrained weights; by default that of ``N2A_WEIGHTS_DIR``, if it is set.
    report : callable, optional
        Given one line at a time on what is done.

    Returns
    -------
    denoised : Denoised

    Raises
    ------
    BIDSDataError
        If an image cannot be used, or the images do not belong together.
    ConfigError
        If an option does not exist, or there is no GPU to use.
    DenoisingError
        If the strategy cannot take the images, or memory is not enough.

    Examples
    --------
    Two noisy images of a ball, averaged as they lie:

    >>> import numpy as np, n2a_bids
    >>> grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij"))
    >>> ball = (100 * np.exp(-(grid**2).sum(axis=0))).astype(np.float32)
    >>> noise = np.random.default_rng(0).normal(0, 5, (2, *ball.shape))
    >>> runs = [(ball + one, np.eye(4)) for one in noise]
    >>> found = n2a_bids.denoise(runs, (ball > 50, np.eye(4)), strategy="mean", align=False)
    >>> found.image.shape, found.record.n_repetitions, bool(found.record.chosen.mean_won)
    ((24, 24, 24), 2, True)
    """
    threads, random_seed = whole_number(threads, "threads"), whole_number(random_seed, "random_seed")
    settings = _settings(strategy, recipe, weights_dir, random_seed, device)
    how = AlignmentOptions(
        same_contrast=not different_contrast, random_seed=random_seed, threads=threads or 1
    )
    with input_folder("denoise") as folder, _own_torch_state():
        paths = write_inputs(image_list(images), folder)
        if not paths:
            raise BIDSDataError("expected one image or more to denoise, found none")
        given = None if mask is None else write_mask(mask, folder)
        job = DenoiseJob(
            tuple(paths), given, settings, omp_nthreads=threads, different_contrast=different_contrast
        )
        if gradients is not None:
            ready = _prepare_series(job, gradients, folder)
        elif align and len(paths) > 1:
            found = align_files(paths, folder, replace(how, mask=given))
            ready = _Ready(found.denoised_by(job), found.warnings, found.record)
        else:
            ready = _prepare_as_they_lie(job, folder, how.threads)
        return _as_images(denoise_files(ready.job, report or (lambda message: None)), ready)


@dataclass(frozen=True, slots=True)
class _Ready:
    """What can be denoised: images on one grid, and their brain."""

    job: DenoiseJob
    warnings: Sequence[str] = ()
    """Of the steps before."""
    alignment: AlignmentRecord | None = None


def _settings(
    strategy: str, recipe: str, weights_dir: str | Path | None, random_seed: int, device: str
) -> DenoiseConfig:
    settings = DenoiseConfig(
        strategy=strategy,
        recipe=recipe,
        weights_dir=None if weights_dir is None else Path(weights_dir),
        random_seed=random_seed,
        device=device,
    )
    check_choices(settings)
    check_recipe(strategy, recipe)
    return settings


def _prepare_as_they_lie(job: DenoiseJob, folder: Path, threads: int) -> _Ready:
    refuse_unsound(job.runs)
    brain = job.mask or write_brain_mask(job.runs[0], folder / "brain.nii.gz", threads)
    return _Ready(replace(job, mask=brain))


def _prepare_series(job: DenoiseJob, gradients: GradientTable, folder: Path) -> _Ready:
    refuse_unsound(job.runs)
    job = replace(job, **_write_gradients(gradients, folder))
    if job.mask is not None:
        return _Ready(job)
    brain = find_series_brain(job, folder)
    return _Ready(replace(job, mask=brain.mask_file), brain.warnings)


def _as_images(result: DenoiseResult, ready: _Ready) -> Denoised:
    reference = result.job.runs[0]
    return Denoised(
        image_like(result.denoised, reference),
        image_like(result.mean, reference),
        image_like(result.mask, reference),
        None if result.noise_sd is None else image_like(result.noise_sd, reference),
        with_earlier_warnings(result.record, ready.warnings),
        ready.alignment,
    )


def _write_gradients(gradients: GradientTable, folder: Path) -> dict[str, Path]:
    """Table files in FSL's format."""
    files = {"bvals": folder / "table.bval", "bvecs": folder / "table.bvec"}
    try:
        bvals, bvecs = np.asarray(gradients.bvals, float), np.asarray(gradients.bvecs, float)
    except (AttributeError, TypeError, ValueError) as error:
        raise BIDSDataError(
            "gradients: expected an object with numbers in bvals and bvecs, such as dipy's gradient_table, "
            f"found {type(gradients).__name__} ({error}); give one"
        ) from error
    if bvecs.ndim != 2:
        raise BIDSDataError(
            f"gradients.bvecs: expected an array of shape (C, 3), found {bvecs.shape}; give a direction for "
            "each volume"
        )
    np.savetxt(files["bvals"], np.atleast_2d(bvals), "%.8g")
    np.savetxt(files["bvecs"], bvecs.T, "%.8f")
    return files


@contextmanager
def _own_torch_state() -> Iterator[None]:
    """Leave the threads and the random numbers of the caller's torch as they were."""
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
