"""Workflows of diffusion series: their graphs, and whole runs on a tiny dataset."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from dwi_dataset import write_dataset
from scipy import ndimage

from n2a_bids.config import Config, DenoiseConfig, SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.workflows.dwi import init_dwi_unit_wf


def _workflow(tmp_path: Path, kind: str, strategy: str = "auto"):
    truth = write_dataset(tmp_path / "bids", kind)
    units = collect(tmp_path / "bids", SelectionConfig(modalities=("dwi",))).units
    config = Config(
        tmp_path / "bids",
        tmp_path / "out",
        tmp_path / "work",
        "uuid",
        denoise=DenoiseConfig(strategy=strategy, recipe="fast", device="cpu"),
    )
    assert len(units) == 1
    workflow = init_dwi_unit_wf(units[0], config)
    workflow.base_dir = str(tmp_path / "work")
    workflow.config["execution"] = {"crashdump_dir": str(tmp_path), "stop_on_first_crash": "true"}
    return workflow, units[0], truth


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


def test_split_is_synthesized_for_strategies_that_need_two_series(tmp_path):
    """Noise2Average gets two synthesized series of one scan; ``auto`` takes the scan as it is."""
    workflow, *_ = _workflow(tmp_path / "a", "single", "noise2average")
    assert "split" in workflow.list_node_names()
    workflow, *_ = _workflow(tmp_path / "b", "single")
    assert "split" not in workflow.list_node_names()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["single", "reverse-pe"])
def test_run_lowers_the_error_and_writes_all_derivatives(tmp_path, kind):
    """From BIDS to derivatives: closer to the truth than the mean, with tables, sidecars and figures."""
    workflow, _, truth = _workflow(tmp_path, kind)
    workflow.run()
    folder = tmp_path / "out" / "sub-01" / "dwi"
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
    figures = {path.name.split("desc-")[1] for path in (tmp_path / "out/sub-01/figures").glob("*.svg")}
    assert {"denoised_dwi.svg", "tensor_dwi.svg", "gradients_dwi.svg"} <= figures
    assert ("distortion_dwi.svg" in figures) is (kind == "reverse-pe")
