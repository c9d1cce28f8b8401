"""Report figures as nodes: any orientation and grid of the files, one SVG out."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.interfaces.reportlets import anat as reportlets
from n2a_bids.interfaces.reportlets import dwi as dwi_reportlets
from n2a_bids.interfaces.reportlets.scene import load_display

AFFINE = np.array([[2.0, 0, 0, -20], [0, 2.0, 0, -24], [0, 0, 2.0, -18], [0, 0, 0, 1]])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Mask, images, series and gradient tables of a small brain."""
    rng = np.random.default_rng(3)
    shape = (20, 24, 18)
    mask = np.zeros(shape)
    mask[4:-4, 4:-4, 4:-4] = 1
    truth = 100 * mask + rng.normal(0, 5, shape)
    arrays = {"mask": mask.astype(np.uint8), "mean": truth, "denoised": 0.9 * truth, "first": truth + 1}
    arrays |= {"second": truth - 1, "noise_sd": np.full(shape, 5.0), "fa": mask * 0.5}
    arrays |= {"series": np.stack([truth] * 3, axis=-1), "v1": np.ones((*shape, 3)) / np.sqrt(3)}
    paths = {}
    for name, array in arrays.items():
        paths[name] = str(tmp_path / f"{name}.nii.gz")
        dtype = np.uint8 if name == "mask" else np.float32
        nb.Nifti1Image(array.astype(dtype), AFFINE).to_filename(paths[name])
    (tmp_path / "x.bval").write_text("0 1000 1000\n")
    (tmp_path / "x.bvec").write_text("0 1 0\n0 0 1\n0 0 0\n")
    record = {
        "history": [{"phase": "recorrupted", "epoch": 1, "loss": 0.5}],
        "candidates": [
            {"name": "mean", "risk": 0.0, "standard_error": 0.0},
            {"name": "recorrupted", "risk": -0.1, "standard_error": 0.01},
        ],
        "chosen": {"name": "recorrupted", "mean_won": False},
    }
    (tmp_path / "record.json").write_text(json.dumps(record))
    motion = {"rotation_deg": [0.0, 1.2, 0.4], "translation_mm": [0.0, 0.3, 2.0]}
    rows = [{"file": f"sub-01_dir-{name}_dwi.nii.gz", "volumes": motion} for name in ("AP", "PA")]
    (tmp_path / "alignment.json").write_text(json.dumps({"repetitions": rows}))
    texts = ("x.bval", "x.bvec", "record.json", "alignment.json")
    return paths | {name: str(tmp_path / name) for name in texts}


def interface(name: str, files: dict[str, str]):
    """An interface with its inputs."""
    mask = {"mask_file": files["mask"]}
    pair = {"mean_file": files["mean"], "denoised_file": files["denoised"], **mask}
    inputs = {
        "MaskContours": {"in_file": files["mean"], **mask},
        "AlignmentFlicker": {
            "reference_file": files["first"],
            "before_file": files["second"],
            "after_file": files["second"],
            **mask,
        },
        "DenoisingFlicker": {"repetition_file": files["first"], **pair},
        "DetailZoom": {"repetition_file": files["first"], **pair},
        "ResidualMap": {
            "repetition_files": [files["first"], files["second"]],
            "noise_sd_file": files["noise_sd"],
            **pair,
        },
        "UncertaintyMap": {
            "uncertainty_file": files["noise_sd"],
            "denoised_file": files["denoised"],
            **mask,
        },
        "NoiseMap": {"noise_sd_file": files["noise_sd"], **mask},
        "LossCurve": {"record_file": files["record.json"]},
        "RiskFigure": {"record_file": files["record.json"]},
        "DistortionFlicker": {
            "before_files": [files["first"], files["second"]],
            "after_files": [files["mean"], files["mean"]],
            **mask,
        },
        "TensorMaps": {
            "fa_mean_file": files["fa"],
            "fa_denoised_file": files["fa"],
            "v1_mean_file": files["v1"],
            "v1_denoised_file": files["v1"],
            **mask,
        },
        "GradientPlot": {
            "bval_files": [files["x.bval"]],
            "bvec_files": [files["x.bvec"]],
            "image_files": [files["mask"]],
        },
        "VolumeMotionPlot": {"alignment_file": files["alignment.json"]},
        "VolumeQuality": {
            "mean_file": files["series"],
            "denoised_file": files["series"],
            "bval_file": files["x.bval"],
            "bvec_file": files["x.bvec"],
            "noise_sd_file": files["noise_sd"],
            **mask,
        },
    }
    module = reportlets if hasattr(reportlets, name) else dwi_reportlets
    return getattr(module, name)(**inputs[name])


@pytest.mark.parametrize(
    "name",
    [
        *("MaskContours", "AlignmentFlicker", "DenoisingFlicker", "DetailZoom", "ResidualMap", "NoiseMap"),
        *("LossCurve", "RiskFigure", "DistortionFlicker", "TensorMaps", "GradientPlot", "VolumeQuality"),
        *("VolumeMotionPlot", "UncertaintyMap"),
    ],
)
def test_interface_writes_one_svg(name, files, tmp_path):
    """Every figure is well-formed XML in the folder of its node."""
    out_file = Path(interface(name, files).run(cwd=str(tmp_path)).outputs.out_file)
    assert out_file.parent == tmp_path
    assert ElementTree.parse(out_file).getroot().tag.endswith("svg")


def test_display_is_the_same_for_any_storage_order(files, tmp_path):
    """A file stored in another orientation shows the same picture."""
    turned = tmp_path / "turned.nii.gz"
    image = nb.load(files["first"])
    order = nb.orientations.axcodes2ornt(("P", "I", "R"))
    change = nb.orientations.ornt_transform(nb.io_orientation(image.affine), order)
    image.as_reoriented(change).to_filename(turned)
    scene = load_display([files["first"], turned], files["mask"])
    np.testing.assert_array_equal(*scene.volumes)


def test_display_places_another_grid_by_its_header(files, tmp_path):
    """An image on a shifted grid is shown where its header says, not where its voxels lie."""
    image = nb.load(files["first"])
    shifted = AFFINE.copy()
    shifted[0, 3] += 2.0 * 3
    moved = tmp_path / "moved.nii.gz"
    nb.Nifti1Image(np.asarray(image.dataobj)[3:], shifted).to_filename(moved)
    scene = load_display([files["first"], moved], files["mask"])
    inside = scene.frame.mask
    np.testing.assert_allclose(scene.volumes[0][inside], scene.volumes[1][inside], rtol=1e-4, atol=1e-3)


def test_volume_of_a_series_is_chosen(files):
    """One volume is shown of a series, all where they are asked for."""
    assert load_display([files["series"]], files["mask"], volume=9).volumes[0].ndim == 3
    assert load_display([files["series"]], files["mask"], volume=None).volumes[0].shape[-1] == 3


def test_axes_of_length_one_behind_the_third_show_one_volume(files, tmp_path):
    """A header may have up to seven axes; a mask beside it would be repeated along each of them."""
    many = str(tmp_path / "many.nii.gz")
    image = nb.load(files["first"])
    nb.Nifti1Image(image.get_fdata()[..., None, None, None], AFFINE).to_filename(many)
    shown, plain = (load_display([path], files["mask"]).volumes[0] for path in (many, files["first"]))
    assert shown.shape == plain.shape
    assert np.allclose(shown, plain)


def test_voxel_sizes_are_those_of_the_placement(files, tmp_path):
    """pixdim of a file that only its sform places may hold anything."""
    image = nb.Nifti1Image(np.asarray(nb.load(files["mask"]).dataobj), AFFINE)
    image.header.set_qform(None, 0)
    image.header["pixdim"][1:4] = 1, 1, 5
    odd = str(tmp_path / "odd.nii.gz")
    image.to_filename(odd)
    assert load_display([files["first"]], odd).frame.voxel_size_mm == pytest.approx((2, 2, 2))


def test_motion_plot_names_the_series_and_shows_the_units(files, tmp_path):
    """Translation in mm, rotation in degrees, a line for each series."""
    out_file = interface("VolumeMotionPlot", files).run(cwd=str(tmp_path)).outputs.out_file
    drawn = Path(out_file).read_text()
    for text in ("translation (mm)", "rotation (degrees)", "sub-01_dir-AP_dwi", "sub-01_dir-PA_dwi"):
        assert text in drawn


def test_expected_error_is_told_in_percent_of_the_tissue(files, tmp_path):
    """The scale has units of the image, and percent of the spread of intensities in the brain."""
    svg = Path(interface("UncertaintyMap", files).run(cwd=str(tmp_path)).outputs.out_file).read_text()
    inside = nb.load(files["mask"]).get_fdata() > 0
    spread = nb.load(files["denoised"]).get_fdata()[inside].std()
    largest = np.percentile(nb.load(files["noise_sd"]).get_fdata()[inside], 99.5)
    assert f"{largest:.3g} ({largest / spread:.1%})" in svg


def test_expected_error_is_that_of_the_shell_of_the_volume(files, tmp_path):
    """Of a series, whose shells are those of the table that it was denoised with."""
    noise = nb.load(files["noise_sd"]).get_fdata(dtype=np.float32)
    nb.Nifti1Image(np.stack([noise, 3 * noise], axis=-1), AFFINE).to_filename(tmp_path / "errors.nii.gz")
    table = {"bval_file": files["x.bval"], "bvec_file": files["x.bvec"], "mask_file": files["mask"]}
    images = {"uncertainty_file": str(tmp_path / "errors.nii.gz"), "denoised_file": files["series"]}
    for volume, largest in enumerate(("5 (", "15 (", "15 (")):
        drawn = reportlets.UncertaintyMap(volume=volume, **images, **table).run(cwd=str(tmp_path))
        assert f">{largest}" in Path(drawn.outputs.out_file).read_text()


def test_figure_that_shows_nothing_is_left_out(files, tmp_path):
    """Nothing removed, nothing compared, no noise: no figure, and none of an earlier run stays."""
    (tmp_path / "nothing.json").write_text("{}")
    zero = tmp_path / "zero.nii.gz"
    nb.Nifti1Image(np.zeros((20, 24, 18), np.float32), AFFINE).to_filename(zero)
    same = {"mean_file": files["mean"], "denoised_file": files["mean"], "mask_file": files["mask"]}
    empty = (
        reportlets.ResidualMap(repetition_files=[files["mean"]], **same),
        reportlets.DenoisingFlicker(**same),
        reportlets.NoiseMap(noise_sd_file=str(zero), mask_file=files["mask"]),
        reportlets.RiskFigure(record_file=str(tmp_path / "nothing.json")),
        reportlets.LossCurve(record_file=str(tmp_path / "nothing.json")),
    )
    drawn = [one.run(cwd=str(tmp_path)).outputs.out_file for one in empty]
    drawn.append(interface("MaskContours", files).run(cwd=str(tmp_path)).outputs.out_file)
    targets = [tmp_path / "out" / f"{number}.svg" for number in range(len(drawn))]
    targets[0].parent.mkdir()
    targets[0].write_text("of an earlier run")
    named = {f"figure_{number}": path for number, path in enumerate(targets)}
    reportlets.WriteFigures(named, **dict(zip(named, drawn))).run()
    assert [path.exists() for path in targets] == [False] * len(empty) + [True]
