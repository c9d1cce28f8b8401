"""Laws of exposures on one grid: what an exposure has not measured comes from the others, in its own unit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from n2a_bids.algorithms.normalization import with_equal_gain
from n2a_bids.dataset.read.image_memory import exposures_gb
from n2a_bids.denoising.micrographs.exposures import align_exposures, load_exposures
from n2a_bids.errors import BIDSDataError
from n2a_bids.io import images
from n2a_bids.io.micrographs import Micrograph, read_micrograph, write_micrograph


def drifted(shifts, doses, size=128):
    """Counts of a field of view, each exposure moved and of its own dose, and what the first expects."""
    noise = np.random.default_rng(0).standard_normal((size + 64, size + 64))
    field = 100 + 25 * sum(one / one.std() for one in (ndimage.gaussian_filter(noise, sd) for sd in (2, 8)))
    expected = [np.roll(np.maximum(field, 5), shift, (0, 1))[32:-32, 32:-32] for shift in shifts]
    rng = np.random.default_rng(1)
    images = [
        Micrograph(rng.poisson(dose * one)[..., None, None].astype(np.uint16), 16, None, Path(f"{index}.tif"))
        for index, (dose, one) in enumerate(zip(doses, expected))
    ]
    return images, expected[0]


@pytest.mark.parametrize("doses", [(1, 1), (1, 0.5), (1, 0.5, 2)])
def test_gaps_are_filled_in_the_unit_of_the_exposure(doses):
    """Beside a drift, the mean has the brightness of the first exposure, whatever the doses."""
    images, expected = drifted([(0, 0), (-12, 0), (0, 9)][: len(doses)], doses)
    repetitions = align_exposures(images).repetitions
    gaps = repetitions.n_measured[..., 0] < len(doses)
    assert 0.05 < gaps.mean() < 0.3
    mean = with_equal_gain(repetitions).mean(axis=0)[..., 0, 0]
    assert (mean - expected)[gaps].mean() == pytest.approx(0, abs=0.02 * expected.mean())
    assert (mean - expected)[gaps].std() < 1.1 * np.sqrt(expected.mean())


def write(folder, images):
    paths = [folder / f"{index}.tif" for index in range(len(images))]
    for path, image in zip(paths, images):
        tifffile.imwrite(path, image)
    return paths


def odd_exposure(kind, others):
    """One that does not fit two or more others, and what is said of it."""
    like, rng = others[0], np.random.default_rng(9)
    found = {
        "size": (like[:100], "expected an exposure like"),
        "type": (like.astype(np.float32), "expected an exposure like"),
        "saturated": (np.full_like(like, 65535), "one value (saturated)"),
        "mostly saturated": (np.where(rng.random(like.shape) < 0.6, 65535, like), "% of them saturated"),
        "elsewhere": (
            rng.poisson(ndimage.gaussian_filter(rng.normal(1e3, 2e3, like.shape), 3).clip(1)),
            "field",
        ),
        "copy": (others[1], "a copy of it"),
        "mean": ((others[0].astype(float) + others[1]) / 2, "found a mean of the others"),
        "constant": (np.full_like(like, 7), "one value in all pixels"),
        "less its dark frame": (like - rng.poisson(like.mean(), like.shape).astype(np.uint16), "as signed"),
    }
    image, words = found[kind]
    return image if kind == "type" else image.astype(np.uint16), words


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "kind",
    [
        "size",
        "type",
        "saturated",
        "mostly saturated",
        "elsewhere",
        "copy",
        "mean",
        "constant",
        "less its dark frame",
        "damaged",
    ],
)
def test_one_that_does_not_fit_two_others_is_left_out(kind, place, tmp_path):
    """Wherever it stands, the first among them; with one other alone, the pair is refused."""
    others = [image.pixels[..., 0, 0].T for image in drifted([(0, 0), (4, -3)], (1, 1))[0]]
    odd, words = (others[0], "cannot be used") if kind == "damaged" else odd_exposure(kind, others)
    paths = write(tmp_path, [*others[:place], odd, *others[place:]])
    if kind == "damaged":
        paths[place].write_bytes(paths[place].read_bytes()[:2000])
        words = "that can be read whole"
    if kind == "copy":
        # Of two that are alike the later one is the copy.
        place = max(place, paths.index(paths[2 if place < 2 else 1]))
    found = load_exposures(paths)
    assert list(found.excluded) == [place]
    assert words in found.excluded[place]
    # Options are those of a command, which this is not.
    assert "--" not in found.excluded[place]
    assert found.repetitions.n_repetitions == 2
    assert found.like.path == paths[1 if place == 0 else 0]
    with pytest.raises(BIDSDataError, match="found"):
        load_exposures([paths[place], paths[place if kind in ("copy", "mean") else place - 1]])


@pytest.mark.parametrize(("depths", "saturated"), [((12, 16), True), ((12, 13), False), ((13, 12), False)])
def test_pixels_are_saturated_at_a_value_that_no_exposure_exceeds(depths, saturated):
    """Some programs tell the bits of the largest value of each exposure, not of the camera."""
    images, _ = drifted([(0, 0)] * 2, (1, 1))
    for image, depth in zip(images, depths):
        image.pixels[20:30, 20:30] = 4095 if depth != 13 else 5000
    told = [replace(image, bit_depth=depth) for image, depth in zip(images, depths)]
    mask = align_exposures(told, aligned=True).repetitions.mask
    assert mask[20:30, 20:30].any() == (not saturated)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("shift", [(0, 0), (4, -3)])
def test_lost_lines_are_no_measurement(place, shift):
    """A readout that stopped: others stand in for lines of zeros, which would halve the brightness there."""
    images, truth = drifted([(0, 0), shift], (1, 1))
    clean = align_exposures(images).repetitions
    images[place].pixels[40:60] = 0
    found = align_exposures(images)
    # Rows of the first, where an exposure that had moved lies.
    moved = slice(40, 60) if place == 0 else slice(40 - shift[0], 60 - shift[0])
    inner = (slice(moved.start + 2, moved.stop - 2), slice(10, -10))
    data, n_measured = found.repetitions.data[..., 0, 0], found.repetitions.n_measured[..., 0]
    assert (n_measured[inner] == 1).all() and not found.repetitions.mask[inner].any()
    # Found a tenth of a pixel elsewhere, perhaps, for the lines that are missing.
    other = clean.data[1 - place][..., 0, 0][inner]
    assert np.corrcoef(data[place][inner].ravel(), other.ravel())[0, 1] > 0.9
    assert abs(data.mean(axis=0)[inner].mean() / truth[inner].mean() - 1) < 0.05
    assert f"{place}.tif: " in found.notes[0] and "% of its pixels are lost" in found.notes[0]


@pytest.mark.parametrize("shift", [0, 1, 6])
def test_dead_columns_of_the_camera_are_no_measurement(shift):
    """What lies beside stands in, or the exposure whose column lies elsewhere; the drift is right."""
    images, expected = drifted([(0, 0), (shift, 0)], [1, 1])
    for image in images:
        image.pixels[50:52] = 0
    found = align_exposures(images)
    mean = found.repetitions.data.mean(axis=0)[..., 0, 0]
    for column in (50, 51, 50 - shift, 51 - shift):
        assert mean[column].mean() == pytest.approx(expected[column].mean(), rel=0.05)
    assert (0 if found.drift is None else found.drift.shift_pixels[1, 0]) == pytest.approx(shift, abs=0.1)
    assert any("columns and rows" in note for note in found.notes)


@pytest.mark.parametrize("value", [0, 65_535])
@pytest.mark.parametrize("line", [np.s_[50], np.s_[:, 50:53], np.s_[50, 20:90]])
def test_thin_lines_that_were_lost_are_no_measurement(line, value):
    """A dead or hot row of a camera, a few columns, or a part of a row that lost its signal."""
    images, truth = drifted([(0, 0), (4, -3)], (1, 1))
    images[0].pixels[line] = value
    found = align_exposures(images)
    inner = np.zeros(truth.shape[:2], bool)
    inner[line] = True
    inner[:10] = inner[-10:] = inner[:, :10] = inner[:, -10:] = False
    assert (found.repetitions.n_measured[..., 0][inner] == 1).all()
    average = found.repetitions.data.mean(axis=0)[..., 0, 0]
    assert abs(average[inner].mean() / truth[inner].mean() - 1) < 0.05
    assert "% of its pixels are lost" in found.notes[0]


PADDED = {"corner": np.s_[-20:, -20:], "sides": np.s_[-20:], "one line": np.s_[:, :1]}


@pytest.mark.parametrize("value", ["mean", "zero", "white"])
@pytest.mark.parametrize("part", PADDED)
def test_padding_of_any_value_is_no_measurement(value, part):
    """Zero of signed images, white, or the mean: half of the contrast would be gone there."""
    images, _ = drifted([(0, 0), (0, 0)], (1, 1))
    images = [
        replace(image, pixels=image.pixels.astype(np.float32) - (100 if value == "zero" else 0))
        for image in images
    ]
    if value == "white" and part == "corner":
        pytest.skip("may be saturated by light")
    pixels = images[1].pixels
    pixels[PADDED[part]] = {"mean": pixels.mean().round(), "zero": 0, "white": 65_535}[value]
    found = align_exposures(images)
    inner = np.zeros(pixels.shape[:2], bool)
    inner[PADDED[part]] = True
    assert (found.repetitions.n_measured[..., 0][inner] == 1).all()
    np.testing.assert_allclose(found.repetitions.data[1][inner], images[0].pixels[inner], rtol=0.05, atol=0.5)
    assert "padding of one value" in found.notes[0]


@pytest.mark.parametrize("dose", [0.0005, 0.0015, 0.01, 0.05])
def test_few_counts_are_no_padding(dose):
    """Zeros of one exposure at a border, where the other has a count here and there."""
    images, _ = drifted([(0, 0), (0, 0)], (dose, dose))
    assert not align_exposures(images, aligned=True).notes


@pytest.mark.parametrize("place", [0, 1])
def test_cosmic_rays_are_no_measurement(place):
    """Twelve bright pixels would turn the exposure by half a degree, and shine through the mean."""
    images, truth = drifted([(0, 0), (0, 0)], (1, 1))
    clean = align_exposures(images).repetitions.data
    hit = np.random.default_rng(3).integers(5, 120, (12, 2))
    images[place].pixels[*hit.T] = 20_000
    found = align_exposures(images)
    assert found.drift is None and found.repetitions.data.max() < 2 * clean.max()
    assert not found.repetitions.mask[*hit.T].any()
    assert abs(found.repetitions.data.mean() / truth.mean() - 1) < 0.01


@pytest.mark.parametrize(("shift", "sd_pixels"), [((4, -3), 0.01), ((20, -18), 1.0)])
def test_bright_grains_that_drifted_stay(shift, sd_pixels):
    """Points of light that all exposures show, each where the drift has moved them, also far."""
    images, _ = drifted([(0, 0), shift], (1, 1))
    grains = np.random.default_rng(3).integers(30, 98, (8, 2))
    light = np.zeros(images[0].pixels.shape[:2])
    light[*grains.T] = 20_000 * max(1, 2 * np.pi * sd_pixels**2)
    for image, moved in zip(images, ((0, 0), shift)):
        spread = ndimage.gaussian_filter(np.roll(light, moved, (0, 1)), sd_pixels)
        image.pixels[..., 0, 0] = np.minimum(image.pixels[..., 0, 0] + spread, 60_000)
    found = align_exposures(images)
    assert not found.notes
    assert found.repetitions.data.mean(axis=0)[*grains.T].min() > 8_000


def test_dark_holes_that_drifted_stay():
    """Vesicles whose black is cut off: taken for lost in both exposures, they would be filled from around."""
    images, _ = drifted([(0, 0), (9, -8)], (1, 1))
    inside = np.hypot(*(np.indices(images[0].pixels.shape[:2]) - np.array([60, 64])[:, None, None])) < 6
    for image, moved in zip(images, ((0, 0), (9, -8))):
        image.pixels[np.roll(inside, moved, (0, 1))] = 0
    found = align_exposures(images)
    assert not found.notes
    average = found.repetitions.data.mean(axis=0)
    assert average[60, 64, 0, 0] < 0.1 * np.median(average)


@pytest.mark.parametrize("shift", [(3, 2), (-4, 7)])
def test_a_copy_that_was_moved_is_left_out(shift):
    """It is no measurement of its own, of two exposures or of three, of which the others are denoised."""
    images, _ = drifted([(0, 0), (5, -3)], (1, 1))
    moved = replace(images[0], pixels=np.roll(images[0].pixels, shift, (0, 1)), path=Path("moved.tif"))
    found = align_exposures([images[0], moved, images[1]])
    assert list(found.excluded) == [1] and "found a copy of it" in found.excluded[1]
    assert found.repetitions.n_repetitions == 2
    with pytest.raises(BIDSDataError, match=r"moved\.tif: expected another measurement than 0\.tif"):
        align_exposures([images[0], moved])


@pytest.mark.parametrize(
    ("doses", "black", "blur", "named"),
    [((1, 1), 0, 0, ""), ((1, 4), 0, 0, ""), ((1, 4), 100, 0, "0.tif"), ((1, 1), 0, 2.5, "1.tif")],
)
def test_structure_that_one_exposure_lacks_is_told(doses, black, blur, named):
    """Out of focus, or unequal doses over a black level; equal structure at any dose is none of it."""
    images, _ = drifted([(0, 0), (4, -3)], doses, size=192)
    if blur:
        soft = ndimage.gaussian_filter(images[1].pixels.astype(np.float64), (blur, blur, 0, 0))
        images[1] = replace(images[1], pixels=np.random.default_rng(2).poisson(soft).astype(np.uint16))
    images = [replace(image, pixels=image.pixels + np.uint16(black)) for image in images]
    notes = align_exposures(images).notes
    assert [note.split(": structure of a few pixels")[0] for note in notes] == ([named] if named else [])


def test_what_is_dark_in_all_exposures_is_not_lost():
    """Nor are single dark pixels of low counts."""
    images, _ = drifted([(0, 0), (0, 0)], (0.02, 0.02))
    for image in images:
        image.pixels[:30, :30] = 0
    found = align_exposures(images, aligned=True)
    assert not found.notes and found.repetitions.n_measured is None


@pytest.mark.parametrize("depths", [(12, 16), (13, 12)])
def test_results_are_cut_off_where_all_exposures_end(depths, tmp_path):
    """The first may tell fewer bits than others hold: of what they found brighter nothing is lost."""
    images, _ = drifted([(0, 0)] * 2, (1, 1))
    told = [replace(image, bit_depth=depth) for image, depth in zip(images, depths)]
    like = align_exposures(told, aligned=True).like
    bright = np.full(like.pixels.shape, 5000, np.float32)
    written = read_micrograph(write_micrograph(tmp_path / "a.tif", bright, like)).pixels
    assert (written == 5000).all()


def test_another_magnification_is_left_out(tmp_path):
    """Though the size in pixels is the same: by what the files tell."""
    images = [image.pixels[..., 0, 0] for image in drifted([(0, 0)] * 3, (1, 1, 1))[0]]
    paths = write(tmp_path, images)
    sizes = [(4e-6, 4e-6, 1.0), (8e-6, 8e-6, 1.0), (4.01e-6, 4e-6, 1.0)]
    found = load_exposures(paths, size_of=lambda index, image: sizes[index])
    assert list(found.excluded) == [1]
    assert "8 x 8 nm" in found.excluded[1]
    with pytest.raises(BIDSDataError, match="one magnification"):
        load_exposures(paths[:2], size_of=lambda index, image: sizes[index])


def test_exposures_that_memory_cannot_hold_are_refused_by_their_headers(tmp_path, monkeypatch):
    """Of any format, before a pixel is read; a PNG of 196 million pixels is no bomb where there is room."""
    tifffile.imwrite(tmp_path / "a.tif", shape=(40_000, 40_000), dtype=np.uint8)
    Image.fromarray(np.zeros((14_000, 14_000), bool)).convert("L").save(tmp_path / "a.png", compress_level=1)
    monkeypatch.setattr(images, "available_memory_gb", lambda: 8.0)
    with pytest.raises(
        BIDSDataError, match=r"a.tif: expected images that fit into the 8.0 GB .* found 2 expos"
    ):
        load_exposures([tmp_path / "a.tif"] * 2)
    assert exposures_gb([tmp_path / "a.png"] * 2) == pytest.approx(1.96e8 * 48 / 1024**3)
    with pytest.raises(BIDSDataError, match=r"a.png: expected images that fit"):
        load_exposures([tmp_path / "a.png"] * 2)
