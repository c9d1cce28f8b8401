"""Denoisers of others for anatomical images (BM4D, ANTs, non-local means of dipy), on arrays.

Each baseline denoises one volume. It is tried in two ways on repetitions: on their mean (plain
name) and on each repetition before averaging (name with ``-each``). All are told the true noise
level where they take one, which favours them.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids.errors import ConfigError

Volume = NDArray[np.float32]
Baselines = Mapping[str, tuple[Callable[..., NDArray[np.float32]], str]]
"""Name -> (denoiser, Python package or program that it needs)."""


def is_installed(needed: str) -> bool:
    """Whether a Python package or a program can be found."""
    return shutil.which(needed) is not None or importlib.util.find_spec(needed) is not None


def installed(known: Baselines) -> list[str]:
    """Names of the baselines whose package or program is there."""
    return [name for name, (_, needed) in known.items() if is_installed(needed)]


def find_denoiser(name: str, known: Baselines) -> Callable[..., NDArray[np.float32]]:
    """Return the denoiser of a name; ConfigError where it is unknown, or what it needs is not installed."""
    if name not in known:
        raise ConfigError(f"expected a baseline among {', '.join(sorted(known))}, found {name!r}")
    denoiser, needed = known[name]
    if not is_installed(needed):
        raise ConfigError(f"the baseline {name!r} needs {needed}, which is not installed")
    return denoiser


@dataclass(frozen=True, slots=True)
class NoisyVolume:
    """One volume as a baseline gets it."""

    data: Volume
    """(X, Y, Z) intensities."""
    mask: NDArray[np.bool_]
    """(X, Y, Z) brain mask."""
    noise_sd: float
    """Noise SD of this volume, in its own unit."""
    n_threads: int = 1
    noise_map: NDArray[np.float32] | None = None
    """(X, Y, Z) noise SD over `noise_sd`; None where it is even."""
    noise_spectrum: NDArray[np.float32] | None = None
    """(X, Y, Z) power of the noise, mean 1, zero frequency first; None where it is white."""


def nlmeans(volume: NoisyVolume) -> Volume:
    """Denoise by the blockwise Rician non-local means of dipy (needs dipy)."""
    from dipy.denoise.nlmeans import nlmeans as dipy_nlmeans

    denoised = dipy_nlmeans(
        volume.data, volume.noise_sd, rician=True, num_threads=volume.n_threads, method="blockwise"
    )
    return denoised.astype(np.float32)


def ants(volume: NoisyVolume) -> Volume:
    """Denoise by DenoiseImage of ANTs with its Rician model (needs antspyx); it finds the noise itself.

    As sMRIPrep runs it: no mask, shrink factor 1.
    """
    # ITK reads the variable when it first makes a thread pool
    with _environment("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", str(volume.n_threads)):
        import ants as antspyx

        image = antspyx.from_numpy(np.ascontiguousarray(volume.data, dtype=np.float32))
        return antspyx.denoise_image(image, noise_model="Rician").numpy().astype(np.float32)


def bm4d(volume: NoisyVolume) -> Volume:
    """Denoise by BM4D, normal profile, white Gaussian noise (needs bm4d, installed by the user).

    The licence of bm4d is non-commercial: it is never a dependency of this package.
    """
    from bm4d import bm4d as published_bm4d

    return np.asarray(published_bm4d(volume.data, volume.noise_sd), dtype=np.float32)


def bm4d_spectrum(volume: NoisyVolume) -> Volume:
    """Denoise by BM4D told the power spectrum of the noise and its map, all that can be told (needs bm4d)."""
    from bm4d import bm4d as published_bm4d

    even = 1.0 if volume.noise_map is None else np.maximum(volume.noise_map, 1e-6)
    spectrum = 1.0 if volume.noise_spectrum is None else volume.noise_spectrum
    # Of unnormalised Fourier transforms, as BM4D counts: white noise has its variance times the voxels.
    power = np.broadcast_to(spectrum * volume.noise_sd**2 * volume.data.size, volume.data.shape)
    return np.asarray(published_bm4d(volume.data / even, power.astype(float)) * even, dtype=np.float32)


def bm4d_echoes(echoes: NDArray[np.float32], noise_sd: float) -> Volume:
    """Denoise (E, X, Y, Z) echoes together by the multichannel BM4D, and return the first (needs bm4d)."""
    from bm4d import bm4d_multichannel

    denoised = bm4d_multichannel(list(echoes), [noise_sd] * len(echoes))
    return np.asarray(denoised[0], dtype=np.float32)


ECHO_BASELINE = "bm4d-echoes"
"""The baseline that sees all echoes; what it needs is in `BASELINES` under ``bm4d``."""

BASELINES: dict[str, tuple[Callable[[NoisyVolume], Volume], str]] = {
    "nlmeans": (nlmeans, "dipy"),
    "ants": (ants, "ants"),
    "bm4d": (bm4d, "bm4d"),
    "bm4d-spectrum": (bm4d_spectrum, "bm4d"),
}
"""Name -> (denoiser, package that it needs)."""


EACH = "-each"
"""Ending of a baseline that denoises every repetition before they are averaged."""


def available_baselines() -> list[str]:
    """Names of the baselines of volumes that are installed, each also with ``-each``."""
    return [variant for name in installed(BASELINES) for variant in (name, f"{name}{EACH}")]


def denoise_with_baseline(
    name: str,
    repetitions: NDArray[np.float32],
    mask: NDArray[np.bool_],
    noise_sd: float,
    n_threads: int = 1,
    *,
    noise_map: NDArray[np.float32] | None = None,
    noise_spectrum: NDArray[np.float32] | None = None,
) -> Volume:
    """Denoise repetitions by a baseline: their mean, or each of them before averaging.

    Parameters
    ----------
    name : str
        A name of `available_baselines`: ``bm4d`` takes the mean, ``bm4d-each`` each repetition.
    repetitions : (R, X, Y, Z) float32 array
        Aligned repetitions in one intensity unit.
    mask : (X, Y, Z) bool array
        Brain mask.
    noise_sd : float
        Noise SD of one repetition.
    n_threads : int
        Threads that the baseline may use.
    noise_map, noise_spectrum : (X, Y, Z) array, optional
        See `NoisyVolume`; for those that take them.

    Returns
    -------
    denoised : (X, Y, Z) float32 array

    Raises
    ------
    ConfigError
        If the name is unknown or its package is not installed.
    """
    base = name.removesuffix(EACH)
    denoiser = find_denoiser(base, BASELINES)
    if name == base:
        mean_sd = noise_sd / np.sqrt(len(repetitions))
        mean = np.mean(repetitions, axis=0, dtype=np.float32)
        return denoiser(NoisyVolume(mean, mask, float(mean_sd), n_threads, noise_map, noise_spectrum))
    volumes = [
        NoisyVolume(data, mask, noise_sd, n_threads, noise_map, noise_spectrum) for data in repetitions
    ]
    return np.mean([denoiser(volume) for volume in volumes], axis=0, dtype=np.float32)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name)
        else:
            os.environ[name] = before
