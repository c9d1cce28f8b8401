"""Microscopy-BIDS through the app: what is grouped, what comes out, and what is said of bad files."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
import tifffile
from microscopy_dataset import cells, describe_dataset, expose, micr_path, write_exposures
from PIL import Image
from valid_dataset import assert_valid

from n2a_bids.io.json import read_typed
from n2a_bids.io.micrographs import read_micrograph
from n2a_bids.record.viewer import ViewerRecord

pytestmark = pytest.mark.slow

OPTIONS = ["--strategy", "mean", "--nprocs", "1", "--omp-nthreads", "1", "--device", "cpu"]


def run_app(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "n2a_bids", "bids", "out", *arguments, "-w", "work", *OPTIONS]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, timeout=600)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("microscopy")
    describe_dataset(root / "bids")
    write_exposures(root / "bids")
    for level in (["participant", "--viewer"], ["group"]):
        child = run_app(root, *level)
        assert child.returncode == 0, child.stdout + child.stderr
    return root / "out"


def test_results_keep_format_depth_and_grid(results):
    """TIFF, PNG, OME-TIFF of 12 bits and OME-BigTIFF of colours come back as they were, the drift undone."""
    folder = results / "sub-01" / "micr"
    image = read_micrograph(folder / "sub-01_sample-A_desc-denoised_TEM.tif")
    assert image.pixels.dtype == np.uint8
    error = image.pixels[..., 0, 0].T[12:-12, 12:-12] - cells()[28:-28, 28:-28]
    assert error.std() == pytest.approx(np.sqrt(cells().mean() / 2), rel=0.15)
    assert read_micrograph(folder / "sub-01_sample-A_chunk-2_desc-denoised_SEM.png").pixels.dtype == np.uint8
    fluorescence = read_micrograph(folder / "sub-01_sample-A_desc-denoised_FLUO.ome.tif")
    assert fluorescence.bit_depth == 12
    assert fluorescence.pixel_size_mm[:2] == pytest.approx((4e-6, 4e-6))
    colours = read_micrograph(folder / "sub-01_sample-A_stain-HE_desc-denoised_BF.ome.btf")
    assert (colours.axes, colours.pixels.shape) == ("YXS", (128, 128, 1, 3))
    assert image.pixel_size_mm[:2] == colours.pixel_size_mm[:2] == pytest.approx((4e-6, 4e-6))
    sidecar = json.loads((folder / "sub-01_sample-A_desc-denoised_TEM.json").read_text())
    assert sidecar["PixelSize"] == [4.0, 4.0]
    assert len(sidecar["Sources"]) == 2


def test_derivatives_are_valid_with_report_and_table(results):
    """The validator has nothing to say; samples are carried; page and group table know the kinds."""
    assert_valid(results, optional=True)
    assert "sample-A" in (results / "samples.tsv").read_text()
    assert (results / "group_TEM.tsv").is_file()
    page = (results / "sub-01.html").read_text()
    assert "Largest drift" in page
    assert "within the brain" not in (results / "logs" / "CITATION.md").read_text()


def test_folders_of_ome_zarr_are_exposures(tmp_path):
    """Found, denoised and written as such, valid; the list of the run knows them."""
    zarr = pytest.importorskip("zarr", reason="OME-Zarr takes the package zarr")
    bids = tmp_path / "bids"
    describe_dataset(bids)
    for run in (1, 2):
        path = micr_path(bids, f"run-{run}", "SPIM", ".ome.zarr")
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        group.create_array("0", shape=(128, 128), chunks=(64, 64), dtype="uint8")[...] = expose(run)
        axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "yx"]
        scale = [{"type": "scale", "scale": [4.0, 4.0]}]
        level = {"path": "0", "coordinateTransformations": scale}
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [level]}]
    assert "1 group to denoise" in run_app(tmp_path, "participant", "--dry-run").stdout
    child = run_app(tmp_path, "participant")
    assert child.returncode == 0, child.stdout + child.stderr
    image = read_micrograph(tmp_path / "out/sub-01/micr/sub-01_sample-A_desc-denoised_SPIM.ome.zarr")
    assert (image.pixels.dtype, image.pixels.shape) == (np.uint8, (128, 128, 1, 1))
    assert image.pixel_size_mm[:2] == pytest.approx((4e-6, 4e-6))
    assert_valid(tmp_path / "out", optional=True)


def test_dry_run_tells_groups_and_lone_exposures(results):
    """One exposure has nothing to average, and the list says so."""
    child = run_app(results.parent, "participant", "--dry-run", "--modalities", "micr")
    assert child.returncode == 0, child.stderr
    assert "4 groups to denoise" in child.stdout
    assert "one exposure of BF" in child.stdout


def test_the_viewer_shows_micrographs_upright(results):
    """Each image as it is in the file, rows down: the volume has its Y axis up."""
    folder = results / "sub-01" / "figures"
    (path,) = folder.glob("*chunk-2*_desc-viewer_SEM.json")
    record = read_typed(ViewerRecord, path)
    assert [one.name for one in record.images][:3] == ["one repetition", "mean", "denoised"]
    image = record.images[2]
    shown = nb.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(image.nifti))).get_fdata()
    denoised = read_micrograph(results / "sub-01/micr/sub-01_sample-A_chunk-2_desc-denoised_SEM.png").pixels
    expected = np.clip(denoised[:, ::-1, :, 0].astype(float), image.low, None)
    np.testing.assert_allclose(shown, np.minimum(expected, shown.max()), atol=1)
    page = (results / "sub-01_viewer.html").read_text()
    assert "brain of a person" not in page


def test_frames_of_one_file_are_summed_to_halves(tmp_path):
    """With --micr-frames 2 a stack of eight frames gives one page, the mean of all."""
    describe_dataset(tmp_path / "bids")
    frames = np.stack([expose(seed) for seed in range(8)])
    path = micr_path(tmp_path / "bids", "run-1", "TEM", ".tif")
    tifffile.imwrite(path, frames, photometric="minisblack")
    out = tmp_path / "out" / "sub-01" / "micr" / "sub-01_sample-A_run-1_desc-denoised_TEM.tif"
    earlier = [out.with_suffix(".png"), out.with_suffix(".ome.zarr") / "0"]
    for other in earlier:
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text("of another format, with the same sidecar")
    child = run_app(tmp_path, "participant", "--micr-frames", "2", "--micr-float")
    assert child.returncode == 0, child.stdout + child.stderr
    assert sorted(path.suffix for path in out.parent.glob(f"{out.stem}.*")) == [".json", ".tif"]
    image = read_micrograph(out).pixels
    assert image.shape == (128, 128, 1, 1)
    np.testing.assert_allclose(image[..., 0, 0].T[8:-8, 8:-8], frames.mean(axis=0)[8:-8, 8:-8], atol=3)


def test_bad_files_are_named_and_others_denoised(tmp_path):
    """One paragraph each, no traceback; of three exposures the odd one, though the first, is left out."""
    bids = tmp_path / "bids"
    describe_dataset(bids, ("01", "02"))
    sizes = {"TEM": expose(1), "SEM": expose(2)[:96], "BF": np.full((128, 128), 255, np.uint8)}
    for suffix, odd in sizes.items():
        tifffile.imwrite(micr_path(bids, "run-1", suffix, ".tif"), expose(3))
        tifffile.imwrite(micr_path(bids, "run-2", suffix, ".tif"), odd)
    cut = micr_path(bids, "run-2", "TEM", ".tif")
    cut.write_bytes(cut.read_bytes()[:3000])
    for run in (1, 2):
        Image.fromarray(expose(run)).convert("1").save(micr_path(bids, f"run-{run}", "DF", ".png"))
        tifffile.imwrite(micr_path(bids, f"run-{run}", "TEM", ".tif", "02"), expose(5 + run))
    tifffile.imwrite(micr_path(bids, "run-0", "TEM", ".tif", "02"), expose(9)[:90])
    child = run_app(tmp_path, "participant")
    told = child.stdout + child.stderr
    assert child.returncode == 1
    for words in ("1 bit per pixel", "128 x 96", "saturated", "that can be read whole"):
        assert words in " ".join(told.split()), told
    assert "Traceback" not in told
    denoised = tmp_path / "out/sub-02/micr/sub-02_sample-A_desc-denoised_TEM.tif"
    assert tifffile.imread(denoised).shape == (128, 128)
    sidecar = json.loads(denoised.with_suffix(".json").read_text())
    assert [row["accepted"] for row in sidecar["Alignment"]["Repetitions"]] == [False, True, True]
    assert ["run-0" in source for source in sidecar["Sources"]] == [False, False]
    assert "run-0_TEM.tif was left out" in (tmp_path / "out/sub-02.html").read_text()
    assert not list((tmp_path / "out").glob("sub-01/micr/*_desc-denoised_*.tif"))
