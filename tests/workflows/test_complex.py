"""Complex images from files to derivatives."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from complex_dataset import write_complex_dwi, write_complex_t1w
from scipy import ndimage
from small_dataset import head_phantom, write_mask

from n2a_bids.config import Config, DenoiseConfig, OutputConfig, SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.workflows.outputs import init_outputs_wf
from n2a_bids.workflows.participant import init_participant_wf

pytestmark = pytest.mark.slow


def _run(root: Path, tmp_path: Path, **settings) -> Path:
    config = Config(
        root,
        tmp_path / "out",
        tmp_path / "work",
        "uuid",
        denoise=DenoiseConfig(strategy="mean", device="cpu"),
        outputs=OutputConfig(complex_output=True),
        **settings,
    )
    units = collect(root, config.selection).units
    workflow = init_participant_wf("01", units, config)
    workflow.base_dir = str(tmp_path / "work")
    workflow.config["execution"] = {"crashdump_dir": str(tmp_path), "stop_on_first_crash": "true"}
    workflow.run()
    return tmp_path / "out" / "sub-01"


def _values(folder: Path, name: str) -> np.ndarray:
    return np.asarray(nb.load(folder / f"sub-01_{name}.nii.gz").dataobj, np.float32)


def test_t1w_is_averaged_without_a_floor(tmp_path):
    """Air of the mean is zero on average, in any form of the parts; the complex output has the phase."""
    truth = write_complex_t1w(tmp_path / "bids", ["cartesian", "rad", "levels"])
    write_mask(tmp_path / "masks", "01")
    folder = _run(tmp_path / "bids", tmp_path, derivatives={"masks": tmp_path / "masks"}) / "anat"
    image = _values(folder, "desc-denoised_T1w")
    air = ~ndimage.binary_dilation(truth > 10, iterations=2)
    assert abs(image[air].mean()) < 1.5, "magnitudes: 1.25 times the SD of 60"
    assert image[air].std() == pytest.approx(60 / np.sqrt(3), rel=0.05)
    inside = head_phantom()[1]
    assert np.corrcoef(image[inside], truth[inside])[0, 1] > 0.95
    sidecar = json.loads((folder / "sub-01_desc-denoised_T1w.json").read_text())
    assert sidecar["RealValued"] is True
    assert [source.rsplit("_", 2)[1] for source in sidecar["Sources"]] == [
        *("part-real", "part-imag", "part-mag", "part-phase", "part-mag", "part-phase")
    ]
    magnitude, phase = (_values(folder, f"part-{part}_desc-denoised_T1w") for part in ("mag", "phase"))
    assert np.allclose(magnitude, np.abs(image))
    assert json.loads((folder / "sub-01_part-phase_desc-denoised_T1w.json").read_text())["Units"] == "rad"
    reference = json.loads((folder / "sub-01_desc-alignment_figures.json").read_text())["reference"]
    run = int(reference.split("run-")[1][0])
    assert run in (1, 2, 3)
    if run != 1:
        acquired = _values(tmp_path / "bids" / "sub-01" / "anat", f"run-{run}_part-phase_T1w")
        acquired = acquired if run == 2 else (acquired - 2048) / 2048 * np.pi
        assert np.cos(phase - acquired)[inside].mean() > 0.95


def test_series_are_averaged_without_a_floor(tmp_path):
    """Two runs of unlike form, a phase in each volume and slice: no bias where magnitudes have one."""
    truth = write_complex_dwi(tmp_path / "bids", ["levels", "cartesian"])
    folder = _run(tmp_path / "bids", tmp_path) / "dwi"
    image = _values(folder, "desc-denoised_dwi")
    dark = ndimage.binary_erosion(truth["mask"])[..., None] & (truth["signal"] < 40)
    assert np.mean(image[dark] - truth["signal"][dark]) == pytest.approx(0, abs=2.0), "noise SD 20"
    sidecar = json.loads((folder / "sub-01_desc-denoised_dwi.json").read_text())
    assert sidecar["RealValued"] is True
    assert len(sidecar["Sources"]) == 4
    magnitude, phase = (_values(folder, f"part-{part}_desc-denoised_dwi") for part in ("mag", "phase"))
    assert np.allclose(magnitude, np.abs(image))
    levels = _values(tmp_path / "bids" / "sub-01" / "dwi", "run-1_part-phase_dwi")
    acquired = (levels - 2048) / 2048 * np.pi
    bright = truth["signal"] > 100
    assert np.cos(phase - acquired)[bright].mean() > 0.9


def test_a_series_in_place_keeps_its_phase(tmp_path):
    """``--dwi-in-place`` with the complex output: the phase is that of each volume as acquired."""
    truth = write_complex_dwi(tmp_path / "bids", ["rad"])
    folder = _run(tmp_path / "bids", tmp_path, selection=SelectionConfig(dwi_in_place=True)) / "dwi"
    files = sorted(folder.glob("*_part-phase*_dwi.nii.gz"))
    assert len(files) == 1
    phase = np.asarray(nb.load(files[0]).dataobj, np.float32)
    acquired = _values(tmp_path / "bids" / "sub-01" / "dwi", "part-phase_dwi")
    assert np.cos(phase - acquired)[truth["signal"] > 100].mean() > 0.9


@pytest.mark.parametrize(
    ("complex_output", "ignore_phase", "has_magnitudes", "deleted"),
    [
        (False, False, False, {"mag", "phase"}),
        (False, False, True, {"phase"}),
        (False, True, False, {"phase"}),
        (True, False, False, set()),
    ],
)
def test_magnitude_and_phase_do_not_outlive_their_group(
    tmp_path, complex_output, ignore_phase, has_magnitudes, deleted
):
    """Written anew without the option, the group takes them along; a magnitude denoised as such stays."""
    write_complex_t1w(tmp_path / "bids", ["rad", "rad"])
    config = Config(
        tmp_path / "bids",
        tmp_path / "out",
        tmp_path / "work",
        "uuid",
        selection=SelectionConfig(ignore_phase=ignore_phase),
        outputs=OutputConfig(complex_output=complex_output),
    )
    if has_magnitudes:
        anat = tmp_path / "out" / "sub-01" / "anat"
        anat.mkdir(parents=True)
        (anat / "sub-01_part-mag_desc-denoised_figures.json").write_text("{}")
    (unit,) = collect(config.bids_dir, config.selection).units
    write = init_outputs_wf(unit, config).get_node("write")
    superseded = {Path(path) for path in write.inputs.superseded}
    of_parts = {path.name for path in superseded if "_part-" in path.name and "_desc-denoised_" in path.name}
    assert of_parts == {
        f"sub-01_part-{part}_desc-denoised_T1w.{end}" for part in deleted for end in ("nii.gz", "json")
    }
    assert not superseded & {Path(path) for paths in write.inputs.targets.values() for path in paths}
    assert not any(path.name.endswith("desc-denoised_T1w.svg") for path in superseded), "drawn anew"
