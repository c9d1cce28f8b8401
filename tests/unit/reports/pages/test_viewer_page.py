"""The viewer page and the ratings saved in it: what the files hold, and what a browser shows and does."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import time
from dataclasses import replace
from importlib import resources
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from browser import Page, find_browser
from nipype import Node
from PIL import Image

from n2a_bids.app.group import run_group
from n2a_bids.config import Config, OutputConfig
from n2a_bids.errors import ConfigError
from n2a_bids.interfaces.reportlets.viewer import ViewerImages
from n2a_bids.io.json import read_typed, record_text
from n2a_bids.record.viewer import ViewerRecord
from n2a_bids.reports.pages.participant import write_participant_reports
from n2a_bids.reports.records.ratings import read_ratings
from n2a_bids.viz.viewer import ViewerGroup, encode_groups

AFFINE = np.diag([4.0, 4, 4, 1])
AFFINE[:3, 3] = -80, -88, -72


@pytest.fixture(scope="module")
def record(head) -> ViewerRecord:
    """Two volumes: in the first the mean is twice the denoised image, in the other they agree."""
    truth, mask = head
    truth = truth.astype(np.float32)
    groups = [
        ViewerGroup(truth, 0.5 * truth, "b=1000, volume 1", truth + 1, np.full_like(truth, 3)),
        ViewerGroup(truth, truth, "b=0, volume 0"),
    ]
    return encode_groups(groups, mask, AFFINE)


@pytest.mark.parametrize("n_slices", [1, 36])
def test_single_slices_and_maps_of_several_echoes_are_shown(tmp_path, head, n_slices):
    """An image stays an image where it has one slice; of a map for each echo the first is shown."""
    truth, mask = (image[..., :36][..., 18 - n_slices // 2 :][..., :n_slices] for image in head)
    files = {"mean_file": truth, "denoised_file": 0.5 * truth, "noise_sd_file": np.stack([truth, truth], -1)}
    for name, image in {**files, "mask_file": mask}.items():
        nb.save(nb.Nifti1Image(image.astype(np.float32), AFFINE), tmp_path / f"{name}.nii")
    node = Node(ViewerImages(**{name: tmp_path / f"{name}.nii" for name in (*files, "mask_file")}), "view")
    node.base_dir = tmp_path
    shown = read_typed(ViewerRecord, Path(node.run().outputs.out_file))
    assert [image.name for image in shown.images] == ["mean", "denoised", "residual", "noise map"]


def write_unit(out: Path, label: str, record: ViewerRecord, run: str = "one") -> None:
    """What a run leaves of one T1w group; ``label`` such as ``sub-01_ses-a``."""
    subject = label.split("_")[0]
    anat = out / subject / "anat"
    (out / subject / "figures").mkdir(parents=True, exist_ok=True)
    anat.mkdir(parents=True, exist_ok=True)
    (anat / f"{label}_desc-denoised_figures.json").write_text(json.dumps({"run_uuid": run}))
    (out / subject / "figures" / f"{label}_desc-viewer_T1w.json").write_text(record_text(record))


def viewers(out: Path) -> list[str]:
    """Names of the viewer pages."""
    return sorted(path.name for path in out.rglob("*_viewer*.html"))


def test_the_library_is_what_the_note_says():
    """Checksum and licence texts belong to the bundle that is in the package."""
    folder = resources.files("n2a_bids").joinpath("data", "viewer")
    digest = hashlib.sha256(gzip.decompress(folder.joinpath("niivue.umd.js.gz").read_bytes())).hexdigest()
    assert digest in folder.joinpath("README.md").read_text()
    licences = folder.joinpath("LICENSES.txt").read_text()
    assert "BSD 2-Clause" in licences
    assert all(name in licences for name in ("gl-matrix", "fflate", "nifti-reader-js", "zarrita"))


def test_page_comes_and_goes_with_its_images(tmp_path, record):
    """A viewer is written beside the report, which links to it, and deleted when the images are gone."""
    write_unit(tmp_path, "sub-01", record)
    (report,) = write_participant_reports(tmp_path, "01", "one", OutputConfig())
    assert viewers(tmp_path) == ["sub-01_viewer.html"]
    assert 'href="sub-01_viewer.html"' in report.read_text()
    page = (tmp_path / "sub-01_viewer.html").read_text()
    assert "Copyright (c) 2021, Niivue" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    (tmp_path / "sub-01/figures/sub-01_desc-viewer_T1w.json").unlink()
    (report,) = write_participant_reports(tmp_path, "01", "one", OutputConfig())
    assert viewers(tmp_path) == []
    assert "_viewer" not in report.read_text()


def test_viewers_follow_the_reports(tmp_path, record):
    """Reports that are split by session or lie elsewhere take their viewers with them."""
    for session in ("a", "b"):
        write_unit(tmp_path, f"sub-01_ses-{session}", record)
    write_participant_reports(tmp_path, "01", "one", OutputConfig())
    assert viewers(tmp_path) == ["sub-01_viewer.html"]
    write_participant_reports(tmp_path, "01", "one", OutputConfig(sessions_in_a_report=1))
    assert viewers(tmp_path) == ["sub-01_ses-a_viewer.html", "sub-01_ses-b_viewer.html"]
    write_participant_reports(tmp_path, "01", "one", OutputConfig(report_level="subject"))
    assert (tmp_path / "sub-01" / "sub-01_viewer.html").is_file()
    assert viewers(tmp_path) == ["sub-01_viewer.html"]


def test_units_that_do_not_fit_get_a_page_of_their_own(tmp_path, record):
    """No page exceeds 15 MB: what is too much for one is split, and the pages link to each other."""
    padding = "A" * (7_000_000 - record.n_characters)
    large = replace(record, images=(*record.images, replace(record.images[0], nifti=padding)))
    for session in ("a", "b"):
        write_unit(tmp_path, f"sub-01_ses-{session}", large)
    write_participant_reports(tmp_path, "01", "one", OutputConfig())
    assert viewers(tmp_path) == ["sub-01_viewer-2.html", "sub-01_viewer.html"]
    assert all((tmp_path / name).stat().st_size < 15e6 for name in viewers(tmp_path))
    assert 'href="sub-01_viewer-2.html"' in (tmp_path / "sub-01_viewer.html").read_text()


def grey_of(page: Page, left: float, right: float) -> float:
    """Mean brightness of the middle of the stage, between two parts of its width."""
    box = page.box("#stage")
    picture = np.asarray(Image.open(io.BytesIO(page.picture())).convert("L"), dtype=float)
    rows = slice(int(box["y"] + 0.2 * box["height"]), int(box["y"] + 0.8 * box["height"]))
    return float(
        picture[rows, int(box["x"] + left * box["width"]) : int(box["x"] + right * box["width"])].mean()
    )


@pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome to open the page with")
def test_a_browser_shows_swipes_links_and_saves(tmp_path, record):
    """Clicks: crosshair in both images, swipe, other volumes, a rating that the group level reads."""
    write_unit(tmp_path / "out", "sub-01", record)
    write_participant_reports(tmp_path / "out", "01", "one", OutputConfig())
    with Page(tmp_path) as page:
        page.open(tmp_path / "out" / "sub-01_viewer.html")
        assert page.run("document.body.dataset.state") == "ready", page.errors
        # The mean is the brighter one, on the left side of the divider.
        page.choose("#plane", "0")
        page.drag("#divider", [(0.5, 0.5), (0.7, 0.5), (0.95, 0.5)], within="#stage")
        assert page.run("viewer.state.swipe") == pytest.approx(0.95, abs=0.01)
        before = grey_of(page, 0.4, 0.6)
        page.drag("#divider", [(0.5, 0.5), (0.2, 0.5), (0.05, 0.5)], within="#stage")
        after = grey_of(page, 0.4, 0.6)
        assert after > 10
        assert before > 1.5 * after
        # The crosshair follows a click in either image, and the values are those of the images.
        page.click("#stage", (0.45, 0.45))
        page.click('[data-layout="beside"]')
        page.click("#stage", (0.78, 0.55))
        places = page.run("Object.values(viewer.panes).map((pane) => Array.from(pane.nv.scene.crosshairPos))")
        assert places[0] == pytest.approx(places[1], abs=1e-4)
        assert not np.allclose(places[0], 0.5)
        words = page.run("document.querySelector('#values').textContent")
        bright, dark = (float(part.split()[-1]) for part in words.split(": ")[1].split(", "))
        assert dark == pytest.approx(bright / 2, rel=0.05)
        # The wheel scrolls through slices, in both images; the zoom keeps what is under the crosshair.
        page.turn_wheel("#stage", (0.25, 0.5), 1)
        positions = "Object.values(viewer.panes).map((pane) => pane.nv.scene.crosshairPos[2])"
        page.wait(f"{positions}.every((z) => Math.abs(z - {places[0][2]}) > 0.005)")
        scrolled = page.run(positions)
        assert scrolled[0] == pytest.approx(scrolled[1], abs=1e-4)
        page.choose("#zoom", "3")
        assert page.run("Object.values(viewer.panes).map((pane) => pane.nv.scene.pan2Dxyzmm[3])") == [3, 3]
        page.click("#reset")
        assert page.run("viewer.panes.left.nv.scene.pan2Dxyzmm[3]") == 1
        # Other images and volumes.
        page.choose("#right", "residual")
        page.wait("document.querySelector('#after b').textContent === 'residual'")
        page.choose("#group", "b=0, volume 0")
        page.wait("document.querySelector('#after b').textContent === 'denoised'")
        options = "[...document.querySelector('#right').options].map((one) => one.value)"
        assert page.run(options) == ["mean", "denoised"]
        page.run("document.activeElement.blur()")
        page.press("PageUp")
        moved = page.run("Array.from(viewer.panes.right.nv.scene.crosshairPos)")
        assert moved[2] > 0.5
        # A rating cannot be saved before it was given.
        assert page.run("document.querySelector('#save').disabled")
        page.choose("#quality", "3.5")
        page.click('#rating input[value="denoised"]')
        page.click('#rating input[value="mask"]')
        page.choose("#rater", "A. B.")
        page.choose("#comments", 'bright "spot"\nin <cortex>')
        page.click("#save")
        page.wait("document.querySelector('#saved').textContent.startsWith('Saved')")
        saved = page.downloads / "sub-01_T1w_AB_rating.json"
        wait_for(saved)
        assert page.errors == []
        assert all(address.startswith(("file:", "data:", "blob:")) for address in page.requests)
    saved.rename(tmp_path / "out" / saved.name)
    assert run_group(group_config(tmp_path / "out")) == 0
    table = (tmp_path / "out" / "group_ratings.tsv").read_text().splitlines()
    row = dict(zip(*(line.split("\t") for line in table), strict=True))
    assert (row["unit"], row["rating"], row["rater"], row["artifacts"]) == (
        "sub-01_T1w",
        "3.5",
        "A. B.",
        "mask",
    )
    assert (row["preferred"], row["rated_result"]) == ("denoised", "current")
    assert "in &lt;cortex&gt;" in (tmp_path / "out" / "group.html").read_text()


def wait_for(path: Path) -> None:
    """Until the browser has written a file."""
    for _ in range(200):
        if path.is_file():
            return
        time.sleep(0.05)
    raise TimeoutError(f"{path} was not saved; there are {list(path.parent.glob('*'))}")


def group_config(out: Path, ratings_dir: Path | None = None) -> Config:
    """Settings of the group level."""
    outputs = OutputConfig(ratings_dir=ratings_dir)
    return Config(out, out, out / "work", "run", analysis_level="group", outputs=outputs)


def test_ratings_of_all_raters_are_collected_and_broken_ones_named(tmp_path, record, capsys):
    """Numbers as text (MRIQC) are read; copies count once; what is no rating is named and harms nobody."""
    write_unit(tmp_path / "out", "sub-01", record, run="two")
    ratings = tmp_path / "ratings"
    ratings.mkdir()
    good = {"subject": "sub-01_T1w", "rating": "3.2", "artifacts": ["motion"], "run_uuid": "one", "date": "d"}
    (ratings / "a_rating.json").write_text(json.dumps(good))
    (ratings / "a_rating (1).json").write_text(json.dumps(good))
    (ratings / "b_rating.json").write_text(json.dumps({**good, "rater": "B", "rating": 1, "run_uuid": "two"}))
    (ratings / "c_rating.json").write_text("{")
    for number, wrong in enumerate((7, True, "good", None, "nan")):
        (ratings / f"{number}_rating.json").write_text(json.dumps({**good, "rating": wrong}))
    (ratings / "d_rating.json").write_text(json.dumps({"rating": 2, "subject": 5}))
    assert run_group(group_config(tmp_path / "out", ratings)) == 0
    lines = (tmp_path / "out" / "group_ratings.tsv").read_text().splitlines()
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    assert [(row["rater"], row["rating"], row["rated_result"]) for row in rows] == [
        ("n/a", "3.2", "replaced"),
        ("B", "1", "current"),
    ]
    said = capsys.readouterr().err
    assert said.count("_rating.json: expected") == 7
    assert "7 files could not be read" in (tmp_path / "out" / "group.html").read_text()
    assert set(rows[0]) <= set(json.loads((tmp_path / "out" / "group_columns.json").read_text()))
    with pytest.raises(ConfigError, match="--ratings-dir"):
        run_group(group_config(tmp_path / "out", tmp_path / "nowhere"))


def test_ratings_lie_beside_the_reports_wherever_these_are(tmp_path, record):
    """Without a folder that is named, those of dataset, participants and sessions are looked into."""
    write_unit(tmp_path, "sub-01", record)
    for number, folder in enumerate((tmp_path, tmp_path / "sub-01", tmp_path / "sub-01" / "ses-a")):
        folder.mkdir(exist_ok=True)
        rating = {"subject": "sub-01_T1w", "rating": 2, "rater": f"{number}"}
        (folder / f"sub-01_T1w_{number}_rating.json").write_text(json.dumps(rating))
    run_group(group_config(tmp_path))
    assert len((tmp_path / "group_ratings.tsv").read_text().splitlines()) == 4
    assert read_ratings([tmp_path / "absent"]) == ([], [])
