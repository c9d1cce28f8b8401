"""Laws of other fields of view: what was laid on the first by chance, or is its mirror image, is refused."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.micrographs.drift import estimate_drift
from n2a_bids.denoising.micrographs.drifted import find_drift
from n2a_bids.errors import BIDSDataError

EDGE = 128


def specimen(seed, edge=EDGE):
    """Blobs of two sizes and some discs."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.standard_normal((edge, edge)), sd, mode="wrap") for sd in (1.5, 6)]
    image = 0.5 * fields[0] / fields[0].std() + fields[1] / fields[1].std()
    x, y = np.indices(image.shape)
    for _ in range(12):
        middle, radius = rng.uniform(0, edge, 2), rng.uniform(4, 16)
        image[np.hypot(x - middle[0], y - middle[1]) < radius] += rng.choice([-2, 2])
    return 40 + 120 * (image - image.min()) / np.ptp(image)


def found(images, gain=3.0):
    rng = np.random.default_rng(5)
    planes = np.stack([gain * rng.poisson(image / gain) for image in images]).astype(np.float32)
    return find_drift([Path(f"{index}.tif") for index in range(len(planes))], planes)


@pytest.mark.parametrize("seed", [2, 11])
def test_a_first_exposure_that_others_fit_by_chance_is_left_out(seed):
    """Both were moved to what it happens to show: asked for at no distance, chance seemed to be no reason."""
    rng = np.random.default_rng(seed)
    scene, other = (
        np.maximum(100 + 25 * sum(field / field.std() for field in fields), 5)
        for fields in (
            [ndimage.gaussian_filter(noise, sd) for sd in sds]
            for noise, sds in (
                (rng.standard_normal((192, 192)), (2, 8)),
                (rng.standard_normal((192, 192)), (3,) if seed % 2 else (2, 8)),
            )
        )
    )
    moved = rng.poisson(scene[32:-32, 32:-32]), rng.poisson(scene[28:-36, 35:-29])
    planes = np.stack([rng.poisson(other[32:-32, 32:-32]), *moved]).astype(np.float32)
    drift, unfit, _ = find_drift([Path(f"{index}.tif") for index in range(3)], planes)
    assert drift.correlation[1:].min() > 0.8 and list(unfit) == [0]


TURNED_OVER = {
    "upside down": lambda image: image[::-1],
    "left to right": lambda image: image[:, ::-1],
    "half a turn": lambda image: image[::-1, ::-1],
}


@pytest.mark.parametrize("kind", TURNED_OVER)
@pytest.mark.parametrize("seed", range(100, 112))
def test_mirror_images_are_refused(kind, seed):
    """However small the image; of a dozen some fit by chance, turned or moved far."""
    image = specimen(seed)
    assert list(found([image, TURNED_OVER[kind](image)]).reasons) == [1]


@pytest.mark.parametrize("seed", [100, 103, 106, 111])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_mirror_image_of_three_is_left_out(seed, place):
    """It alone, be it the first."""
    image = specimen(seed)
    images = [image] * 3
    images[place] = image[::-1]
    assert list(found(images).reasons) == [place]


@pytest.mark.parametrize(("seed", "by"), [(100, 0), (104, 9)])
def test_inverted_contrast_is_told_as_such(seed, by):
    """Counts of electrons beside a picture in which dense matter is bright are no other field of view."""
    image = specimen(seed)
    inverted = np.roll(image.max() + image.min() - image, by, axis=0)
    for place, n_exposures in ((1, 2), (0, 3), (2, 3)):
        images = [inverted if index == place else image for index in range(n_exposures)]
        reasons = found(images).reasons
        assert list(reasons) == [place] and "contrast inverted" in reasons[place]


@pytest.mark.parametrize(("seed", "edge"), [(3, 128), (15, 128), (18, 128), (34, 96), (40, 96), (48, 96)])
def test_other_fields_are_refused(seed, edge):
    """Also where half of the image, turned, would fit by chance."""
    assert list(found([specimen(1000 + seed, edge), specimen(2000 + seed, edge)]).reasons) == [1]


@pytest.mark.parametrize(("part", "gain"), [(0.0, 3.0), (0.1, 3.0), (0.5, 3.0), (0.0, 100.0), (0.1, 30.0)])
def test_one_field_is_taken(part, gain):
    """Noisy, or moved by half of its size."""
    field, by = specimen(7, 2 * EDGE), int(part * EDGE)
    images = field[:EDGE, :EDGE], field[by : by + EDGE, by // 2 : by // 2 + EDGE]
    assert found(images, gain).reasons == {}


@pytest.mark.parametrize("exponent", [-15, -12, 12])
def test_units_do_not_matter(exponent):
    """Amperes, and whatever else SI units make small or large: as in counts, to the last bit."""
    rng = np.random.default_rng(1)
    image = specimen(3)
    planes = np.stack([rng.poisson(image), rng.poisson(np.roll(image, 5, 0))]).astype(np.float32)
    paths = [Path("a.tif"), Path("b.tif")]
    scaled = find_drift(paths, np.ldexp(planes, round(exponent * np.log2(10))))
    assert scaled.reasons == {}
    np.testing.assert_allclose(
        scaled.drift.shift_pixels, find_drift(paths, planes).drift.shift_pixels, atol=1e-4
    )
    values = np.float32(10.0**exponent) * planes
    assert estimate_drift(values).correlation[1] == pytest.approx(scaled.drift.correlation[1], abs=0.01)


def test_images_that_are_too_small_are_told_so():
    """Nothing can be said of what they have in common."""
    planes = np.random.default_rng(0).normal(size=(2, 20, 20)).astype(np.float32)
    with pytest.raises(BIDSDataError, match=r"found 20 x 20: too small"):
        find_drift([Path("a.tif"), Path("b.tif")], planes)


def test_a_specimen_that_is_its_own_mirror_image_is_taken():
    """A bead, or a grid."""
    x, y = np.indices((EDGE, EDGE))
    bead = 20 + 100 * np.exp(-((x - 60) ** 2 + (y - 66) ** 2) / 40)
    grid = 100 + 40 * np.cos(x / 5) * np.cos(y / 5)
    for image in (bead, grid):
        assert found([image, np.roll(image, (3, -4), (0, 1))]).reasons == {}
