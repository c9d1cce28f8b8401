"""The command ``n2a-tools denoise`` on PNG and TIFF files: formats, drift, pairs, bad inputs."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from n2a_bids.cli.tools import main
from n2a_bids.denoising.micrographs import command as micrographs
from n2a_bids.errors import DenoisingError
from n2a_bids.io.micrographs import read_micrograph

FAST = ["--strategy", "mean", "--quiet", "--omp-nthreads", "1", "--device", "cpu"]


def scene(size=128):
    noise = np.random.default_rng(0).standard_normal((size, size))
    fields = [ndimage.gaussian_filter(noise, sd, mode="wrap") for sd in (2, 8)]
    return np.clip(60 + 12 * sum(field / field.std() for field in fields), 5, None)


def take(seed, shift=(0, 0)):
    """One exposure, (rows, columns), 8 bits."""
    expected = ndimage.shift(scene(160), shift, order=5)[16:-16, 16:-16]
    return np.clip(np.random.default_rng(seed).poisson(np.maximum(expected, 0)), 0, 255).astype(np.uint8)


def test_exposures_that_drift_are_put_together(tmp_path):
    """PNG in, PNG of 8 bits out, on the grid of the first; the record tells the noise."""
    for index, shift in enumerate([(0, 0), (5.5, -3.2)]):
        Image.fromarray(take(index, shift)).save(tmp_path / f"{index}.png")
    out = tmp_path / "out.png"
    residual = tmp_path / "residual.tif"
    arguments = [str(tmp_path / "0.png"), str(tmp_path / "1.png"), "--out", str(out)]
    assert main(["denoise", *arguments, "--out-residual", str(residual), *FAST]) == 0
    image = read_micrograph(out)
    assert image.pixels.dtype == np.uint8
    error = image.pixels[..., 0, 0].T[12:-12, 12:-12] - scene(160)[28:-28, 28:-28]
    assert error.std() == pytest.approx(np.sqrt(60 / 2), rel=0.1)
    assert read_micrograph(residual).pixels.dtype == np.float32
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["noise_sd_mean"] == pytest.approx(np.sqrt(60 / 2), rel=0.1)


def test_stacks_and_colours_come_back_in_their_format(tmp_path):
    """An OME stack of 12 bits with channels, one that nothing moved in; float on request."""
    values = [
        np.stack([[np.uint16(8) * take(10 * index + one) for one in range(2)]] * 3) for index in range(2)
    ]
    for index, exposure in enumerate(values):
        metadata = {"axes": "ZCYX", "SignificantBits": 12}
        tifffile.imwrite(tmp_path / f"{index}.ome.tif", exposure, photometric="minisblack", metadata=metadata)
    runs = [str(tmp_path / f"{index}.ome.tif") for index in range(2)]
    out = tmp_path / "out.ome.tif"
    assert main(["denoise", *runs, "--out", str(out), "--as-they-lie", *FAST]) == 0
    assert (read_micrograph(out).bit_depth, read_micrograph(out).axes) == (12, "ZCYX")
    mean = np.rint(np.mean(values, axis=0, dtype=np.float64))
    np.testing.assert_allclose(tifffile.imread(out), mean, atol=8)
    assert main(["denoise", *runs, "--out", str(tmp_path / "f.tif"), "--float", "--as-they-lie", *FAST]) == 0
    assert tifffile.imread(tmp_path / "f.tif").dtype == np.float32


def test_two_folders_of_pairs(tmp_path, capsys):
    """Names are matched; one bad pair does not stop the others, a lonely name stops before the work."""
    for side, folder in enumerate(("even", "odd")):
        (tmp_path / folder).mkdir()
        for name in ("a.tif", "b.tif"):
            tifffile.imwrite(tmp_path / folder / name, take(side + 7 * (name == "b.tif")))
    tifffile.imwrite(tmp_path / "odd" / "a.tif", take(1)[:100])
    pairs = ["--pairs", str(tmp_path / "even"), str(tmp_path / "odd"), "--out", str(tmp_path / "out")]
    assert main(["denoise", *pairs, *FAST]) != 0
    assert "a.tif: expected an exposure like" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.json", "b.tif"]
    (tmp_path / "odd" / "a.tif").unlink()
    assert main(["denoise", *pairs, *FAST]) != 0
    assert "expected the partner" in capsys.readouterr().err


def test_results_of_pairs_never_replace_them(tmp_path, capsys):
    """A folder of exposures is no place for results of the same names."""
    for side, folder in enumerate(("even", "odd")):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", take(side))
    pairs = ["--pairs", str(tmp_path / "even"), str(tmp_path / "odd")]
    assert main(["denoise", *pairs, "--out", str(tmp_path / "odd" / ".." / "even"), *FAST]) != 0
    assert "another folder than those of --pairs" in capsys.readouterr().err
    assert np.array_equal(tifffile.imread(tmp_path / "even" / "a.tif"), take(0))
    assert [path.name for path in (tmp_path / "even").iterdir()] == ["a.tif"]


def test_a_pair_that_cannot_be_denoised_does_not_stop_the_others(tmp_path, capsys, monkeypatch):
    """Whatever the reason; the exit code is that of the reason."""
    for side, folder in enumerate(("even", "odd")):
        (tmp_path / folder).mkdir()
        for name in ("a.tif", "b.tif"):
            tifffile.imwrite(tmp_path / folder / name, take(side + 7 * (name == "b.tif")))
    denoise = micrographs.denoise_files

    def fail_first(job, *rest):
        if job.runs[0].name == "a.tif":
            raise DenoisingError("a.tif: the result is not finite")
        return denoise(job, *rest)

    monkeypatch.setattr(micrographs, "denoise_files", fail_first)
    pairs = ["--pairs", str(tmp_path / "even"), str(tmp_path / "odd"), "--out", str(tmp_path / "out")]
    assert main(["denoise", *pairs, *FAST]) == 1
    assert "the result is not finite" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.json", "b.tif"]


@pytest.mark.parametrize(
    ("names", "more", "words"),
    [
        (("a.tif", "a.png"), (), "differ in more than their ending"),
        (("a.png",), ("--float",), "PNG holds whole numbers"),
    ],
)
def test_pairs_whose_results_cannot_be_written_are_told_before_the_work(names, more, words, tmp_path, capsys):
    """Two records of one name, and floating point in PNG."""
    for folder in ("even", "odd"):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    pairs = ["--pairs", str(tmp_path / "even"), str(tmp_path / "odd"), "--out", str(tmp_path / "out")]
    assert main(["denoise", *pairs, *more, *FAST]) != 0
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("out", "words"), [("mask.png", "given twice"), ("run 0.png", "sidecar")])
def test_masks_and_sidecars_are_never_replaced(out, words, tmp_path, capsys):
    """What went in stays, its metadata too."""
    runs = [tmp_path / f"run {index}.tif" for index in range(2)]
    for index, path in enumerate(runs):
        tifffile.imwrite(path, take(index))
    (tmp_path / "run 0.json").write_text("{}")
    Image.fromarray(np.full((128, 128), 255, np.uint8)).save(tmp_path / "mask.png")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    given = [*map(str, runs), "--mask", str(tmp_path / "mask.png"), "--out", str(tmp_path / out)]
    assert main(["denoise", *given, *FAST]) != 0
    assert words in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("n_runs", "option", "values"),
    [
        (2, "--out-repetitions", ("a.tif", "b.tif")),
        (1, "--out-noise-sd", ("n.tif",)),
        (2, "--bvals", ("a.bval",)),
        (2, "--skull-strip", ()),
    ],
)
def test_options_that_exposures_have_no_use_for_are_refused(n_runs, option, values, tmp_path, capsys):
    """What would not be written or heeded is said before the work."""
    runs = [str(tmp_path / f"{index}.tif") for index in range(n_runs)]
    for index, path in enumerate(runs):
        tifffile.imwrite(path, take(index))
    words = [option, *(str(tmp_path / value) for value in values)]
    assert main(["denoise", *runs, "--out", str(tmp_path / "o.tif"), *words, *FAST]) != 0
    assert f"error: {option}: " in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == n_runs


def test_values_that_are_no_numbers_are_told_of_their_file(tmp_path, capsys):
    """The file to export again is the one that holds them, not the first."""
    runs = [str(tmp_path / f"{index}.tif") for index in range(2)]
    tifffile.imwrite(runs[0], take(0).astype(np.float32))
    tifffile.imwrite(runs[1], np.where(take(1) > 70, np.nan, 1).astype(np.float32))
    assert main(["denoise", *runs, "--out", str(tmp_path / "o.tif"), *FAST]) != 0
    assert f"{runs[1]}: expected finite values" in capsys.readouterr().err


def test_what_png_cannot_hold_is_said_before_the_work(tmp_path, capsys):
    """Signed exposures, for the image and for its mean."""
    runs = [str(tmp_path / f"{index}.tif") for index in range(2)]
    for index, path in enumerate(runs):
        tifffile.imwrite(path, take(index).astype(np.int16))
    for words in (["o.png"], ["o.tif", "--out-mean", "m.png"]):
        out = [word if word.startswith("--") else str(tmp_path / word) for word in words]
        assert main(["denoise", *runs, "--out", *out, *FAST]) != 0
        assert "channels of int16; name it .tif" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("second", "out", "words"),
    [
        (np.full((128, 128), 255, np.uint8), "o.tif", "one value (saturated)"),
        (np.random.default_rng(9).poisson(60, (128, 128)).astype(np.uint8), "o.tif", "nothing in common"),
        (take(0), "o.tif", "found a copy of it"),
        (take(1).astype(np.uint16), "o.tif", "of uint16"),
        (take(1), "o.nii.gz", "expected a name ending in"),
        (take(1), "0.tif", "an input or given twice"),
    ],
)
def test_bad_inputs_are_named(second, out, words, tmp_path, capsys):
    """One paragraph, no traceback, nothing written."""
    tifffile.imwrite(tmp_path / "0.tif", take(0))
    tifffile.imwrite(tmp_path / "1.tif", second)
    runs = [str(tmp_path / f"{index}.tif") for index in range(2)]
    assert main(["denoise", *runs, "--out", str(tmp_path / out), *FAST]) != 0
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
    # The remedy that only this command has.
    assert ("--as-they-lie" in told) == (words == "nothing in common")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.tif", "1.tif"]
