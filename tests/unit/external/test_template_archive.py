"""Templates through TemplateFlow's client: in a child, into a folder of ours, and only when asked."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from n2a_bids.dataset.templates import archive as template_archive
from n2a_bids.dataset.templates.archive import provide_templates
from n2a_bids.dataset.templates.brain import find_template
from n2a_bids.dataset.templates.regions import find_atlas
from n2a_bids.errors import ConfigError
from n2a_bids.external.template_archive import fetch_regions, fetch_template

_CLIENT = """
import sys
from templateflow import api, conf
conf._cache.config.s3_root = sys.argv[1]
from n2a_bids.external.template_archive import fetch_regions, fetch_template
for name in sys.argv[2:]:
    name, *told = name.split(":")
    entities = dict(one.split("-") for one in told)
    try:
        print(*(fetch_regions(name, entities, api) if told else fetch_template(name, api)), sep="\\n")
    except LookupError as error:
        print(error)
"""


_ATLAS = "atlas-Schaefer2018_desc-100Parcels7Networks"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def server(tmp_path):
    """Address of an archive that has the two files of one template."""
    folder = tmp_path / "archive" / "tpl-MNI152NLin2009cAsym"
    folder.mkdir(parents=True)
    for rest in ("T1w", "desc-brain_mask", f"{_ATLAS}_dseg"):
        (folder / f"tpl-MNI152NLin2009cAsym_res-01_{rest}.nii.gz").write_bytes(rest.encode())
    (folder / f"tpl-MNI152NLin2009cAsym_{_ATLAS}_dseg.tsv").write_bytes(b"index\tname\n1\tV1\n")
    handler = partial(_Quiet, directory=str(folder.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


# The client indexes 2,540 names with pybids first.
@pytest.mark.proof
def test_client_fetches_image_and_mask_and_names_what_is_like_a_wrong_name(tmp_path, server):
    """The real client, and a server on this machine; all that it writes is in the home that it is given."""
    home, archive = tmp_path / "home", tmp_path / "own"
    home.mkdir()
    environ = {**os.environ, "HOME": str(home), "TEMPLATEFLOW_HOME": str(archive)}
    environ.pop("XDG_CACHE_HOME", None)
    regions = f"MNI152NLin2009cAsym:{_ATLAS.replace('_', ':')}"
    names = ["MNI152NLin2009cAsym", "MNI152Lin2009", regions, "MNI152NLin2009cAsym:atlas-Schaefer2018"]
    command = [sys.executable, "-W", "ignore", "-c", _CLIENT, server, *names]
    child = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    image, mask, refusal, labels, table, others = child.stdout.splitlines()
    assert (Path(image).read_bytes(), Path(mask).read_bytes()) == (b"T1w", b"desc-brain_mask")
    assert (Path(image), Path(mask)) == find_template("MNI152NLin2009cAsym", archive)
    assert "no template MNI152Lin2009, but MNI152" in refusal
    found = find_atlas(regions, home=archive)
    assert (found.labels, found.names, found.template) == (Path(labels), Path(table), Path(image))
    assert "no segmentation atlas-Schaefer2018 of MNI152NLin2009cAsym, but tpl-" in others
    assert not list(home.rglob("*"))


def test_template_on_disk_is_taken_without_the_client(tmp_path, monkeypatch):
    """Neither a child nor a file more where the template is there, in the user's archive or in ours."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "users"))
    for home in ("own", "users"):
        folder = tmp_path / home / "tpl-Mine"
        folder.mkdir(parents=True)
        for rest in ("T1w", "desc-brain_mask"):
            (folder / f"tpl-Mine_{rest}.nii.gz").write_bytes(b"image")
        assert provide_templates("Mine", None, tmp_path / "own") == tmp_path / home
    assert len(list(tmp_path.rglob("*.nii.gz"))) == 4


def test_failed_download_is_an_error_that_tells_what_to_do(tmp_path, monkeypatch):
    """No traceback: the name, the reason, and the way out."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "users"))
    asked = []

    def child(module, arguments, *, variables):
        asked.append((module, arguments, variables["TEMPLATEFLOW_HOME"]))
        raise RuntimeError(f"{module} ended with status 1; it wrote:\nTemplateFlow has no template NoSuch")

    monkeypatch.setattr(template_archive, "run_module", child)
    with pytest.raises(
        ConfigError, match=r"--mask-template NoSuch: .*no template NoSuch; .*TEMPLATEFLOW_HOME"
    ):
        provide_templates("NoSuch", None, tmp_path / "own")
    assert asked == [("n2a_bids.external.template_archive", ["NoSuch"], str(tmp_path / "own"))]
    assert importlib.util.find_spec(asked[0][0]) is not None
    assert not list(tmp_path.iterdir())


class _Archive:
    """TemplateFlow's client, as far as it is used: one file is a path, none an empty list."""

    files: ClassVar = {(1, "T1w"): Path("a_T1w.nii.gz"), (None, "mask"): Path("a_mask.nii.gz")}

    def templates(self) -> list[str]:
        return ["MNI152Lin", "Whole"]

    def get(self, template: str, **entities: object) -> list[Path] | Path:
        return self.files.get((entities["resolution"], entities["suffix"]), [])


def test_wrong_names_and_missing_files_are_told(monkeypatch):
    """A name like it is proposed; a template without mask is of no use."""
    assert fetch_template("Whole", _Archive()) == [Path("a_T1w.nii.gz"), Path("a_mask.nii.gz")]
    with pytest.raises(LookupError, match="no template MNI152Linn, but MNI152Lin"):
        fetch_template("MNI152Linn", _Archive())
    monkeypatch.delitem(_Archive.files, (None, "mask"))
    with pytest.raises(LookupError, match="0 files for the brain mask of Whole"):
        fetch_template("Whole", _Archive())


class _Segmentations:
    """TemplateFlow's client with one segmentation at 2 mm, whose table is for all its thresholds."""

    def get(self, template: str, **entities: object) -> list[Path] | Path:
        if entities["atlas"] != "HOSPA" or entities["suffix"] != "dseg":
            return []
        if entities["extension"] == ".tsv":
            return Path("a_dseg.tsv") if entities["desc"] is None else []
        return Path("a_dseg.nii.gz") if (entities["resolution"], entities["desc"]) == (2, "th25") else []

    def ls(self, template: str, **entities: object) -> list[Path]:
        return [Path("tpl-Whole_atlas-HOSPA_desc-th25_dseg.nii.gz")]


def test_regions_come_with_the_table_that_names_them():
    """Of the resolutions the finest there is; what is not there is answered with what is."""
    wanted = {"atlas": "HOSPA", "desc": "th25"}
    found = fetch_regions("Whole", wanted, _Segmentations())
    assert found == [Path("a_dseg.nii.gz"), Path("a_dseg.tsv")]
    with pytest.raises(LookupError, match=r"no segmentation atlas-X of Whole, but tpl-Whole_atlas-HOSPA"):
        fetch_regions("Whole", {"atlas": "X"}, _Segmentations())
    assert fetch_regions("Whole", wanted | {"res": "02"}, _Segmentations()) == found
    with pytest.raises(LookupError, match=r"no segmentation .*res-high of Whole"):
        fetch_regions("Whole", wanted | {"res": "high"}, _Segmentations())


def test_what_is_fetched_lies_in_one_home(tmp_path, monkeypatch):
    """A template of the user's archive is fetched again where its regions are not there."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "users"))
    names = {"T1w", "desc-brain_mask", "atlas-A_dseg"}

    def write(home, rests):
        folder = tmp_path / home / "tpl-Mine"
        folder.mkdir(parents=True, exist_ok=True)
        for rest in rests:
            (folder / f"tpl-Mine_{rest}.nii.gz").write_bytes(b"image")

    asked = []

    def child(module, arguments, *, variables):
        asked.append(arguments)
        write("own", names if len(arguments) > 1 else names - {"atlas-A_dseg"})

    monkeypatch.setattr(template_archive, "run_module", child)
    write("users", names - {"atlas-A_dseg"})
    found = provide_templates("tpl-Mine", "tpl-Mine:atlas-A", tmp_path / "own")
    assert found == tmp_path / "own"
    assert asked == [["Mine"], ["Mine", "atlas-A"]]
    assert find_atlas("Mine:atlas-A", home=tmp_path / "own").names is None
