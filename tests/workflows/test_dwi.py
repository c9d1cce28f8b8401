"""Workflows of diffusion series: their graphs, and whole runs on a tiny dataset."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from dwi_dataset import NOISE_SD, SHAPE, VOXEL_MM, head, write_dataset
from scipy import ndimage
from valid_dataset import assert_valid
from written_tables import read_rows

from n2a_bids.config import Config, DenoiseConfig, MaskConfig, OutputConfig, SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.dataset.units import DenoisingUnit, ImageFile
from n2a_bids.dataset.write.description import write_dataset_files
from n2a_bids.io.json import read_typed
from n2a_bids.lab.simulation.dwi import distort
from n2a_bids.record.viewer import ViewerRecord
from n2a_bids.workflows import node_memory
from n2a_bids.workflows.derivatives import superseded_outputs
from n2a_bids.workflows.dwi import tensor
from n2a_bids.workflows.dwi.unit import init_dwi_unit_wf
from n2a_bids.workflows.participant import init_participant_wf

pytestmark = pytest.mark.slow


def _workflow(
    tmp_path: Path, kind: str, strategy: str = "auto", outputs: OutputConfig | None = None, **selected: bool
):
    truth = write_dataset(tmp_path / "bids", kind)
    selection = SelectionConfig(modalities=("dwi",), **selected)
    units = collect(tmp_path / "bids", selection).units
    config = Config(
        tmp_path / "bids",
        tmp_path / "out",
        tmp_path / "work",
        "uuid",
        selection=selection,
        denoise=DenoiseConfig(strategy=strategy, recipe="fast", device="cpu"),
        mask=MaskConfig(dwi_method="otsu"),
        outputs=outputs or OutputConfig(),
    )
    assert len(units) == 1
    workflow = init_dwi_unit_wf(units[0], config)
    workflow.base_dir = str(tmp_path / "work")
    workflow.config["execution"] = {"crashdump_dir": str(tmp_path), "stop_on_first_crash": "true"}
    return workflow, units[0], truth


def test_long_series_ask_for_more_memory_and_never_for_more_than_there_is(tmp_path, monkeypatch):
    """What holds the series several times grows with it; the limit of the user stands."""
    short, unit, _ = _workflow(tmp_path / "short", "reverse-pe")
    monkeypatch.setattr(node_memory, "held_gb", lambda unit: 1.2)
    long, *_ = _workflow(tmp_path / "long", "reverse-pe")
    asked = {name: (short.get_node(name).mem_gb, long.get_node(name).mem_gb) for name in ("align", "mask")}
    assert asked["align"] == (4.0, pytest.approx(1.5 + 4 * 1.2))
    assert asked["mask"][0] == asked["mask"][1]
    node_memory.reserve_memory(long, unit, limit_gb=5.0)
    assert long.get_node("align").mem_gb == pytest.approx(6.3), "never less than before"
    monkeypatch.setattr(node_memory, "held_gb", lambda unit: 100.0)
    longest, *_ = _workflow(tmp_path / "longest", "reverse-pe")
    assert longest.get_node("align").mem_gb == 8.0
    told = [one.get_node("denoise").inputs.memory_gb for one in (short, long, longest)]
    assert told == [pytest.approx(8 - 1.5, abs=0.1), 0.25 * 5, 0.25 * 8], "networks get the rest"
    monkeypatch.undo()
    assert node_memory.held_gb(unit) == pytest.approx(4e-9 * np.prod(nb.load(unit.images[0].path).shape))


@pytest.mark.parametrize(
    ("kind", "unit_kind", "has_distortion"),
    [
        ("single", "dwi-split", False),
        ("repeat", "dwi-repeats", False),
        ("reverse-pe", "dwi-reverse-pe", True),
    ],
)
def test_graph_fits_the_kind(tmp_path, kind, unit_kind, has_distortion):
    """Only pairs of opposite phase encoding estimate a distortion."""
    workflow, unit, _ = _workflow(tmp_path, kind)
    assert unit.kind == unit_kind
    names = workflow.list_node_names()
    assert ("distortion" in names) is has_distortion
    assert {"check", "pick", "mask", "motion", "align", "denoise", "outputs_wf.write"} <= set(names)
    # The phantom begins with two b0s: the third volume is the first that shows diffusion.
    assert workflow.get_node("reports_wf.draw_denoised").inputs.volume == 2


@pytest.mark.parametrize(("kind", "corrected"), [("reverse-pe", False), ("repeat", True)])
def test_eddy_currents_are_looked_for_along_the_axis_of_each_sidecar(tmp_path, kind, corrected):
    """Unless their distortion has been corrected already."""
    workflow, unit, _ = _workflow(tmp_path, kind, dwi_corrected=corrected)
    axes = workflow.get_node("motion").inputs.phase_encoding
    assert len(axes) == len(unit.images)
    assert all(np.linalg.norm(one) == pytest.approx(0 if corrected else 1) for one in axes)


@pytest.mark.parametrize(
    ("kind", "second", "shares"),
    [
        ("repeat", {}, True),
        ("repeat", {"TotalReadoutTime": 0.09}, False),
        ("repeat", {"TotalReadoutTime": None}, False),
        ("repeat", {"TotalReadoutTime": 0.0502}, True),
        ("repeat", {"PhaseEncodingDirection": "i"}, False),
        ("repeat", {"PhaseEncodingDirection": None}, False),
        ("reverse-pe", {}, True),
        ("reverse-pe", {"TotalReadoutTime": 0.09}, False),
    ],
)
def test_series_of_one_protocol_share_their_eddy_currents(tmp_path, kind, second, shares):
    """What all that follows takes is the motion by these, where sidecars tell that there is one protocol."""
    _, unit, _ = _workflow(tmp_path / "first", kind)
    images = [
        replace(image, metadata={"TotalReadoutTime": 0.05, **image.metadata, **(second if index else {})})
        for index, image in enumerate(unit.images)
    ]
    config = Config(tmp_path / "first" / "bids", tmp_path / "out", tmp_path / "work", "uuid")
    workflow = init_dwi_unit_wf(replace(unit, images=tuple(images)), config)
    shared = workflow.get_node("shared_motion")
    assert (shared is not None) is shares
    if shares:
        of_own = {node.name for node in workflow._graph.successors(workflow.get_node("motion"))}
        assert of_own == {"shared_motion"}


def test_lost_slices_are_looked_for_across_the_axis_of_each_sidecar(tmp_path):
    """And stood in for along it; the last axis where no sidecar names one."""
    _, unit, _ = _workflow(tmp_path / "first", "repeat")
    first, second = unit.images
    turned = replace(first, metadata={**first.metadata, "SliceEncodingDirection": "i-"})
    config = Config(tmp_path / "first" / "bids", tmp_path / "out", tmp_path / "work", "uuid")
    workflow = init_dwi_unit_wf(replace(unit, images=(turned, second)), config)
    assert workflow.get_node("pick").inputs.slice_axis == [0, 2]
    assert workflow.get_node("motion").inputs.volumes == workflow.get_node("pick").inputs.volumes
    assert workflow.get_node("align").inputs.slice_axes == [0, 2]
    assert workflow.get_node("inspect").inputs.names == workflow.get_node("align").inputs.names


def test_split_is_synthesized_for_strategies_that_need_two_series(tmp_path):
    """Noise2Average gets two synthesized series of one scan; ``auto`` takes the scan as it is."""
    workflow, *_ = _workflow(tmp_path / "a", "single", "noise2average")
    assert "split" in workflow.list_node_names()
    workflow, *_ = _workflow(tmp_path / "b", "single")
    assert "split" not in workflow.list_node_names()


def _write_atlas(folder: Path) -> dict[str, str]:
    """Halves of the head, on a template that is its b0 without distortion, elsewhere: the options for it."""
    folder.mkdir()
    signal, _ = head()
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    affine[:3, 3] = (-70, -95, -20)
    b0 = signal[..., 0]
    labels = np.where(b0 > 0, np.where(np.arange(b0.shape[0]) < b0.shape[0] / 2, 1, 2)[:, None, None], 0)
    for name, data in (("T1w", b0), ("desc-brain_mask", b0 > 0), ("dseg", labels)):
        nb.Nifti1Image(data.astype(np.float32), affine).to_filename(folder / f"my_{name}.nii.gz")
    (folder / "my_dseg.tsv").write_text("index\tname\n1\tLeft half\n2\tRight half\n")
    return {"regions": str(folder / "my_dseg.nii.gz"), "regions_template": str(folder / "my_T1w.nii.gz")}


def test_regions_of_a_series_have_a_row_for_each_shell(finished_pair):
    """Placed on the b0, with the noise of the truth and a gain that is near that of the whole brain."""
    root, truth = finished_pair
    folder = root / "out/sub-01/dwi"
    rows = read_rows(folder / "sub-01_desc-regions_stats.tsv")
    sides = [("Left half", 0), ("Right half", 0), ("Left half", 1000), ("Right half", 1000)]
    assert [(row["name"], float(row["shell"])) for row in rows] == sides
    labels = np.asarray(nb.load(folder / "sub-01_desc-regions_dseg.nii.gz").dataobj)
    left = np.broadcast_to((np.arange(labels.shape[0]) < labels.shape[0] / 2)[:, None, None], labels.shape)
    inside = truth["mask"] & (labels > 0)
    assert ((labels == 1) == left)[inside].mean() > 0.93
    record = json.loads((folder / "sub-01_desc-denoised_figures.json").read_text())
    whole = record["gain_of_weighting_db"] + record["gain_of_denoising_db"]
    for row in rows:
        assert float(row["noise_sd"]) == pytest.approx(NOISE_SD, rel=0.25)
        assert float(row["noise_sd_mean"]) == pytest.approx(record["noise_sd_mean"], rel=0.15)
        volumes = slice(0, 2) if row["shell"] == "0" else slice(2, None)
        signal = truth["signal"][..., volumes][truth["mask"]].mean()
        assert float(row["signal"]) == pytest.approx(signal, rel=0.15)
        if row["shell"] != "0":
            assert float(row["gain_db"]) == pytest.approx(whole, abs=1.5)
    figures = {path.name for path in (root / "out/sub-01/figures").glob("*.svg")}
    assert {"sub-01_desc-regions_dwi.svg", "sub-01_desc-regionalnoise_dwi.svg"} <= figures


@pytest.fixture(scope="module")
def finished_pair(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """A whole run of a pair of opposite phase encoding, with everything that can be written."""
    root = tmp_path_factory.mktemp("pair")
    atlas = _write_atlas(root / "atlas")
    outputs = OutputConfig(raw_like_dir=root / "rawlike", dwi_own_grid=True, viewer=True, **atlas)
    workflow, _, truth = _workflow(root, "reverse-pe", outputs=outputs)
    write_dataset_files(root / "out", root / "bids", {})
    workflow.run()
    return root, truth


@pytest.fixture(scope="module")
def finished_series(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """A whole run of one series."""
    root = tmp_path_factory.mktemp("series")
    workflow, _, truth = _workflow(root, "single")
    workflow.run()
    return root, truth


@pytest.mark.parametrize("kind", ["single", "reverse-pe"])
def test_run_lowers_the_error_and_writes_all_derivatives(request, kind):
    """From BIDS to derivatives: closer to the truth than the mean, with tables, sidecars and figures."""
    name = {"single": "finished_series", "reverse-pe": "finished_pair"}[kind]
    root, truth = request.getfixturevalue(name)
    folder = root / "out" / "sub-01" / "dwi"
    inside = ndimage.binary_erosion(truth["mask"], iterations=2)
    errors = {}
    for desc in ("mean", "denoised"):
        image = nb.load(next(folder.glob(f"*desc-{desc}_dwi.nii.gz")))
        difference = np.asarray(image.dataobj)[inside] - truth["signal"][inside]
        errors[desc] = np.sqrt(np.mean(difference**2))
        assert next(folder.glob(f"*desc-{desc}_dwi.bval")).exists()
        assert next(folder.glob(f"*desc-{desc}_dwi.bvec")).exists()
    assert errors["denoised"] < 0.8 * errors["mean"]
    sidecar = json.loads(next(folder.glob("*desc-denoised_dwi.json")).read_text())
    assert sidecar["DistortionCorrected"] is (kind == "reverse-pe")
    assert ("PhaseEncodingDirection" in sidecar) is (kind == "single")
    assert sidecar["SkullStripped"] is False
    assert sidecar["NoiseFloorRemoved"] is True
    assert "Otsu" in json.loads((folder / "sub-01_desc-brain_mask.json").read_text())["Description"]
    assert "Otsu" in json.loads((folder / "sub-01_desc-denoised_figures.json").read_text())["mask_method"]
    for desc in ("mean", "denoised"):
        fa, md, v1 = (
            nb.load(folder / f"sub-01_model-tensor_param-{param}_desc-{desc}_dwimap.nii.gz").get_fdata()
            for param in ("fa", "md", "v1")
        )
        assert 0.1 < fa[inside].mean() < 0.9 and 3e-4 < md[inside].mean() < 2e-3
        assert np.allclose(np.linalg.norm(v1[inside], axis=-1), 1, atol=1e-3)
    figures = {path.name.split("desc-")[1] for path in (root / "out/sub-01/figures").glob("*.svg")}
    assert {"denoised_dwi.svg", "tensor_dwi.svg", "gradients_dwi.svg", "uncertainty_dwi.svg"} <= figures
    error_sd = nb.load(next(folder.glob("*desc-uncertainty_dwimap.nii.gz"))).get_fdata()
    assert error_sd.shape[-1] == 2 and (error_sd[inside] > 0).all()
    assert json.loads(next(folder.glob("*desc-uncertainty_dwimap.json")).read_text())["ShellBValues"] == [
        0,
        1000,
    ]
    assert ("distortion_dwi.svg" in figures) is (kind == "reverse-pe")


def test_viewer_shows_single_volumes_and_means_of_shells(finished_pair):
    """Noise is seen in single volumes only, contrast best in means; all of them in the world's place."""
    root, _ = finished_pair
    record = read_typed(ViewerRecord, root / "out/sub-01/figures/sub-01_desc-viewer_dwi.json")
    groups = list(dict.fromkeys(image.group for image in record.images))
    assert groups == ["b=1000, volume 2", "b=1000, mean of 15", "b=0, volume 0", "b=0, mean of 2"]
    single = [image.name for image in record.images if image.group == groups[0]]
    assert single == ["one repetition", "mean", "denoised", "residual", "noise map", "expected error"]
    of_mean = [image.name for image in record.images if image.group == groups[1]]
    assert of_mean == ["one repetition", "mean", "denoised", "residual"]


def test_pair_on_own_grids_and_under_raw_names(finished_pair):
    """Each series of a pair comes back with its own distortion, less noisy; both datasets are valid."""
    root, truth = finished_pair
    raw_like = root / "rawlike"
    for direction, sign in (("AP", -1), ("PA", 1)):
        expected = distort(truth["signal"], truth["displacement"], 1, sign)
        raw = nb.load(root / f"bids/sub-01/dwi/sub-01_dir-{direction}_dwi.nii.gz")
        own = nb.load(root / f"out/sub-01/dwi/sub-01_dir-{direction}_desc-owngrid_dwi.nii.gz")
        same = nb.load(raw_like / f"sub-01/dwi/sub-01_rec-n2a_dir-{direction}_dwi.nii.gz")
        assert np.array_equal(own.affine, raw.affine) and own.shape == raw.shape
        assert np.array_equal(own.get_fdata(), same.get_fdata())
        mask = nb.load(root / f"out/sub-01/dwi/sub-01_dir-{direction}_desc-owngrid_mask.nii.gz")
        inside = ndimage.binary_erosion(mask.get_fdata() > 0, iterations=2)
        errors = [np.sqrt(np.mean((image.get_fdata() - expected)[inside] ** 2)) for image in (raw, own)]
        assert errors[1] < 0.8 * errors[0]
        stem = raw_like / f"sub-01/dwi/sub-01_rec-n2a_dir-{direction}_dwi"
        sidecar = json.loads(Path(f"{stem}.json").read_text())
        assert sidecar["PhaseEncodingDirection"] == ("j-" if direction == "AP" else "j")
        assert sidecar["TotalReadoutTime"] == 0.05 and sidecar["B0FieldSource"] == "pepolar"
        assert sidecar["DenoisedFrom"] == [f"sub-01/dwi/sub-01_dir-{one}_dwi.nii.gz" for one in ("AP", "PA")]
        assert np.loadtxt(f"{stem}.bvec").shape == (3, raw.shape[3]) == (3, np.loadtxt(f"{stem}.bval").size)
    assert_valid(root / "out", optional=True)
    assert_valid(raw_like, optional=True)


def test_series_on_own_grids_do_not_outlive_their_group(tmp_path):
    """Written anew without the option, the group takes those of an earlier run along."""
    images = tuple(ImageFile(Path(f"sub-01_run-{run}_dwi.nii.gz"), {"sub": "01", "run": run}) for run in "12")
    unit = DenoisingUnit("dwi-repeats", images, {"sub": "01"})
    own = {f"sub-01_run-{run}_desc-owngrid_dwi{end}" for run in "12" for end in (".nii.gz", ".bval", ".bvec")}
    for asked in (False, True):
        outputs = OutputConfig(dwi_own_grid=asked)
        config = Config(tmp_path / "bids", tmp_path / "out", tmp_path / "work", "uuid", outputs=outputs)
        names = {path.name for row in superseded_outputs(unit, config) for path in row.paths(unit, config)}
        assert own & names == (set() if asked else own)


@pytest.mark.parametrize(
    ("in_place", "has_tensor", "left"),
    [(False, True, set()), (True, True, {"mean"}), (False, False, {"mean", "denoised"})],
)
def test_tensor_maps_do_not_outlive_their_group(tmp_path, monkeypatch, in_place, has_tensor, left):
    """What this run does not fit, of the mean or at all, is deleted with its sidecar and figure."""
    write_dataset(tmp_path / "bids", "single")
    selection = SelectionConfig(dwi_in_place=in_place)
    config = Config(tmp_path / "bids", tmp_path / "out", tmp_path / "work", "uuid", selection=selection)
    (unit,) = collect(config.bids_dir, selection).units
    if not has_tensor:
        monkeypatch.setattr(tensor, "tensor_volumes", lambda gradients: np.array([], int))
    maps = {f"model-tensor_param-{kind}_desc-{desc}_dwimap" for kind in ("fa", "md", "v1") for desc in left}
    superseded = init_dwi_unit_wf(unit, config).get_node("outputs_wf.write").inputs.superseded
    found = {name for path in superseded if "tensor" in (name := Path(path).name)}
    figure = {"desc-tensor_dwi.svg"} if "denoised" in left else set()
    names = {f"{name}.{end}" for name in maps for end in ("nii.gz", "json")} | figure
    assert found == {f"{unit.label.removesuffix('_dwi')}_{name}" for name in names}


def test_series_under_raw_names_do_not_outlive_their_group(tmp_path):
    """A pair is two series, each in place: what an earlier run made of both as one is deleted."""
    write_dataset(tmp_path / "bids", "reverse-pe")
    raw_like = tmp_path / "rawlike" / "sub-01" / "dwi"
    raw_like.mkdir(parents=True)
    sources = [f"sub-01/dwi/sub-01_dir-{direction}_dwi.nii.gz" for direction in ("AP", "PA")]
    (raw_like / "sub-01_rec-n2a_dwi.json").write_text(json.dumps({"DenoisedFrom": sources}))
    (raw_like / "sub-01_dir-PA_dwi.json").write_text("{}")
    selection = SelectionConfig(modalities=("dwi",))
    config = Config(
        tmp_path / "bids",
        tmp_path / "out",
        tmp_path / "work",
        "uuid",
        outputs=OutputConfig(raw_like_dir=tmp_path / "rawlike"),
    )
    workflow = init_participant_wf("01", collect(tmp_path / "bids", selection).units, config)
    (name,) = (name for name in workflow.list_node_names() if name.endswith("write_raw_like"))
    deleted = {Path(path).name for path in workflow.get_node(name).inputs.superseded}
    assert deleted == {f"sub-01_rec-n2a_dwi{end}" for end in (".nii.gz", ".json", ".bval", ".bvec")}
    downstream = workflow.get_node(name.rpartition(".")[0])
    edge = (downstream.get_node("raw_like"), downstream.get_node("write_raw_like"))
    assert ("left_out", "gone") in downstream._graph.edges[edge]["connect"]


def test_field_maps_follow_the_series_of_every_group(tmp_path):
    """They are copied once a group's series are in place, and know the series of all groups."""
    write_dataset(tmp_path / "bids", "single")
    folder = tmp_path / "bids/sub-01/dwi"
    for path in list(folder.iterdir()):
        for label in "ab":
            shutil.copyfile(path, folder / path.name.replace("sub-01_", f"sub-01_acq-{label}_"))
        path.unlink()
    units = collect(tmp_path / "bids", SelectionConfig(modalities=("dwi",))).units
    outputs = OutputConfig(raw_like_dir=tmp_path / "rawlike")
    config = Config(tmp_path / "bids", tmp_path / "out", tmp_path / "work", "uuid", outputs=outputs)
    workflow = init_participant_wf("01", units, config)
    names = [name for name in workflow.list_node_names() if name.endswith("field_maps")]
    assert len(names) == len(units) == 2
    for name in names:
        series = workflow.get_node(name).inputs.series
        assert [Path(path).name for path in series.values()] == [
            f"sub-01_acq-{label}_rec-n2a_dwi.nii.gz" for label in "ab"
        ]
        downstream = workflow.get_node(name.rpartition(".")[0])
        fields, write = downstream.get_node("field_maps"), downstream.get_node("write_raw_like")
        assert downstream._graph.has_edge(write, fields)


def test_corrected_pair_is_averaged_without_correction(tmp_path):
    """--dwi-corrected: no distortion is estimated, and the result says that there is none."""
    workflow, unit, _ = _workflow(tmp_path, "corrected", "mean", dwi_corrected=True)
    assert unit.kind == "dwi-repeats" and "distortion" not in workflow.list_node_names()
    workflow.run()
    sidecar = json.loads((tmp_path / "out/sub-01/dwi/sub-01_desc-denoised_dwi.json").read_text())
    assert sidecar["DistortionCorrected"] is True
    assert "PhaseEncodingDirection" not in sidecar and "TotalReadoutTime" not in sidecar


def test_mask_of_the_user_is_taken(tmp_path):
    """A brain mask in a derivative dataset is used as it is, and recorded."""
    root, masks = tmp_path / "bids", tmp_path / "masks"
    truth = write_dataset(root, "reverse-pe")
    mine = ndimage.binary_erosion(truth["mask"])
    path = masks / "sub-01/dwi/sub-01_desc-brain_mask.nii.gz"
    path.parent.mkdir(parents=True)
    affine = nb.load(root / "sub-01/dwi/sub-01_dir-AP_dwi.nii.gz").affine
    nb.Nifti1Image(mine.astype(np.uint8), affine).to_filename(path)
    (unit,) = collect(root, SelectionConfig(modalities=("dwi",))).units
    denoise = DenoiseConfig(strategy="mean", device="cpu")
    config = Config(
        root, tmp_path / "out", tmp_path / "work", "uuid", derivatives={"m": masks}, denoise=denoise
    )
    workflow = init_dwi_unit_wf(unit, config)
    workflow.base_dir = str(tmp_path / "work")
    workflow.run()
    folder = tmp_path / "out/sub-01/dwi"
    used = np.asarray(nb.load(folder / "sub-01_desc-brain_mask.nii.gz").dataobj) > 0
    assert (used & ~mine).sum() == 0 and used.sum() > 0.95 * mine.sum()
    sidecar = json.loads((folder / "sub-01_desc-brain_mask.json").read_text())
    assert "given by the user" in sidecar["Description"]


def test_mask_of_the_user_follows_the_head(tmp_path):
    """From the series that it lies on, by grid and name, to where the head lies in the others."""
    root, masks = tmp_path / "bids", tmp_path / "masks"
    write_dataset(root, "reverse-pe")
    second = nb.load(root / "sub-01/dwi/sub-01_dir-PA_dwi.nii.gz")
    coarse = np.diag([1.05 * VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    nb.save(nb.Nifti1Image(second.get_fdata(), coarse), second.get_filename())
    path = masks / "sub-01/dwi/sub-01_desc-brain_mask.nii.gz"
    path.parent.mkdir(parents=True)
    nb.Nifti1Image(np.ones(SHAPE, np.uint8), coarse).to_filename(path)
    (unit,) = collect(root, SelectionConfig(modalities=("dwi",))).units
    config = Config(root, tmp_path / "out", tmp_path / "work", "uuid", derivatives={"m": masks})
    workflow = init_dwi_unit_wf(unit, config)
    assert unit.images[0].entities["dir"] == "AP"
    owner, mask = (workflow.get_node(name) for name in ("masked_head", "mask"))
    assert owner.inputs.index == [1]
    assert workflow._graph.get_edge_data(owner, mask)["connect"] == [("out", "owner_file")]


def test_series_without_b0_gets_no_tensor(tmp_path):
    """It is denoised all the same; maps and their figure are left out."""
    root = tmp_path / "bids"
    write_dataset(root, "single")
    stem = str(root / "sub-01/dwi/sub-01_dwi")
    image = nb.load(f"{stem}.nii.gz")
    nb.save(image.slicer[..., 2:], f"{stem}.nii.gz")
    for extension in (".bval", ".bvec"):
        table = np.loadtxt(stem + extension, ndmin=2)
        np.savetxt(stem + extension, table[:, 2:], fmt="%g")
    (unit,) = collect(root, SelectionConfig(modalities=("dwi",))).units
    denoise = DenoiseConfig(strategy="mean", device="cpu")
    config = Config(root, tmp_path / "out", tmp_path / "work", "uuid", denoise=denoise)
    workflow = init_dwi_unit_wf(unit, config)
    workflow.base_dir = str(tmp_path / "work")
    workflow.run()
    assert (tmp_path / "out/sub-01/dwi/sub-01_desc-denoised_dwi.nii.gz").exists()
    assert not list((tmp_path / "out").rglob("*dwimap*"))


def test_notes_about_the_inputs_stand_in_the_results(tmp_path):
    """What --dry-run says of unused volumes and odd sidecars is not lost in a run."""
    write_dataset(tmp_path / "bids", "repeat")
    (unit,) = collect(tmp_path / "bids", SelectionConfig(modalities=("dwi",))).units
    unit = replace(unit, notes=("volumes without a partner are not used",))
    config = Config(tmp_path / "bids", tmp_path / "out", tmp_path / "work", "uuid")
    warnings = init_dwi_unit_wf(unit, config).get_node("outputs_wf.describe").inputs.warnings
    assert set(unit.notes) <= set(warnings)


def test_all_nodes_that_read_tables_have_the_threshold_asked_for(tmp_path):
    """--b0-threshold reaches preparation, denoising, tensors and figures."""
    workflow, _, _ = _workflow(tmp_path, "single", b0_threshold=20.0)
    readers = set()
    for name in workflow.list_node_names():
        names = workflow.get_node(name).inputs.copyable_trait_names()
        if {"bvec_file", "bvec_files", "bvecs"} & set(names) and "record_file" not in names:
            readers.add(name)
            assert workflow.get_node(name).inputs.b0_threshold == 20.0, name
    assert {"pick", "motion", "align", "denoise", "tensor_wf.fit_mean"} <= readers


def test_a_b0_of_opposite_phase_encoding_takes_the_distortion_out(tmp_path):
    """One series and a b0 without table: nearer to the truth than as acquired, and the sidecar says so."""
    truth = write_dataset(tmp_path / "bids", "reverse-pe")
    back = tmp_path / "bids/sub-01/dwi/sub-01_dir-PA_dwi.nii.gz"
    for extension in (".bval", ".bvec"):
        back.with_name(back.name.replace(".nii.gz", extension)).unlink()
    image = nb.load(back)
    data = np.asarray(image.dataobj)[..., 0]
    nb.Nifti1Image(data, image.affine).to_filename(back)
    selection = SelectionConfig(modalities=("dwi",))
    (unit,) = collect(tmp_path / "bids", selection).units
    folders = (tmp_path / "bids", tmp_path / "out", tmp_path / "work")
    config = Config(*folders, "uuid", selection=selection, denoise=DenoiseConfig("mean", device="cpu"))
    workflow = init_dwi_unit_wf(unit, config)
    workflow.base_dir = str(tmp_path / "work")
    workflow.config["execution"] = {"crashdump_dir": str(tmp_path), "stop_on_first_crash": "true"}
    workflow.run()
    out = tmp_path / "out/sub-01/dwi"
    inside = ndimage.binary_erosion(truth["mask"], iterations=1)
    acquired = nb.load(unit.images[0].path).get_fdata()
    corrected = nb.load(out / "sub-01_dir-AP_desc-mean_dwi.nii.gz").get_fdata()
    # Over the volumes, so that the noise does not hide the distortion.
    errors = [np.abs((data - truth["signal"]).mean(axis=-1))[inside].mean() for data in (acquired, corrected)]
    assert errors[1] < 0.6 * errors[0]
    sidecar = json.loads((out / "sub-01_dir-AP_desc-denoised_dwi.json").read_text())
    assert sidecar["DistortionCorrected"] is True and "PhaseEncodingDirection" not in sidecar
    # What corrects the raw-like series downstream would find no distortion left in it.
    left = replace(config, outputs=OutputConfig(raw_like_dir=tmp_path / "rawlike"))
    assert "distortion" not in init_dwi_unit_wf(unit, left).list_node_names()
