"""Which of several runs are spoiled: the mean must never be worse than that of the others."""

import numpy as np
import pytest
from scipy import fft, ndimage

from n2a_bids.algorithms.quality.spoiled_runs import find_spoiled_runs


@pytest.fixture(scope="module")
def of_two_poses(head):
    """Complex image of the head whose k-space was acquired in two poses: the later lines after a shift."""
    clean = head[0]
    moved = ndimage.affine_transform(
        clean, [[1, 0, 0], [0, 0.998, -0.06], [0, 0.06, 0.998]], (0.6, 1.0, -1.6)
    )
    spectra = [fft.fftshift(fft.fftn(image)) for image in (clean, moved)]
    lines = np.arange(clean.shape[1])[None, :, None]
    return fft.ifftn(fft.ifftshift(np.where(lines < clean.shape[1] // 2, *spectra)))


def scan(signal, noise_sd, seed):
    """A magnitude image with Rician noise."""
    real, imaginary = np.random.default_rng(seed).normal(0, noise_sd, (2, *signal.shape))
    return np.abs(signal + real + 1j * imaginary).astype(np.float32)


@pytest.mark.parametrize(("n_spoiled", "n_good"), [(1, 2), (1, 3), (2, 3)])
def test_the_mean_is_never_worse_than_that_of_the_good_runs(head, of_two_poses, n_spoiled, n_good):
    """At little noise the spoiled runs go, at much noise they may stay, since they lower it."""
    clean, mask = head
    errors = []
    for noise_sd in (20, 50, 150):
        signals = [of_two_poses] * n_spoiled + [clean] * n_good
        runs = np.stack([scan(signal, noise_sd, seed) for seed, signal in enumerate(signals)])
        found = find_spoiled_runs(runs, mask)
        kept = np.setdiff1d(np.arange(len(runs)), [one.index for one in found if one.must_go])
        means = (runs[kept].mean(axis=0), runs[n_spoiled:].mean(axis=0), runs.mean(axis=0))
        errors.append([np.sqrt(np.mean((mean - clean)[mask] ** 2)) for mean in means])
    kept, good, everything = np.transpose(errors)
    assert (kept < 1.05 * np.minimum(good, everything)).all()
    assert everything[0] > 1.2 * kept[0]


def test_what_is_found_is_named_with_numbers(head, of_two_poses):
    """Times the error of the others, noise included; a warning says what to do."""
    runs = np.stack([scan(signal, 20, seed) for seed, signal in enumerate((head[0], of_two_poses, head[0]))])
    (found,) = find_spoiled_runs(runs, head[1])
    assert (found.index, found.worsens_mean) == (1, True)
    own = np.sqrt(np.mean((runs[1] - head[0])[head[1]] ** 2) / np.mean((runs[0] - head[0])[head[1]] ** 2))
    assert found.error_ratio == pytest.approx(own, rel=0.25)
    assert f"{found.error_ratio:.1f} times" in found.warning("run-2") and "leave it out" in found.warning(
        "run-2"
    )


def test_a_run_without_the_ghost_of_the_two_others_stays(head):
    """Two of three seem to be right, but the ghost that they share stands in the air, too."""
    clean, mask = (np.pad(image, 8) for image in head)
    ghosts = clean + 0.25 * np.roll(clean, 14, 1)
    shared, alone = (
        np.stack([scan(signal, 20, seed) for seed, signal in enumerate(signals)])
        for signals in ((clean, ghosts, ghosts), (clean, ghosts, clean))
    )
    (found,) = find_spoiled_runs(shared, mask)
    assert (found.index, found.worsens_mean, found.must_go) == (0, True, False)
    assert "may share an artefact that it has not" in found.warning("run-1")
    (found,) = find_spoiled_runs(alone, mask)
    assert (found.index, found.must_go) == (1, True)
    # Where the air was masked away, it tells nothing, and two of three count.
    (found,) = find_spoiled_runs(shared * ndimage.binary_dilation(mask, iterations=2), mask)
    assert (found.index, found.must_go) == (0, True)


def test_the_air_beyond_the_view_of_a_run_is_not_its_own(head):
    """The reference stands for it there, with its ghost."""
    clean, mask = (np.pad(image, 8) for image in head)
    ghosts = clean + 0.1 * np.roll(clean, 14, 1)
    runs = np.stack([scan(signal, 20, seed) for seed, signal in enumerate((clean, ghosts, ghosts))])
    seen = np.broadcast_to(np.arange(clean.shape[1])[:, None] < 52, clean.shape)
    runs = np.where(seen, runs, runs[1])
    assert not find_spoiled_runs(runs, mask)[0].is_cleanest
    assert find_spoiled_runs(runs, mask, seen)[0].is_cleanest


@pytest.mark.parametrize("noise_sds", [(40, 40, 40), (40, 40, 160), (160, 40, 40), (5, 5, 20)])
def test_noise_alone_spoils_no_run(head, noise_sds):
    """Stronger noise is for the weights."""
    runs = np.stack([scan(head[0], noise_sd, seed) for seed, noise_sd in enumerate(noise_sds)])
    assert find_spoiled_runs(runs, head[1]) == ()


@pytest.mark.parametrize("offset", [0, -600])
def test_shading_spoils_no_run(head, offset):
    """Another place in the coil: brighter on one side, its contrast too; also of values around zero."""
    shading = np.linspace(0.7, 1.3, head[0].shape[0])[:, None, None] if not offset else 1
    signals = (head[0], head[0], head[0] * shading)
    runs = np.stack([scan(signal, 10, seed) for seed, signal in enumerate(signals)])
    assert find_spoiled_runs(runs + np.float32(offset), head[1]) == ()


def test_two_runs_tell_nothing(head, of_two_poses):
    """Of a difference of two nobody knows whose it is."""
    runs = np.stack([scan(head[0], 20, 0), scan(of_two_poses, 20, 1)])
    assert find_spoiled_runs(runs, head[1]) == ()
