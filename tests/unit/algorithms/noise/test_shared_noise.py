"""Laws of shared noise: one acquisition stored twice is told from two, whatever was done to it."""

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.noise.block_correlation import compare_blocks
from n2a_bids.algorithms.noise.copies import find_copies, find_dependent, find_means, find_redrawn
from n2a_bids.algorithms.noise.shared_noise import SharedNoise, shared_noise, shared_series_noise


def conformed(image, factor):
    """The image on larger voxels, by trilinear interpolation, and the map of indices to it."""
    shape = [int(size / factor) for size in image.shape]
    to_second = np.diag([1 / factor] * 3 + [1])
    return ndimage.affine_transform(image, np.diag(np.full(3, factor)), 0, shape, order=1), to_second


def shading(shape):
    x, y, z = np.meshgrid(*(np.linspace(-0.5, 0.5, size) for size in shape), indexing="ij")
    return 1.3 * np.exp(-0.4 * y + 0.3 * z - 0.8 * x**2)


def undistorted(image, stretch=0.05):
    """A copy with distortion corrected: moved outwards, at the nearest faces by the stretch given."""
    grid = np.indices(image.shape).astype(np.float32)
    centre = np.array(image.shape)[:, None, None, None] / 2
    outwards = grid - centre
    factor = 1 + stretch * (outwards**2).sum(axis=0) / (min(image.shape) / 2) ** 2
    return ndimage.map_coordinates(image, centre + outwards * factor, order=1, mode="nearest")


def mapped(first, second, to_second=None):
    return shared_noise(first, second, np.eye(4) if to_second is None else to_second)


@pytest.mark.parametrize("noise_sd", [15, 60, 250])
def test_two_acquisitions_share_nothing(noisy_runs, noise_sd):
    """Whatever the noise, with shading, and where the head has moved between them."""
    first, second = noisy_runs(2, noise_sd=noise_sd)
    moved = ndimage.shift(second, (0.4, -0.3, 0.6), order=3, mode="nearest")
    for other in (second, second * shading(second.shape), moved, undistorted(second)):
        found = mapped(first, other)
        assert abs(found.correlation) < 0.1
        assert not found.is_partial


@pytest.mark.parametrize("noise_sd", [15, 60])
@pytest.mark.parametrize(
    "process",
    [
        lambda image: np.round(image * shading(image.shape)),
        lambda image: np.round(image / image.max() * 255),
        lambda image: ndimage.gaussian_filter(image, 0.8),
        lambda image: ndimage.gaussian_filter(image, 1.2),
        lambda image: ndimage.shift(image, (0.3, 0.2, -0.3), order=3, mode="nearest"),
    ],
    ids=["normalized", "uint8", "filtered", "strongly filtered", "registered badly"],
)
def test_a_processed_copy_holds_the_same_noise(noisy_runs, process, noise_sd):
    """Most of it stays, in the finest band or in coarser ones."""
    image = noisy_runs(1, noise_sd=noise_sd)[0]
    assert mapped(image, process(image)).is_copy


@pytest.mark.parametrize("moved_voxels", [0.5, 1, 1.5, 2, 4])
def test_a_copy_with_its_distortion_corrected_is_a_copy(moved_voxels):
    """However far it was moved at the faces; a mean of two, of which one is compared, is none."""
    rng, stretch = np.random.default_rng(3), moved_voxels / 40
    x, y, z = np.meshgrid(*3 * [np.linspace(-1, 1, 80)], indexing="ij")
    signal = 300 * np.clip(10 * (0.7 - np.sqrt(x**2 + y**2 + z**2)), 0, 1)
    first, second = (
        np.hypot(signal + 30 * rng.standard_normal(x.shape), 30 * rng.standard_normal(x.shape)).astype("f4")
        for _ in range(2)
    )
    assert mapped(first, undistorted(first, stretch)).is_copy
    assert not mapped(first, undistorted((first + second) / 2, stretch)).is_copy
    assert not mapped(first, undistorted(second, stretch)).is_partial


@pytest.mark.parametrize("unit", [1e-12, 1e9])
def test_a_copy_is_found_in_any_unit(noisy_runs, unit):
    """Quantities in SI units, or scaled up: single precision holds them, but not the products of squares."""
    image = noisy_runs(1, noise_sd=60)[0] * unit
    copy = ndimage.gaussian_filter(image, 0.8)
    assert mapped(image.astype(np.float32), copy.astype(np.float32)).is_copy


def test_a_copy_on_another_grid_holds_the_same_noise(noisy_runs):
    """Mirrored, cropped, conformed to larger voxels and interpolated to smaller ones, in either order."""
    image = noisy_runs(1)[0]
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[0, 3] = image.shape[0] - 1
    cropped = np.eye(4)
    cropped[:3, 3] = -3, 0, -5
    larger, to_larger = conformed(image, 1.12)
    smaller = ndimage.zoom(image, 2, order=1)
    scale = np.diag([*((np.array(smaller.shape) - 1) / (np.array(image.shape) - 1)), 1])
    assert mapped(image, image[::-1], mirror).correlation > 0.99
    assert mapped(image, image[3:, :, 5:], cropped).correlation > 0.99
    assert mapped(image, larger, to_larger).is_copy
    assert mapped(larger, image, np.linalg.inv(to_larger)).is_copy
    assert mapped(image, smaller, scale).is_copy


def test_without_noise_alone_nothing_is_known(noisy_runs, head):
    """A brain of anatomy alone, cut out, or fields of view that do not meet."""
    image, other = noisy_runs(2, noise_sd=15)
    away = np.eye(4)
    away[0, 3] = 100
    assert mapped(image * 0, other) is None
    assert mapped(image, other, away) is None
    folds = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(image.shape), 1)
    stripped = [np.where(head[1], run + 2000 * folds, 0) for run in (image, other)]
    assert mapped(*stripped) is None
    # Detail that is equal everywhere is no anatomy alone.
    assert mapped(stripped[0], np.round(stripped[0] * shading(image.shape) * 2)).is_copy


@pytest.mark.parametrize("noise_sd", [5, 15, 60])
def test_a_copy_with_its_air_or_skull_set_to_zero_is_a_copy(noisy_runs, head, noise_sd):
    """What is left of it is compared, and not the border of what was cut off; two acquisitions stay two."""
    image, other = noisy_runs(2, noise_sd=noise_sd)
    shaded = np.round(8 * image * shading(image.shape))
    for part in (ndimage.gaussian_filter(head[0], 2) > 100, head[1]):
        for first, copy in ((image, shaded * part), (image * part, shaded), (image * part, shaded * part)):
            assert mapped(first, copy).is_copy
        for first in (image, image * part):
            found = mapped(first, other * part)
            assert found is None or not found.is_partial


def test_the_edge_of_a_mask_is_no_noise():
    """What cuts bright scalp off has detail at all scales, which two images of one head share."""
    rng, places = np.random.default_rng(2), np.indices((48, 48, 48))
    mask = (places * np.array([1.0, 0.7, 0.4])[:, None, None, None]).sum(axis=0) < 50
    images = [np.where(mask, 500 + rng.normal(0, 5, mask.shape), 0).astype(np.float32) for _ in range(2)]
    parts = list(compare_blocks(*images, np.eye(4), np.ones(3), most_coarse=10))
    assert max(part.fine.max() for part in parts if part.fine.size) < 0.8


def test_part_of_the_noise_is_measured(noisy_runs):
    """A mean of R runs has correlation 1 / sqrt(R) with each, and is no copy of one."""
    runs = noisy_runs(4)
    for n_averaged in (2, 4):
        found = mapped(np.mean(runs[:n_averaged], axis=0), runs[0])
        assert found.correlation == pytest.approx(1 / np.sqrt(n_averaged), abs=0.06)
        assert found.is_partial
        assert not found.is_copy


def test_the_mean_of_all_others_goes(noisy_runs):
    """Copies leave the first in order; a mean stored beside its runs leaves the runs; a partial one stays."""

    def dependent(table, order):
        shared = {pair: SharedNoise(value, 0.01, 100) for pair, value in table.items()}
        return [(one.index, one.sources) for one in find_dependent(shared, order)]

    assert dependent({(0, 1): 0.95, (0, 2): 0.01, (1, 2): 0.0}, [0, 1, 2]) == [(1, (0,))]
    assert dependent({(0, 1): 0.95, (0, 2): 0.01, (1, 2): 0.0}, [1, 2, 0]) == [(0, (1,))]
    assert dependent({(0, 1): 0.9, (0, 2): 0.9, (1, 2): 0.9}, [0, 1, 2]) == [(2, (0,)), (1, (0,))]
    assert dependent({(0, 1): 0.01, (0, 2): 0.7, (1, 2): 0.7}, [0, 1, 2]) == [(2, (0, 1))]
    assert dependent({(0, 1): 0.7}, [0, 1]) == []
    assert find_dependent({(0, 1): None}, [0, 1]) == []


def test_copies_are_found_in_any_scale_and_at_any_place(noisy_runs):
    """Equal but for gain, offset or nothing at all; other noise, or another grid, is another measurement."""
    first, second, third = (image.astype(np.float32) for image in noisy_runs(3))
    assert find_copies([first, second, third, first[:-1]]) == {}
    assert find_copies([first, second, 3 * second + 1, third, second]) == {2: 1, 4: 1}
    series = np.stack([first, second], axis=-1)
    assert find_copies([series, series[..., ::-1], 2 * series]) == {2: 0}


def test_series_share_noise_but_not_anatomy(head):
    """The diffusion profile is alike in two series; what it leaves is noise."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((14, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions[:2] = 0
    bvals = np.r_[0.0, 0.0, np.full(12, 1000.0)]
    profile = np.exp(-bvals * 7e-4 * (0.4 + directions[:, 0] ** 2))
    truth = head[0][..., None] * profile
    one, two = (np.abs(truth + rng.normal(0, 10, truth.shape)).astype(np.float32) for _ in range(2))
    both = (directions, -directions)
    assert abs(shared_series_noise((one, two), bvals, both, np.eye(4)).correlation) < 0.15
    shaded = np.round(one * shading(one.shape[:3])[..., None])
    assert shared_series_noise((one, shaded), bvals, both, np.eye(4)).is_copy


def test_a_real_pair_shares_nothing(real_data):
    """Two T1w acquisitions of one person, as they lie and laid over each other; one smoothed is a copy."""
    folder = real_data / "t1w-pair" / "sub-01" / "anat"
    first, second = (nb.load(folder / f"sub-01_run-{run}_T1w.nii.gz") for run in (1, 2))
    rigid = np.array(
        [[0.9976, 0.0547, 0.0420, 0.96], [-0.0542, 0.9984, -0.0140, -0.46], [-0.0427, 0.0117, 0.9990, -4.22]]
    )
    one, two = (np.asarray(image.dataobj, np.float32) for image in (first, second))
    part, shift = one[60:100], np.eye(4)
    shift[0, 3] = 60
    for motion in (np.eye(4), np.vstack((rigid, [0, 0, 0, 1]))):
        to_second = np.linalg.inv(second.affine) @ motion @ first.affine @ shift
        assert abs(shared_noise(part, two, to_second).correlation) < 0.05
    assert shared_noise(part, ndimage.gaussian_filter(part, 0.7), np.eye(4)).is_copy


def test_the_mean_of_others_is_told_from_its_runs(noisy_runs):
    """In another intensity scale, too; each of its runs follows from it and the others, but is no mean."""
    first, second, third = (image.astype(np.float32) for image in noisy_runs(3))
    mean = np.round(1.3 * (first + third) / 2)
    assert find_means([first, second, third, mean]) == [3]
    assert find_means([mean, first, third]) == [0]
    assert find_means([first, second, third, np.round(2 * first)]) == []
    assert find_means([first, mean, third[:-1]]) == []


REDRAWN = {
    "contrast": lambda image: 0.9 * image + 10,
    "gamma": lambda image: 255 * (image / 255) ** 0.7,
    "cut off": lambda image: 1.5 * image - 50,
    "inverted": lambda image: 255 - image,
    "fewer bits": lambda image: 16 * np.floor(image / 16),
}


def in_8_bits(image):
    return np.clip(np.rint(image), 0, 255).astype(np.float32)[..., None]


@pytest.mark.parametrize("kind", REDRAWN)
def test_copies_that_were_stored_again_in_8_bits_are_found(kind):
    """In either order; rounding alone hides them from a correlation of all pixels."""
    field = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((96, 96)), 3)
    first, second = np.random.default_rng(2).normal(100 + 25 * field / field.std(), 12, (2, 96, 96))
    images = [in_8_bits(first), in_8_bits(second), in_8_bits(REDRAWN[kind](in_8_bits(first)[..., 0]))]
    assert find_redrawn(images) == {2: 0} and find_redrawn(images[::-1]) == {2: 0}


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("kind", ["smooth", "periodic", "pixels", "counts"])
def test_clean_measurements_are_no_copies(kind, noise):
    """However sharp the specimen, or like the noise of a copy; nor are single events, alike by chance."""
    x, rng = np.arange(96), np.random.default_rng(3)
    truth = {
        "smooth": 100 + 60 * np.sin(x / 9)[:, None] * np.sin(x / 7),
        "periodic": 100 + 60.0 * ((x[:, None] + x) % 4 < 2),
        "pixels": rng.uniform(20, 200, (96, 96)),
        "counts": np.zeros((96, 96)),
    }[kind]
    images = [
        rng.poisson(0.02 * noise, truth.shape) if kind == "counts" else rng.normal(truth, noise)
        for _ in range(2)
    ]
    assert find_redrawn([in_8_bits(image) for image in images]) == {}


def test_stacks_that_share_a_plane_are_no_copies():
    """Nor those that share every second one: all planes are compared."""
    planes = np.random.default_rng(4).standard_normal((5, 40, 40)).astype(np.float32)
    first, second = (np.stack([planes[0], planes[index], planes[3]], axis=-1) for index in (1, 2))
    assert find_copies([first, second]) == {}
