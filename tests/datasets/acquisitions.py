"""What scanners make of k-space: filters, and noise that went through them."""

import numpy as np


def kept_kspace(shape, kind):
    """Filter on k-space, in the order of fftfreq, of what is done to the second and third axes."""
    x, y, z = np.meshgrid(*[np.abs(np.fft.fftfreq(size)) for size in shape], indexing="ij", sparse=True)
    signed_y = np.fft.fftfreq(shape[1])[None, :, None]
    filters = {
        "white": np.ones(shape),
        "zero-filled by 1.5": (y < 1 / 3) & (z < 1 / 3) & (x < 2),
        "zero-filled by 2": (y < 0.25) & (z < 0.25) & (x < 2),
        "ellipse": ((y / 0.5) ** 2 + (z / 0.5) ** 2 < 1) & (x < 0.425),
        "partial Fourier 6/8": np.broadcast_to(signed_y > -0.25, shape),
        "Gaussian of 2 voxels": np.exp(-2 * np.pi**2 * (x**2 + y**2 + z**2) * (2 / 2.355) ** 2),
        "Fermi with margin": 1
        / ((1 + np.exp((y - 0.36) / 0.015)) * (1 + np.exp((z - 0.36) / 0.015)) + 0 * x),
    }
    return np.asarray(filters[kind], float)


def coloured(kept, rng):
    """Complex noise whose real and imaginary part have unit SD."""
    noise = rng.standard_normal(kept.shape) + 1j * rng.standard_normal(kept.shape)
    return np.fft.ifftn(np.fft.fftn(noise) * kept) / np.sqrt(np.mean(kept**2))


def zero_filled(scan, shape):
    """Complex image on a finer grid of the same field of view, as scanners make it: zeros around k-space."""
    kspace = np.fft.fftshift(np.fft.fftn(scan))
    pads = [
        (n // 2 - old // 2, (n - old) - (n // 2 - old // 2)) for n, old in zip(shape, scan.shape, strict=True)
    ]
    return np.fft.ifftn(np.fft.ifftshift(np.pad(kspace, pads))) * (np.prod(shape) / scan.size)
