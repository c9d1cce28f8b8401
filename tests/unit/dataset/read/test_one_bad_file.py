"""Whatever is wrong with one participant is named, and stops no other."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.app.damaged_images import with_sound_images
from n2a_bids.app.work import ParticipantWork
from n2a_bids.cli.main import main
from n2a_bids.config import Config, SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.dataset.read.given_masks import find_brain_mask
from n2a_bids.dataset.write.description import write_dataset_files
from n2a_bids.dataset.write.raw_like.names import write_raw_like_files
from n2a_bids.denoising import inputs as denoise_inputs
from n2a_bids.errors import BIDSDataError
from n2a_bids.io import images

pytestmark = pytest.mark.usefixtures("own_environment")
HEALTHY = "sub-01"
IMAGE = "sub-02/anat/sub-02_run-1_T1w.nii.gz"


@pytest.fixture
def bids_dir(make_bids) -> Path:
    """Two participants with two small T1w runs and one diffusion series each."""
    rng = np.random.default_rng(0)
    files = {}
    for label in ("sub-01", "sub-02"):
        for run in "12":
            files[f"{label}/anat/{label}_run-{run}_T1w.nii.gz"] = rng.normal(100, 10, (6, 7, 8))
        series = rng.normal(100, 10, (6, 7, 8, 12))
        files[f"{label}/dwi/{label}_dwi.nii.gz"] = series
        files[f"{label}/dwi/{label}_dwi.bval"] = "0 " + "1000 " * 11
        directions = rng.normal(size=(3, 12))
        files[f"{label}/dwi/{label}_dwi.bvec"] = "\n".join(
            " ".join(map(str, row)) for row in directions / np.linalg.norm(directions, axis=0)
        )
    return make_bids(files)


def header(path: Path, offset: int, *values: float, code: str = "h") -> None:
    """Overwrite numbers of the header of a compressed NIfTI-1 file."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(f"<{len(values)}{code}", content, offset, *values)
    path.write_bytes(gzip.compress(bytes(content)))


def replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


SIDECARS = {
    "nested": b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "digits": b'{"EchoTime": ' + b"1" * 5000 + b"}",
    "half": b'{"EchoTime":',
    "list": b"[1, 2]",
    "empty": b"",
    "latin": b'{"a": "\xe9"}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
}
IMAGES = {
    "vox_offset NaN": lambda path: header(path, 108, float("nan"), code="f"),
    "vox_offset infinite": lambda path: header(path, 108, float("inf"), code="f"),
    "vox_offset negative": lambda path: header(path, 108, -1e9, code="f"),
    "dim4 of -1": lambda path: header(path, 40, 4, 6, 7, 8, -1),
    "dim4 of 0": lambda path: header(path, 40, 4, 6, 7, 8, 0),
    "dim0 of 8": lambda path: header(path, 40, 8),
    "dim0 of 0": lambda path: header(path, 40, 0),
    "dim0 of -3": lambda path: header(path, 40, -3),
    "dim1 of -6": lambda path: header(path, 40, 3, -6),
    "dim1 of 0": lambda path: header(path, 40, 3, 0),
    "all dimensions": lambda path: header(path, 40, 7, *(32767,) * 7),
    "data type": lambda path: header(path, 70, 12345),
    "magic": lambda path: header(path, 344, *b"xyz\0", code="b"),
    "slope NaN with intercept": lambda path: header(path, 112, 1.0, float("nan"), code="f"),
    "slope of -1": lambda path: header(path, 112, -1.0, code="f"),
    "affine NaN": lambda path: header(path, 280, *(float("nan"),) * 12, code="f"),
    "affine singular": lambda path: header(path, 280, *(0.0,) * 12, code="f"),
    "only 2D": lambda path: header(path, 40, 2, 42, 8),
    "two volumes": lambda path: header(path, 40, 4, 6, 7, 4, 2),
    "folder": lambda path: replace(path, Path.mkdir),
    "pipe": lambda path: replace(path, os.mkfifo),
    "device": lambda path: replace(path, lambda p: p.symlink_to("/dev/zero")),
    "link to nothing": lambda path: replace(path, lambda p: p.symlink_to("nowhere")),
    "link to itself": lambda path: replace(path, lambda p: p.symlink_to(p.name)),
    "0 bytes": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"no image" * 100),
    "not compressed": lambda path: path.write_bytes(gzip.decompress(path.read_bytes())),
    "ends in the header": lambda path: path.write_bytes(gzip.compress(b"\x5c\x01\0\0" + b"\0" * 100)),
    "another format": lambda path: path.write_bytes(
        gzip.compress(nb.MGHImage(np.zeros((3, 3, 3), np.float32), np.eye(4)).to_bytes())
    ),
}


def listed(bids_dir: Path, capsys, *options: str) -> tuple[int, str]:
    status = main([str(bids_dir), str(bids_dir.parent / "out"), "participant", "--dry-run", *options])
    return status, capsys.readouterr().out


@pytest.mark.parametrize("name", [*SIDECARS, *IMAGES])
def test_the_healthy_participant_is_listed_and_the_bad_file_named(bids_dir, capsys, name):
    """A broken sidecar, header or file of one participant."""
    path = bids_dir / IMAGE
    if name in SIDECARS:
        path.with_name("sub-02_run-1_T1w.json").write_bytes(SIDECARS[name])
    else:
        IMAGES[name](path)
    status, text = listed(bids_dir, capsys, "--modalities", "T1w")
    assert status == 0
    assert "sub-01_T1w  [T1w repetitions]" in text
    assert "sub-02_run-1_T1w" in text.partition("annot be used")[2]


@pytest.mark.parametrize("name", IMAGES)
def test_a_bad_diffusion_series_harms_no_other(bids_dir, capsys, name):
    """Headers of series are read to pair them."""
    IMAGES[name](bids_dir / "sub-02/dwi/sub-02_dwi.nii.gz")
    if name in ("only 2D", "two volumes"):
        return
    status, text = listed(bids_dir, capsys, "--modalities", "dwi")
    assert status == 0
    assert "sub-01_dwi  [" in text
    assert "sub-02_dwi.nii.gz" in text.partition("annot be used")[2]


@pytest.mark.parametrize(
    "key", ["EchoTime", "RepetitionTime", "PhaseEncodingDirection", "SkullStripped", "X"]
)
@pytest.mark.parametrize(
    "value", ["1e400", "-1e400", "NaN", "1" + "0" * 400, '"text"', "[[1]]", "null", '{"a": 1}', "true"]
)
def test_odd_values_stop_nothing(bids_dir, capsys, key, value):
    """Values that no scanner writes, in one of two runs, in a series and for all of the dataset."""
    for name in ("sub-02/anat/sub-02_run-1_T1w.json", "sub-02/dwi/sub-02_dwi.json", "sub-02/sub-02_T1w.json"):
        (bids_dir / name).write_text(f'{{"{key}": {value}, "EchoTime2": 1}}')
    status, text = listed(bids_dir, capsys)
    assert status == 0
    assert {"sub-01_T1w", "sub-02_T1w", "sub-01_dwi", "sub-02_dwi"} <= set(text.split())


ODD_NAMES = (
    *("sub-02_run-²_T1w.nii.gz", "sub-02_run-٣_T1w.nii.gz", "sub-02_run-1\n_T1w.nii.gz"),
    *("sub-02_acq-é_T1w.nii.gz", "sub-02_acq-\x1b[31m_T1w.nii.gz", "sub-02_acq-a b_T1w.nii.gz"),
    *("sub-02_acq-\udcff_T1w.nii.gz", "sub-02_acq-_T1w.nii.gz", "sub-02__T1w.nii.gz", "sub-02_T1w.nii.gz\n"),
    *("sub-02_run-1_T1w.nii.gz.nii.gz", "sub-02_run-1_T1w.NII.GZ", "sub-02_run-1_t1w.nii.gz"),
    *("sub-02_run-1_T1w (1).nii.gz", "sub-02_run-1_T1w-copy.nii.gz"),
    *("sub-02_run-1_run-2_T1w.nii.gz", "sub-_T1w.nii.gz", "sub-03_T1w.nii.gz", "sub-02_x_T1w.nii"),
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_stop_nothing_and_are_named(bids_dir, capsys, name):
    """Labels are ASCII letters and digits; others are shown so that every terminal can show them."""
    os.rename(bids_dir / IMAGE, os.fsencode(bids_dir / "sub-02/anat" / name))
    status, text = listed(bids_dir, capsys, "--modalities", "T1w")
    assert status == 0
    assert "sub-01_T1w  [T1w repetitions]" in text
    broken = text.partition("Cannot be used:")[2]
    assert "rename" in broken
    assert all(character.isprintable() for character in text.replace("\n", ""))
    text.encode("utf-8")


@pytest.mark.parametrize("table", ["bval", "bvec"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_table_that_is_no_file_is_named_and_not_waited_for(bids_dir, capsys, table, make):
    """A pipe would keep all participants waiting, and a device fill the memory."""
    replace(bids_dir / f"sub-02/dwi/sub-02_dwi.{table}", make)
    status, text = listed(bids_dir, capsys, "--modalities", "dwi")
    assert status == 0
    assert "sub-01_dwi  [" in text
    assert f"sub-02_dwi.{table}" in text.partition("annot be used")[2]


@pytest.mark.parametrize("folder", ["sub-02_copy", "sub-é", "sub-", "sub-² (1)", "sub-x\n", "sub-\udcff"])
def test_odd_participants_stop_nothing_and_are_named(bids_dir, capsys, folder):
    """Also in the table of a run."""
    os.rename(bids_dir / "sub-02", os.fsencode(bids_dir / folder))
    status, text = listed(bids_dir, capsys)
    assert status == 0
    assert "sub-01_T1w  [" in text and "sub-01_dwi  [" in text
    assert "rename the folder" in text.partition("Cannot be used:")[2]
    text.encode("utf-8")


@pytest.mark.parametrize(
    "name", ["layout_config.json", "participants.tsv", ".bidsignore", "participants.json"]
)
@pytest.mark.parametrize("content", [b"{broken", b"\xff\xfe\0", b"[" * 100_000, None])
def test_other_files_of_the_dataset_are_not_needed(bids_dir, capsys, name, content):
    """Broken, not text, or folders: nothing of them is read."""
    (bids_dir / name).mkdir() if content is None else (bids_dir / name).write_bytes(content)
    status, text = listed(bids_dir, capsys)
    assert status == 0
    assert {"sub-01_T1w", "sub-02_T1w", "sub-01_dwi", "sub-02_dwi"} <= set(text.split())


def test_links_in_a_circle_stop_nothing(bids_dir, capsys):
    """Participants, sessions and folders that are links to themselves or to what is above them."""
    (bids_dir / "sub-03").symlink_to("sub-03")
    (bids_dir / "sub-04").mkdir()
    (bids_dir / "sub-04/anat").symlink_to("../sub-04")
    (bids_dir / "sub-02/ses-1").symlink_to("ses-1")
    (bids_dir / "sub-02/ses-2").symlink_to("../sub-02")
    status, text = listed(bids_dir, capsys)
    assert status == 0
    assert "sub-01_T1w  [" in text and "sub-02_T1w  [" in text


def test_of_three_runs_the_two_sound_ones_are_a_group(bids_dir):
    """What is broken is left out before images are grouped."""
    anat = bids_dir / "sub-02/anat"
    (anat / "sub-02_run-3_T1w.nii.gz").write_bytes((bids_dir / IMAGE).read_bytes())
    header(bids_dir / IMAGE, 40, 8)
    found = collect(bids_dir, SelectionConfig(modalities=("T1w",)))
    assert [len(unit.images) for unit in found.units] == [2, 2]
    assert [item.path.name for item in found.excluded if item.is_error] == ["sub-02_run-1_T1w.nii.gz"]


def test_an_image_that_is_not_denoised_need_not_be_sound(bids_dir):
    """A lone T1w with a broken header is no failure: there is nothing to do with it."""
    (bids_dir / "sub-02/anat/sub-02_run-2_T1w.nii.gz").unlink()
    header(bids_dir / IMAGE, 40, 8)
    found = collect(bids_dir, SelectionConfig(modalities=("T1w",)))
    assert [unit.label for unit in found.units] == ["sub-01_T1w"]
    assert not any(item.is_error for item in found.excluded)


ODD_DESCRIPTIONS = (
    {},
    {"Name": ["a"], "BIDSVersion": 1, "GeneratedBy": "x", "DatasetDOI": 3, "License": {}},
    {"Name": "a\nb\x1b \ud800", "License": "\ud800", "DatasetDOI": "\ud800", "GeneratedBy": [1, None, {}]},
)


@pytest.mark.parametrize("description", ODD_DESCRIPTIONS)
def test_odd_descriptions_are_taken(bids_dir, tmp_path, description):
    """What the output says of the dataset is text, whatever the dataset says of itself."""
    (bids_dir / "dataset_description.json").write_text(json.dumps(description))
    assert collect(bids_dir, SelectionConfig()).units
    assert not write_dataset_files(tmp_path / "out", bids_dir, {}, environ={})
    write_raw_like_files(tmp_path / "raw", bids_dir)
    for folder in ("out", "raw"):
        written = json.loads((tmp_path / folder / "dataset_description.json").read_text(encoding="utf-8"))
        assert written["Name"].isprintable()
        (tmp_path / folder / "README.md").read_text(encoding="utf-8")


def test_a_run_denoises_what_is_left_of_damaged_images(bids_dir, tmp_path):
    """Voxels are read before anything is computed: of three runs the two whole ones are a group."""
    anat = bids_dir / "sub-02/anat"
    whole = (bids_dir / IMAGE).read_bytes()
    (anat / "sub-02_run-3_T1w.nii.gz").write_bytes(whole)
    (bids_dir / IMAGE).write_bytes(whole[: len(whole) // 2])
    series = bids_dir / "sub-02/dwi/sub-02_dwi.nii.gz"
    series.write_bytes(series.read_bytes()[:-9])
    config = Config(bids_dir, tmp_path / "out", tmp_path / "work", "run")
    found = collect(bids_dir, config.selection)
    work = [ParticipantWork.of(label, found) for label in ("01", "02")]
    healthy, sick = with_sound_images(work, config)
    assert healthy.units == work[0].units and healthy.checked
    assert [[image.path.name for image in unit.images] for unit in sick.units] == [
        ["sub-02_run-2_T1w.nii.gz", "sub-02_run-3_T1w.nii.gz"]
    ]
    assert {item.path.name for item in sick.excluded if item.is_error} == {Path(IMAGE).name, series.name}
    assert sick.outcome([]).status == "failed"
    unread = dataclasses.replace(config, selection=SelectionConfig(skip_validation=True))
    assert with_sound_images(work, unread) == work


def _series(folder: Path, name: str, data: np.ndarray, phase_encoding: str = "j-") -> Path:
    """A diffusion series of 4 mm voxels, its first volumes without weighting, with table and sidecar."""
    folder.mkdir(parents=True, exist_ok=True)
    stem, n_volumes = folder / f"sub-03_{name}", data.shape[-1]
    nb.Nifti1Image(data.astype(np.float32), np.diag([-4.0, 4, 4, 1])).to_filename(f"{stem}.nii.gz")
    Path(f"{stem}.json").write_text(json.dumps({"PhaseEncodingDirection": phase_encoding}))
    if n_volumes > 1:
        directions = np.random.default_rng(0).standard_normal((3, n_volumes))
        directions /= np.linalg.norm(directions, axis=0)
        directions[:, :2] = 0
        np.savetxt(f"{stem}.bval", [1000 * directions.any(axis=0)], fmt="%d")
        np.savetxt(f"{stem}.bvec", directions, fmt="%.6f")
    return Path(f"{stem}.nii.gz")


@pytest.mark.parametrize("fault", ["noise", "aborted", "map"])
def test_a_series_without_brain_or_volumes_or_with_a_map_does_not_stop_those_that_repeat_it(
    bids_dir, tmp_path, fault
):
    """Not even as the first, which would be the reference; the b0 that shows the distortion stays theirs."""
    folder, rng = bids_dir / "sub-03/dwi", np.random.default_rng(1)
    radius = np.sqrt((np.stack(np.meshgrid(*(np.linspace(-1.7, 1.7, 44),) * 3)) ** 2).sum(axis=0))
    heads = [
        100 * (radius < 1)[..., None] + np.abs(rng.standard_normal((*radius.shape, 9))) for _ in range(3)
    ]
    heads[0] = np.abs(rng.standard_normal(heads[0].shape)) if fault == "noise" else heads[0]
    heads[0][..., 8] *= {"noise": 1.0, "aborted": 0.0, "map": 0.3}[fault]
    bad, *good = [_series(folder, f"run-{run}_dwi", data) for run, data in enumerate(heads, start=1)]
    if fault == "map":
        for series in (bad, *good):
            table = Path(str(series).replace(".nii.gz", ".bval"))
            table.write_text(" ".join((*table.read_text().split()[:8], "0")))
    back = _series(folder, "dir-PA_dwi", heads[1][..., :1], "j")
    config = Config(bids_dir, tmp_path / "out", tmp_path / "work", "run")
    (item,) = with_sound_images([ParticipantWork.of("03", collect(bids_dir, config.selection))], config)
    (unit,) = item.units
    assert [image.path for image in unit.images] == good and unit.reversed_b0.path == back
    (excluded,) = (item for item in item.excluded if item.is_error)
    assert excluded.path == bad and excluded.reason.startswith(f"{bad}: expected ")
    assert ("brain" if fault == "noise" else "volume 8 ") in excluded.reason


@pytest.mark.parametrize("shape", [(1600, 1600, 1600), (32767, 32767, 32767)])
def test_an_image_that_no_memory_holds_is_named_before_it_is_loaded(bids_dir, capsys, shape):
    """By its header: the gigabytes, those there are, and what to do; the participant's other runs go on."""
    whole = (bids_dir / IMAGE).read_bytes()
    (bids_dir / "sub-02/anat/sub-02_run-3_T1w.nii.gz").write_bytes(whole)
    header(bids_dir / IMAGE, 40, 3, *shape)
    status, text = listed(bids_dir, capsys, "--modalities", "T1w", "--mem", "8")
    assert status == 0
    assert "sub-01_T1w  [" in text and "sub-02_T1w  [" in text
    needed_gb = 8 * np.prod(shape, dtype=float) / 1024**3
    found = " ".join(text.partition("Cannot be used:")[2].split())
    assert f"the 8.0 GB of memory that may be used, found some that take {needed_gb:.1f} GB" in found
    assert "--mem" in found


def test_images_that_fit_alone_and_not_together_are_named(bids_dir, capsys):
    """A series of many volumes, and a group of many runs."""
    header(bids_dir / "sub-02/dwi/sub-02_dwi.nii.gz", 40, 4, 600, 700, 800, 12)
    for run in "12":
        header(bids_dir / f"sub-02/anat/sub-02_run-{run}_T1w.nii.gz", 40, 3, 600, 700, 800)
    _, text = listed(bids_dir, capsys, "--mem", "4")
    found = " ".join(text.partition("Cannot be used:")[2].split())
    assert "sub-02_T1w: expected 2 images" in found
    assert "sub-01_T1w  [" in text and "sub-01_dwi  [" in text and "sub-02_T1w  [" not in text


def test_loading_refuses_what_the_memory_cannot_hold(bids_dir, monkeypatch):
    """Masks and images given without a dataset, too: nothing is allocated."""
    path = bids_dir / IMAGE
    header(path, 40, 3, 1600, 1600, 1600)
    monkeypatch.setattr(images, "available_memory_gb", lambda: 12.0)
    with pytest.raises(BIDSDataError, match=r"run-1_T1w.*the 12\.0 GB.*1600.*take 15\.3 GB"):
        images.load(path)
    job = denoise_inputs.DenoiseJob((path, path), path)
    with pytest.raises(BIDSDataError, match=r"the 12\.0 GB.*2 images that take 61\.0 GB"):
        denoise_inputs.load_repetitions(job)


BAD_MASKS = [name for name in IMAGES if not name.startswith(("slope", "data type"))]


@pytest.mark.parametrize("name", BAD_MASKS)
def test_a_bad_mask_of_one_participant_is_named(bids_dir, tmp_path, name):
    """In derivatives given by the user: an error of that participant, never of the run, and no waiting."""
    masks = tmp_path / "masks"
    for label in ("01", "02"):
        target = masks / f"sub-{label}/anat/sub-{label}_desc-brain_mask.nii.gz"
        target.parent.mkdir(parents=True)
        target.write_bytes((bids_dir / IMAGE).read_bytes())
    IMAGES[name](target)
    units = collect(bids_dir, SelectionConfig(modalities=("T1w",))).units
    assert find_brain_mask({"m": masks}, units[0]) is not None
    message = target.name
    try:
        assert find_brain_mask({"m": masks}, units[1]) in (target, None)
    except BIDSDataError as error:
        message = str(error)
    assert target.name in message and "\n" not in message


RECORDS = (
    *("[]", "{", '{"chosen": [1]}', '{"warnings": 5}', '{"sources": 5, "chosen": "x"}'),
    *('{"equivalent_averages": {"a": 1}, "noise_sd_mean": "x"}', "[" * 100_000, '{"chosen": {"name": []}}'),
)


@pytest.mark.parametrize("content", RECORDS)
def test_broken_records_of_one_participant_spoil_no_group(bids_dir, tmp_path, capsys, content):
    """The others are in the table; what is unreadable is named; folders that are not ours are passed over."""
    out = tmp_path / "out"
    for label in ("01", "02"):
        record = out / f"sub-{label}/anat/sub-{label}_desc-denoised_figures.json"
        record.parent.mkdir(parents=True)
        record.write_text('{"noise_sd_mean": 2.0}' if label == "01" else content)
    (out / "sub-02/log/2026").mkdir(parents=True)
    (out / "sub-02/log/2026/units.json").write_text('{"units": [[1], 3], "without_sources": 7}')
    (out / "sub-03").symlink_to("sub-03")
    os.mkdir(os.fsencode(out / "sub-\udcff"))
    status = main([str(bids_dir), str(out), "group"])
    text = capsys.readouterr()
    rows = (out / "group_T1w.tsv").read_text().splitlines()
    assert rows[1].startswith("sub-01\t")
    assert len(rows) == 3 or ("sub-02" in text.err and status == 1)


@pytest.mark.parametrize("name", ["sub-02", "sub-02/anat", "sub-02/ses-1", "sub-02/ses-1/dwi"])
def test_a_folder_that_cannot_be_looked_into_stops_no_other(bids_dir, capsys, monkeypatch, name):
    """It is named, and pybids, which stops at such a folder, is kept out of it."""
    (bids_dir / "sub-02/ses-1/dwi").mkdir(parents=True)
    if os.geteuid() == 0:
        # Nothing is closed to root.
        monkeypatch.setattr(os, "access", lambda path, *mode, **options: Path(path) != bids_dir / name)
    else:
        (bids_dir / name).chmod(0)
    status, text = listed(bids_dir, capsys)
    (bids_dir / name).chmod(0o755)
    assert status == 0
    assert "sub-01_T1w  [" in text and "sub-01_dwi  [" in text
    assert f"{bids_dir / name}: expected a folder that can be read" in " ".join(text.split())
