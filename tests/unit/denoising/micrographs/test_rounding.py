"""Laws of rounding: where it would outweigh the error of a result, no whole numbers are written."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from n2a_bids.cli.tools import main
from n2a_bids.denoising.micrographs.rounding import with_rounding
from n2a_bids.io.micrographs import Micrograph
from n2a_bids.record.denoising import DenoisingRecord

COUNTS = Micrograph(np.ones((8, 8, 1, 1), np.uint8), 8, None, Path("a.tif"))


@pytest.mark.parametrize(("error", "is_float"), [(0.05, True), (0.35, True), (0.5, False), (4.0, False)])
def test_fine_results_are_no_whole_numbers(error, is_float):
    """A warning says so; the error of the others holds their rounding."""
    record = DenoisingRecord(error_denoised=error, noise_sd_mean=2 * error)
    found, as_float = with_rounding(record, COUNTS, Path("out.tif"), as_float=False)
    assert as_float == is_float
    assert bool(found.warnings) == is_float
    assert found.error_denoised == pytest.approx(error if is_float else math.hypot(error, 12**-0.5))


def test_png_is_rounded_and_named():
    """It holds nothing else; the warning names the remedy, and the error holds the rounding."""
    record = DenoisingRecord(error_denoised=0.05)
    found, as_float = with_rounding(record, COUNTS, Path("out.png"), as_float=False)
    assert not as_float and "name the result .tif" in found.warnings[0]
    assert found.error_denoised == pytest.approx(math.hypot(0.05, 12**-0.5))


def test_what_is_written_in_single_precision_is_as_it_was():
    """Where that was asked for, or exposures are so."""
    record = DenoisingRecord(error_denoised=0.05)
    assert with_rounding(record, COUNTS, Path("out.tif"), as_float=True) == (record, True)
    values = Micrograph(np.ones((8, 8, 1, 1), np.float32), 32, None, Path("a.tif"))
    assert with_rounding(record, values, Path("out.tif"), as_float=False) == (record, False)


@pytest.mark.parametrize("end", [".tif", ".png"])
def test_few_counts_keep_what_averaging_gains(end, tmp_path):
    """Of twenty exposures of about one count; PNG cannot hold their mean."""
    rng, x = np.random.default_rng(1), np.arange(64)
    truth = 0.7 + 0.5 * np.sin(x / 5)[:, None] * np.sin(x / 7)
    paths = [tmp_path / f"{index}{end}" for index in range(20)]
    for path in paths:
        counts = rng.poisson(truth).astype(np.uint8)
        Image.fromarray(counts).save(path) if end == ".png" else tifffile.imwrite(path, counts)
    out = tmp_path / f"out{end}"
    words = ["denoise", *paths, "--out", out, "--strategy", "mean", "--as-they-lie", "--device", "cpu"]
    assert main([str(word) for word in words]) == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert any("finer than whole numbers" in one for one in record["warnings"])
    if end == ".tif":
        written = tifffile.imread(out)
        assert written.dtype == np.float32
        assert np.sqrt(np.mean((written - truth) ** 2)) < 1.1 * np.sqrt(truth.mean() / 20)
