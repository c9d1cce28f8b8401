"""Participant page, methods text and group level, on small invented derivative folders."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from bids.layout import BIDSLayout

from n2a_bids import viz
from n2a_bids.app.group import run_group
from n2a_bids.config import Config, OutputConfig, SelectionConfig
from n2a_bids.errors import OUT_OF_MEMORY, BIDSDataError
from n2a_bids.record.denoising import Choice, NetworkWeights, list_epochs
from n2a_bids.reports.methods.bibliography import bibliography
from n2a_bids.reports.methods.citation import citation_keys, citation_texts, write_citation
from n2a_bids.reports.methods.phrases import strategy_words
from n2a_bids.reports.methods.text import methods_markdown
from n2a_bids.reports.pages.group import write_group
from n2a_bids.reports.pages.group_records import OUTLIER_Z, list_participants, read_group, robust_z
from n2a_bids.reports.pages.group_table import data_dictionary, rating_rows
from n2a_bids.reports.pages.participant import write_participant_reports
from n2a_bids.reports.pages.summary import verdict
from n2a_bids.reports.records.crashes import find_crashes
from n2a_bids.reports.records.measures import measures
from n2a_bids.reports.records.ratings import Rating
from n2a_bids.reports.records.units import find_records, find_units

DENOISING = MappingProxyType(
    {
        "n2a_version": "0.1.0",
        "strategy": "auto",
        "recipe": "default",
        "random_seed": 7,
        "device": "cpu",
        "weights": {"name": "resunet-t1w", "sha256": "ab" * 32},
        "n_repetitions": 2,
        "chosen": {
            "name": "blend",
            "description": "a blend of least estimated risk: 75% fine-tuned network, 25% plain mean",
            "shares": {"fine-tuned network": 0.75, "mean": 0.25},
            "mean_won": False,
        },
        "candidates": [
            {"name": "mean", "risk": 0.0, "standard_error": 0.0},
            {"name": "fine-tuned network", "risk": -0.1, "standard_error": 0.01},
            {"name": "blend", "risk": -0.11, "standard_error": 0.01},
        ],
        "noise_sd_mean": 20.0,
        "error_denoised": 5.0,
        "equivalent_averages": 32.0,
        "sharpness_mean": 1.2,
        "sharpness_denoised": 1.14,
        "residual_edge_correlation": 0.02,
        "history": [{"phase": "recorrupted", "epoch": 1, "loss": 0.4}],
        "warnings": ["noise is <unequal>"],
        "seconds": {"total": 100.0},
    }
)
ALIGNMENT = MappingProxyType(
    {
        "reference": "sub-01_run-1_T1w.nii.gz",
        "reference_reason": "it is the sharpest",
        "interpolation": "quintic B-spline",
        "repetitions": [
            {"file": "sub-01_run-1_T1w.nii.gz", "rotation_deg": 0.0, "translation_mm": 0.0, "accepted": True},
            {"file": "sub-01_run-2_T1w.nii.gz", "rotation_deg": 3.0, "translation_mm": 1.5, "accepted": True},
            {
                "file": "sub-01_run-3_T1w.nii.gz",
                "rotation_deg": 80.0,
                "accepted": False,
                "reason": "another head",
            },
        ],
    }
)
RATING = Rating("sub-01_T1w", 2.0, (), None, "", "", "", None, "", "", "a_rating.json")
MEAN_WON = MappingProxyType({"name": "mean", "description": "the plain mean", "mean_won": True})


def add_unit(
    output_dir: Path, prefix: str, denoising=DENOISING, alignment=ALIGNMENT, datatype: str = "anat"
) -> None:
    """Write the records of a unit; ``prefix`` such as ``sub-01_ses-a``."""
    parts = dict(part.split("-", 1) for part in prefix.split("_"))
    folder = output_dir / f"sub-{parts['sub']}" / (f"ses-{parts['ses']}" if "ses" in parts else "") / datatype
    folder.mkdir(parents=True, exist_ok=True)
    for name, record in (("denoised", denoising), ("alignment", alignment)):
        if record is not None:
            (folder / f"{prefix}_desc-{name}_figures.json").write_text(json.dumps(dict(record)))


def add_figure(output_dir: Path, name: str) -> None:
    """Write a small figure under ``sub-<label>/figures``."""
    folder = output_dir / name.split("_")[0] / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(viz.loss_curve(list_epochs("a", [1.0])))


@pytest.fixture
def output_dir(tmp_path: Path) -> Path:
    add_unit(tmp_path, "sub-01")
    for name in ("mask", "denoised", "loss", "risk"):
        add_figure(tmp_path, f"sub-01_desc-{name}_T1w.svg")
    add_figure(tmp_path, "sub-01_run-2_desc-alignment_T1w.svg")
    return tmp_path


def page_text(output_dir: Path, participant: str = "01") -> str:
    """The one page of a participant."""
    (page,) = write_participant_reports(output_dir, participant, "run", OutputConfig())
    assert page == output_dir / f"sub-{participant}.html"
    return page.read_text()


class Outside(HTMLParser):
    """Collects whatever a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            loads = name in ("src", "data", "poster", "srcset") or (
                name == "href" and tag not in ("a", "use")
            )
            if loads and not (value or "").startswith("data:"):
                self.fetched.append(f"{tag} {name}={value}")


def test_page_fetches_nothing(output_dir):
    """The page is one file: no script, style, font or picture comes from elsewhere, even if it wanted to."""
    text = page_text(output_dir)
    parser = Outside()
    parser.feed(text)
    assert not parser.fetched
    assert "url(http" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "<script" not in text


def test_page_shows_every_figure_and_number(output_dir):
    """Figures are inside, in order; the table has a line for every measured number."""
    text = page_text(output_dir)
    anchors = [
        text.index(f'id="sub-01_{name}_T1w"')
        for name in ("desc-mask", "run-2_desc-alignment", "desc-denoised")
    ]
    assert anchors == sorted(anchors)
    assert "Alignment of run-2" in text
    assert "Made from 2 T1-weighted images: sub-01_run-1_T1w and sub-01_run-2_T1w." in text
    assert text.count("<svg") == 5
    unit = find_units(output_dir, "01")[0]
    for measure in measures():
        assert (measure.title in text) == (unit.measure(measure.path) is not None), measure.name


def test_warnings_come_first_and_are_escaped(output_dir):
    """What the records say is text, not markup, and stands above everything else."""
    text = page_text(output_dir)
    assert "noise is &lt;unequal&gt;" in text
    assert text.index("noise is &lt;") < text.index("Denoised.") < text.index("Outline of the brain mask")
    assert "sub-01_run-3_T1w.nii.gz was left out: another head" in text


def test_page_says_when_the_mean_won(tmp_path):
    """A user must not take an average for a denoised image."""
    add_unit(tmp_path, "sub-01", {**DENOISING, "chosen": dict(MEAN_WON)})
    assert "The plain mean won." in page_text(tmp_path)
    add_unit(tmp_path, "sub-02", {**DENOISING, "strategy": "mean", "chosen": dict(MEAN_WON)})
    asked = page_text(tmp_path, "02")
    assert "Averaged, as asked." in asked
    assert "No candidate" not in asked


def test_a_mean_weighted_by_noise_is_not_called_plain(tmp_path):
    """Page, methods and group table tell it from the plain mean, and its gain from that of denoising."""
    chosen = {"name": "weighted mean", "description": "the mean weighted by noise", "mean_won": True}
    rows = [{"name": "weighted mean", "risk": 0.0}, {"name": "fine-tuned network", "risk": 0.1}]
    gains = {"gain_of_weighting_db": 6.5, "gain_of_denoising_db": 0.0, "equivalent_averages": 9.0}
    add_unit(tmp_path, "sub-01", {**DENOISING, **gains, "chosen": chosen, "candidates": rows})
    text = page_text(tmp_path)
    assert "The mean weighted by noise won." in text
    assert "output is the mean weighted by noise of" in text
    assert "plain mean won" not in text
    (row,) = read_group(tmp_path, ["01"]).rows
    assert row.output == "mean weighted by noise"
    methods = methods_markdown(find_records(tmp_path, "01"))
    assert "No candidate beat the mean weighted by noise" in methods
    assert "inverse noise variance, which accounts for 6.5 dB of the gain" in methods


def test_mean_that_was_asked_for_has_not_won(tmp_path):
    """It is the output, but has beaten nothing, and the methods do not boast of a gain of 1."""
    add_unit(tmp_path, "sub-01", {**DENOISING, "strategy": "mean", "chosen": dict(MEAN_WON)})
    (row,) = read_group(tmp_path, ["01"]).rows
    assert row.output == "plain mean"
    assert row.facts["mean_won"] is False
    text = methods_markdown(find_records(tmp_path, "01"))
    assert "plain mean, as asked" in text
    assert "After denoising" not in text


def test_distortion_is_told(tmp_path):
    """How far the correction moved tissue stands in the page, the table and the methods."""
    add_unit(tmp_path, "sub-01", datatype="dwi")
    moved = {"median": 1.5, "percentile_95": 6.0, "largest": 12.0}
    record = {"displacement_mm": moved, "correlation_before": 0.7, "correlation_after": 0.95}
    (tmp_path / "sub-01/dwi/sub-01_desc-distortion_figures.json").write_text(json.dumps(record))
    text = page_text(tmp_path)
    assert "by less than 6 mm in 95 % of it" in text
    assert "Susceptibility distortion was estimated" in text
    assert "ANTs" not in text
    assert "Distortion undone" in text


def test_sparse_records_are_no_error(tmp_path):
    """Any key may be absent; a unit whose denoising failed is told as such."""
    add_unit(tmp_path, "sub-01", {"repetitions": []}, None)
    add_unit(tmp_path, "sub-01_acq-b", None, {"repetitions": []})
    text = page_text(tmp_path)
    assert "Denoising did not finish." in text
    assert verdict(find_units(tmp_path, "01")[1]).tone == "bad"


def test_participant_without_results_still_has_a_page(tmp_path):
    """All failed: the page says so and shows why."""
    logs = tmp_path / "sub-01" / "log" / "run"
    logs.mkdir(parents=True)
    (logs / "crash-x.txt").write_text(
        "Node: n2a.sub_01.mask\nWorking directory: /w\n\nNode inputs:\n\nargs = <undefined>\n\n"
        "Traceback (most recent call last):\n  File x\nValueError: <b>no</b> brain\n"
    )
    text = page_text(tmp_path)
    assert "Nothing was denoised" in text
    assert "mask: ValueError: &lt;b&gt;no&lt;/b&gt; brain" in text
    assert "<b>no</b>" not in text


def test_crash_of_a_child_process_names_the_cause(tmp_path):
    """The error is what the command said, not that a command failed; pickles are never opened."""
    (tmp_path / "crash-a.txt").write_text(
        "Node: a.denoise\nWorking directory: /w\n\nTraceback (most recent call last):\n"
        "NodeExecutionError: Exception raised while executing Node denoise.\n\nStderr:\n"
        "\tepoch 1 of 5\n\tn2a-tools denoise: error: x.nii.gz: expected\n\tfinite values\nTraceback:\n"
        "\tRuntimeError: subprocess exited with code 1.\n"
    )
    (tmp_path / "crash-b.pklz").write_bytes(b"not a pickle")
    (tmp_path / "n2a.toml").write_text("")
    text, pickled = find_crashes(tmp_path)
    assert text.message == "x.nii.gz: expected finite values"
    assert "nipypecli" in pickled.message
    assert find_crashes(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("n2a_bids.errors.BIDSDataError: x.nii.gz: expected a head", "x.nii.gz: expected a head"),
        ("zlib.error: Error -3 while decompressing", "zlib.error: Error -3 while decompressing"),
        ("MemoryError", f"MemoryError: {OUT_OF_MEMORY}"),
        ("MemoryError: Unable to allocate 9 GiB", f"MemoryError: Unable to allocate 9 GiB: {OUT_OF_MEMORY}"),
        ("ValueError: the first line\n\tand a second", "ValueError: the first line"),
        ("RuntimeError: \n\n\tthe cause\n\tin lines", "RuntimeError: the cause in lines"),
        ("ValueError: expected:\n\t  a\n\tfound:\n\t  b", "ValueError: expected: a found: b"),
        ("RuntimeError: x ended; it wrote:\nTraceback\n\tMemoryError", f"MemoryError: {OUT_OF_MEMORY}"),
        ("AssertionError", "AssertionError"),
    ],
)
def test_crash_is_told_without_names_of_classes(tmp_path, line, message):
    """Our own errors are sentences; those of others keep their name, in lower case, too."""
    start = "Traceback (most recent call last):\nNodeExecutionError: Exception raised.\n\nTraceback:\n"
    (tmp_path / "crash-a.txt").write_text(f"Node: a.check\n\n{start}\t{line}\n\n\n")
    assert find_crashes(tmp_path)[0].message == message


@pytest.mark.parametrize(
    ("end", "signal"),
    [
        ("\tn2a_bids.errors.Interrupted: stopped by SIGTERM\n", "SIGTERM"),
        ("\t  File x\n\tKeyboardInterrupt\n", "Ctrl-C"),
        (
            "ChildProcessError: the denoising process was stopped (SIGTERM), most likely by a time limit",
            "SIGTERM",
        ),
        ("\tn2a-tools: error: stopped by Ctrl-C; what is done is kept\nRuntimeError: code 130\n", "Ctrl-C"),
    ],
)
def test_interrupted_run_says_so(tmp_path, end, signal):
    """A step that a signal stopped has no fault, and nobody has to read its traceback."""
    logs = tmp_path / "sub-01" / "log" / "run"
    logs.mkdir(parents=True)
    (logs / "units.json").write_text(json.dumps({"units": ["sub-01_T1w"], "without_sources": []}))
    (logs / "crash-x.txt").write_text(
        f"Node: n2a.sub_01.unit.denoise\n\nTraceback (most recent call last):\n  File y\n{end}"
    )
    text = page_text(tmp_path)
    assert f"<strong>The run was interrupted</strong> ({signal})" in text
    assert "<strong>Not denoised:</strong> sub-01_T1w" in text
    assert "Traceback" not in text
    assert "failed" not in text
    assert "manuscript" not in text
    (crash,) = find_crashes(logs)
    assert crash.sentence == f"unit.denoise: interrupted by {signal}; the same command resumes"


def test_single_series_is_not_called_repetitions_and_their_mean(tmp_path):
    """Neither in the summary nor in the table, the captions or the methods; its motion is told as it was."""
    record = {
        **{key: value for key, value in DENOISING.items() if key not in ("weights", "history", "warnings")},
        "n_repetitions": 1,
        "chosen": {"name": "local PCA", "description": "shrinkage of local components", "mean_won": False},
        "candidates": [{"name": "mean", "risk": 0.0}, {"name": "local PCA", "risk": -0.1}],
    }
    volumes = {"number": [0, 1], "rotation_deg": [0.0, 1.2], "translation_mm": [0.0, 3.1]}
    row = {"file": "sub-01_dwi.nii.gz", "rotation_deg": 0.0, "translation_mm": 0.0, "volumes": volumes}
    row |= {"mean_framewise_displacement_mm": 1.238, "max_framewise_displacement_mm": 4.8}
    add_unit(tmp_path, "sub-01", record, {"reference": row["file"], "repetitions": [row]}, "dwi")
    for name in ("denoised", "residual", "noisesd", "risk", "tensor"):
        add_figure(tmp_path, f"sub-01_desc-{name}_dwi.svg")
    text = page_text(tmp_path)
    said = re.sub(r"<[^>]*>", " ", text[text.index("</style>") : text.index("References")])
    assert "Made from one diffusion series: sub-01_dwi." in said
    assert not re.search(r"\b(repetitions?|plain mean|the mean)\b", said), said
    cards = dict(re.findall(r"<span>([^<]*)</span><b>([^<]*)</b>", text))
    assert cards["Head motion"] == "1.24 mm"
    assert "up to 1.2\N{DEGREE SIGN}, 3.1 mm from the first b0" in said
    assert "RMSE, series to denoised, \N{MINUS SIGN}75 %" in said
    assert "Largest movement" not in cards
    add_unit(tmp_path, "sub-01", {**record, "chosen": dict(MEAN_WON)}, datatype="dwi")
    assert "The series was left as it is." in page_text(tmp_path)


def test_sums_of_frames_are_no_images_of_one_name(tmp_path):
    """Of a movie the page tells how many sums were made, and how far its frames had drifted."""
    rows = [{"file": "sub-01_sample-a_TEM.tif", "drift_pixels": [0.0, 0.0]}] * 2
    alignment = {"repetitions": rows, "frame_drift_pixels": [[0.0, 0.0], [3.0, 4.0]]}
    add_unit(tmp_path, "sub-01_sample-a", DENOISING, alignment, "micr")
    text = page_text(tmp_path)
    assert "Made from 2 sums of the frames of sub-01_sample-a_TEM." in text
    cards = dict(re.findall(r"<span>([^<]*)</span><b>([^<]*)</b>", text))
    assert cards["Largest drift"] == "5.0 pixels"
    assert "from the first frame, undone" in text


def test_page_of_micrographs_speaks_of_no_brain(tmp_path):
    """Of a fly or of a material, "the brain of a person" would be wrong; gains and drift have their unit."""
    rows = [{"file": f"sub-01_sample-a_run-{run}_TEM.tif", "drift_pixels": [3.0, 4.0]} for run in (1, 2)]
    record = {**DENOISING, "gain_of_denoising_db": 3.43}
    add_unit(tmp_path, "sub-01_sample-a_mod-TEM", record, {"repetitions": rows}, "micr")
    for name in ("denoised", "detail", "rings", "residual", "risk", "drift"):
        add_figure(tmp_path, f"sub-01_sample-a_desc-{name}_TEM.svg")
    text = page_text(tmp_path)
    said = re.sub(r"<[^>]*>", " ", text[text.index("</style>") :]).replace("brain imaging data structure", "")
    assert not re.search(r"\b(brain|head|person|cortex)\b", said, re.IGNORECASE), said
    assert "on squares of the image" in said
    assert "Largest drift 5 pixels" in " ".join(said.split())
    assert "Gain of denoising 3.43 dB" in " ".join(said.split())
    add_unit(tmp_path, "sub-01")
    assert "It shows the brain of a person" in page_text(tmp_path)


@pytest.mark.parametrize("has_result", [False, True])
def test_page_tells_images_that_are_broken(output_dir, tmp_path, has_result):
    """The run counts the participant as failed; "no errors" would deny that."""
    subject = output_dir / "sub-01" if has_result else tmp_path / "other" / "sub-01"
    logs = subject / "log" / "run"
    logs.mkdir(parents=True)
    broken = {"image": "sub-01/anat/sub-01_run-2_T1w.nii.gz", "reason": "it is truncated", "is_error": True}
    (logs / "units.json").write_text(json.dumps({"units": [], "left_out": [broken]}))
    text = " ".join(re.sub(r"<[^>]*>", " ", page_text(subject.parent)).split())
    assert "1 image cannot be used , so that this participant counts as failed" in text
    assert "Errors (1)" in text and "No errors" not in text and "as things were asked for" not in text
    assert "sub-01_run-2_T1w.nii.gz cannot be used: it is truncated" in text


def test_run_that_was_killed_says_what_is_missing(output_dir):
    """SIGKILL leaves no word: what was to be done and is not there is known by the list of the run."""
    logs = output_dir / "sub-01" / "log" / "run"
    logs.mkdir(parents=True)
    (logs / "units.json").write_text(json.dumps({"units": ["sub-01_acq-b_T1w"], "without_sources": []}))
    text = page_text(output_dir)
    assert "<strong>Not denoised:</strong> sub-01_acq-b_T1w. The run ended before" in text
    assert "Denoised." in text


def test_a_session_of_which_nothing_is_left_is_told_of(tmp_path):
    """It has no page of its own: what was to be denoised or was left out stands on those of others."""
    for session in ("a", "b"):
        add_unit(tmp_path, f"sub-01_ses-{session}")
    logs = tmp_path / "sub-01" / "log" / "run"
    logs.mkdir(parents=True)
    asked = [f"sub-01_ses-{session}_T1w" for session in "abc"]
    left_out = [{"image": f"sub-01/ses-{one}/anat/{one}.nii.gz", "reason": "broken"} for one in "bc"]
    content = {"units": asked, "without_sources": [], "left_out": left_out}
    (logs / "units.json").write_text(json.dumps(content))
    pages = write_participant_reports(tmp_path, "01", "run", OutputConfig(sessions_in_a_report=1))
    first, second = (page.read_text() for page in pages)
    for text in (first, second):
        assert "<strong>Not denoised:</strong> sub-01_ses-c_T1w" in text
        assert "ses-c/anat/c.nii.gz" in text
    assert "ses-b/anat/b.nii.gz" in second and "ses-b/anat/b.nii.gz" not in first


def test_figures_and_files_go_to_their_unit(tmp_path):
    """Sessions, acquisitions and kinds of image are apart; a repetition's figure goes with its unit."""
    add_unit(tmp_path, "sub-01_ses-a")
    add_unit(tmp_path, "sub-01_ses-a_acq-fast")
    add_unit(tmp_path, "sub-01_ses-a", datatype="dwi")
    names = {
        "sub-01_ses-a_T1w": "sub-01_ses-a_run-2_desc-alignment_T1w.svg",
        "sub-01_ses-a_acq-fast_T1w": "sub-01_ses-a_acq-fast_desc-mask_T1w.svg",
        "sub-01_ses-a_dwi": "sub-01_ses-a_desc-mask_dwi.svg",
        "sub-01_ses-b_T1w": "sub-01_ses-b_desc-mask_T1w.svg",
    }
    for name in names.values():
        add_figure(tmp_path, name)
    (tmp_path / "sub-01/ses-a/anat/sub-01_ses-a_acq-fast_run-1_from-orig_to-T1w_mode-image_xfm.txt").touch()
    units = {unit.label: unit for unit in find_units(tmp_path, "01")}
    assert {label: unit.figures[0].name for label, unit in units.items()} == names
    assert sum("xfm" in path.name for path in units["sub-01_ses-a_acq-fast_T1w"].files) == 1
    assert not any("acq-fast" in path.name for path in units["sub-01_ses-a_T1w"].files)


def test_methods_name_the_tools_that_would_denoise_again(output_dir):
    """Those of the kind of image at hand; where nothing was denoised, nothing else is said."""
    anatomy = find_units(output_dir, "01")
    assert "sMRIPrep" in methods_markdown(anatomy)
    assert "QSIPrep" not in methods_markdown(anatomy)
    series = [replace(anatomy[0], datatype="dwi")]
    assert "QSIPrep" in methods_markdown(series)
    assert "sMRIPrep" not in methods_markdown(series)
    others = [replace(anatomy[0], entities=(("sub", "01"), ("mod", suffix))) for suffix in ("T2w", "FLAIR")]
    assert "should not be denoised again.\n" in methods_markdown(others)
    assert methods_markdown([replace(anatomy[0], denoising={})]) == "No image was denoised.\n"
    tex = citation_texts(series)["tex"]
    assert r"\texttt{-{}-denoise-method none}" in tex
    nothing = citation_texts([])
    assert "References" not in nothing["md"] + nothing["html"]
    assert r"\bibliography" not in nothing["tex"]


def test_methods_tell_what_was_done(output_dir):
    """Reference, repetitions left out, weights, seed and the choice are in the text, and only these."""
    text = methods_markdown(find_units(output_dir, "01"))
    for words in (
        "sub-01_run-1_T1w",
        "another head",
        "resunet-t1w",
        "abababababab",
        "random seed 7",
        "recorrup",
    ):
        assert words in text
    assert "Noise2Average, in which" not in text
    assert "Diffusion" not in text


def test_summary_names_what_was_estimated(output_dir):
    """The error holds lost detail, too: it is not called noise. A blend is called one everywhere."""
    text = page_text(output_dir)
    assert (
        "75% fine-tuned network, 25% plain mean. Its estimated squared error is that of a plain average"
        in text
    )
    cards = dict(re.findall(r"<span>([^<]*)</span><b>([^<]*)</b>", text))
    assert cards["Estimated error"] == "20 \N{RIGHTWARDS ARROW} 5"
    assert cards["Output"] == "blend"
    assert cards["Sharpness kept"] == "0.95"
    assert "RMSE, plain mean to denoised, \N{MINUS SIGN}75 %" in text
    methods = methods_markdown(find_units(output_dir, "01"))
    assert "The output is a blend of least estimated risk: 75%" in methods
    assert "(RMSE: noise left and detail lost together) was 0.25 of that of the plain mean" in methods


def test_memory_is_told_in_one_unit(tmp_path):
    """A GB is a thousand of the MB in the table."""
    add_unit(tmp_path, "sub-01", {**DENOISING, "peak_memory_mb": 4700.0})
    assert "peak 4.7 GB" in page_text(tmp_path)


@pytest.mark.parametrize(
    ("rician", "told"), [((True, True), "both"), ((True, False), "some"), ((False,), "")]
)
def test_methods_tell_of_rician_bias_only_where_it_was_taken_out(tmp_path, rician, told):
    """Whether the air showed it is in the record."""
    for number, one in enumerate(rician):
        add_unit(tmp_path, f"sub-0{number}", {**DENOISING, "rician": one})
    units = [unit for number in range(len(rician)) for unit in find_records(tmp_path, f"0{number}")]
    text = methods_markdown(units)
    assert ("Rician" in text) == bool(told)
    assert ("where the air showed one" in text) == (told == "some")


def test_training_caption_fits_the_start(output_dir):
    """From pretrained weights the loss need not fall; from random ones it should."""
    assert "need not fall" in page_text(output_dir)
    add_unit(output_dir, "sub-01", {**DENOISING, "weights": None})
    text = page_text(output_dir)
    assert "need not fall" not in text
    assert "should fall and level off" in text


def test_every_step_of_a_candidate_is_explained():
    """By its steps, whatever the network started from."""
    for start in ("fine-tuned network", "trained network"):
        steps = [f"{start} + non-local Bayes 2x", f"{start} + non-local Bayes + fusion"]
        words = [strategy_words(name) for name in (start, *steps, f"{steps[1]} + local means")]
        assert len(set(words)) == 4
        assert not any(word.startswith("the candidate") for word in words)
        assert start.split()[0] in words[0]
        assert words[1].startswith("non-local Bayes guided")


def test_methods_name_all_weights(output_dir):
    """Those that training started from, and those used as they are."""
    unit = find_units(output_dir, "01")[0]
    record = replace(unit.denoising, further_weights=(NetworkWeights("fusion-t1w", "cd" * 32),))
    text = methods_markdown([replace(unit, denoising=record)])
    assert "resunet-t1w" in text and 'weights "fusion-t1w" (SHA-256 cdcdcdcdcdcd...)' in text


def test_every_citation_is_in_the_bibliography(output_dir):
    """No key without an entry, for any strategy."""
    unit = find_units(output_dir, "01")[0]
    for name in ("noise2average", "noise2noise", "san2n", "mean", "mppca", "something new"):
        record = replace(unit.denoising, chosen=Choice(name), mask_method="deepbet")
        text = methods_markdown([replace(unit, denoising=record)])
        assert set(citation_keys(text)) <= set(bibliography())
    assert bibliography()["noise2average"].fields["doi"] == "10.1162/imag.a.1163"
    assert bibliography()["noise2noise"].short == "Lehtinen et al. 2018"


def test_citation_files_agree(output_dir):
    """All four files are written, cite the same works, and leave no raw citation key or special character."""
    add_unit(output_dir, "sub-02", {**DENOISING, "chosen": dict(MEAN_WON)})
    files = {path.suffix: path.read_text() for path in write_citation(output_dir, ["01", "02"])}
    assert set(files) == {".md", ".html", ".tex", ".bib"}
    keys = set(re.findall(r"@\w+\{([\w-]+),", files[".bib"]))
    assert keys == set(",".join(re.findall(r"\\cite\{([^}]+)\}", files[".tex"])).split(","))
    for key in keys:
        assert bibliography()[key].link in files[".md"]
        assert html.escape(bibliography()[key].link) in files[".html"]
    assert "[@" not in files[".md"] + files[".html"] + files[".tex"]
    assert not re.search(
        r"(?<!\\)[%#_]", files[".tex"].split("\\bibliographystyle")[0].split("]{inputenc}")[1]
    )
    assert not list((output_dir / "logs").glob(".*"))


def config(output_dir: Path, **selection) -> Config:
    return Config(
        bids_dir=output_dir / "raw",
        output_dir=output_dir,
        work_dir=output_dir / "work",
        run_uuid="run",
        analysis_level="group",
        selection=SelectionConfig(**selection),
    )


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_group_table_has_a_row_for_each_unit(tmp_path):
    """One line per denoised image, T1w and DWI apart, every column explained, missing values n/a."""
    for label in ("01", "02", "03"):
        add_unit(tmp_path, f"sub-{label}")
    add_unit(tmp_path, "sub-03", datatype="dwi")
    add_unit(tmp_path, "sub-04_ses-x")
    assert run_group(config(tmp_path)) == 0
    rows = read_table(tmp_path / "group_T1w.tsv")
    assert [row["participant_id"] for row in rows] == ["sub-01", "sub-02", "sub-03", "sub-04"]
    assert [row["participant_id"] for row in read_table(tmp_path / "group_dwi.tsv")] == ["sub-03"]
    assert rows[3]["session_id"] == "ses-x"
    assert rows[0]["error_ratio"] == "0.25"
    assert rows[0]["sharpness_ratio"] == "0.95"
    assert rows[0]["chosen"] == "fine-tuned network"
    assert rows[0]["n_left_out"] == "1"
    assert rows[0]["fwhm_mm_residual"] == "n/a"
    assert rows[0]["mean_won"] == "false"
    others = {"image", "reason", *rating_rows([RATING], {})[0]}
    assert set(json.loads((tmp_path / "group_columns.json").read_text())) == set(rows[0]) | others
    assert set(data_dictionary()) == set(rows[0]) | others


def test_group_names_who_is_missing(tmp_path, capsys):
    """Never run, or run without an end: on the page and on the terminal; who was left out has a reason."""
    for label in ("01", "02", "03", "04"):
        (tmp_path / "raw" / f"sub-{label}").mkdir(parents=True)
    add_unit(tmp_path, "sub-01")
    (tmp_path / "sub-02").mkdir()
    add_unit(tmp_path, "sub-05")
    assert run_group(config(tmp_path, exclude_participants=("04",))) == 0
    told, page = capsys.readouterr().err, (tmp_path / "group.html").read_text()
    assert "nothing in this folder (run the participant level for them): sub-03\n" in told
    assert "no denoising finished (look at the reports, then run them again): sub-02\n" in told
    assert "1 not run." in page and "The dataset has sub-03, of which there is nothing" in page
    run_group(config(tmp_path, participants=("01",)))
    assert capsys.readouterr().err == "" and "not run" not in (tmp_path / "group.html").read_text()


def test_a_group_table_goes_with_its_last_row(tmp_path):
    """The table of a kind of image of which nothing is left would be read as true."""
    add_unit(tmp_path, "sub-01")
    add_unit(tmp_path, "sub-01", datatype="dwi")
    assert run_group(config(tmp_path)) == 0
    shutil.rmtree(tmp_path / "sub-01" / "dwi")
    assert run_group(config(tmp_path)) == 0
    assert sorted(path.name for path in tmp_path.glob("group_*.tsv")) == ["group_T1w.tsv"]


def add_regions(output_dir: Path, prefix: str, datatype: str = "anat", shells=(None,)) -> None:
    """Write the record of two regions of a unit, with a warning."""
    rows = [
        {"index": index, "name": name, "n_voxels": 90, "few_voxels": False, "noise_sd": 2.5}
        | ({} if shell is None else {"shell": shell})
        for shell in shells
        for index, name in ((1, "Left V1"), (2, "Right V1"))
    ]
    record = {"atlas": "Mine:atlas-A", "template": "a_T1w.nii.gz", "regions": rows, "warnings": ["look here"]}
    folder = output_dir / prefix / datatype
    (folder / f"{prefix}_desc-regions_figures.json").write_text(json.dumps(record))


def test_group_puts_the_regions_of_all_under_each_other(tmp_path):
    """One line per participant and region, every column explained; without regions no table is left."""
    for label in ("sub-01", "sub-02", "sub-03"):
        add_unit(tmp_path, label)
        add_unit(tmp_path, label, datatype="dwi")
    for label in ("sub-01", "sub-02"):
        add_regions(tmp_path, label)
    add_regions(tmp_path, "sub-01", "dwi", shells=(0.0, 1000.0))
    assert run_group(config(tmp_path)) == 0
    rows = read_table(tmp_path / "group_regions_T1w.tsv")
    assert [(row["participant_id"], row["name"]) for row in rows] == [
        (label, name) for label in ("sub-01", "sub-02") for name in ("Left V1", "Right V1")
    ]
    assert {
        key: rows[0][key] for key in ("noise_sd", "gain_db", "few_voxels", "atlas", "unit", "outdated")
    } == {
        "noise_sd": "2.5",
        "gain_db": "n/a",
        "few_voxels": "false",
        "atlas": "Mine:atlas-A",
        "unit": "sub-01_T1w",
        "outdated": "false",
    }
    series = read_table(tmp_path / "group_regions_dwi.tsv")
    assert [row["shell"] for row in series] == ["0", "0", "1000", "1000"]
    explained = json.loads((tmp_path / "group_regions_columns.json").read_text())
    assert set(explained) == set(series[0]) == {*rows[0], "shell"}
    for path in tmp_path.rglob("*_desc-regions_figures.json"):
        path.unlink()
    assert run_group(config(tmp_path)) == 0
    assert not list(tmp_path.glob("group_regions*"))


def test_report_and_methods_tell_of_the_regions(tmp_path):
    """Their warnings stand on top of the page, and the text names the atlas."""
    add_unit(tmp_path, "sub-01")
    add_regions(tmp_path, "sub-01")
    assert "look here" in page_text(tmp_path)
    assert "The atlas Mine:atlas-A was brought" in methods_markdown(find_records(tmp_path, "01"))


def test_no_image_inherits_the_group_tables(tmp_path):
    """pybids gives every image its own metadata only, and what an old version left is gone."""
    own = {"SkullStripped": False, "Description": "own"}
    for prefix in ("sub-01", "sub-01_run-1", "sub-02_ses-x"):
        for datatype, suffix in (("anat", "T1w"), ("dwi", "dwi")):
            add_unit(tmp_path, prefix, datatype=datatype)
            (folder,) = {path.parent for path in tmp_path.rglob(f"{datatype}/{prefix}_desc-denoised_*")}
            for name in (f"desc-denoised_{suffix}", f"desc-residual_{suffix}", "desc-brain_mask"):
                (folder / f"{prefix}_{name}.nii.gz").touch()
                (folder / f"{prefix}_{name}.json").write_text(json.dumps(own))
    description = {"Name": "n2a", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    (tmp_path / "dataset_description.json").write_text(json.dumps(description))
    (tmp_path / "group_T1w.json").write_text(json.dumps(data_dictionary()))
    (tmp_path / "group_dwi.json").write_text('{"participant_id": "of somebody else"}')
    assert run_group(config(tmp_path)) == 0
    assert not (tmp_path / "group_T1w.json").exists()
    assert (tmp_path / "group_dwi.json").exists()
    (tmp_path / "group_dwi.json").unlink()
    layout = BIDSLayout(tmp_path, validate=False, config=["bids", "derivatives"])
    images = layout.get(extension=".nii.gz", return_type="filename")
    assert len(images) == 18
    assert [name for name in images if layout.get_metadata(name) != own] == []


def test_group_writes_the_methods_of_all(tmp_path):
    """Jobs that ran side by side left a text of one participant each; the group level counts all."""
    for label in ("01", "02", "03"):
        add_unit(tmp_path, f"sub-{label}")
        write_citation(tmp_path, [label])
    assert "Of 3 groups" not in (tmp_path / "logs/CITATION.md").read_text()
    assert run_group(config(tmp_path)) == 0
    assert "Of 3 groups" in (tmp_path / "logs/CITATION.md").read_text()


def test_group_respects_the_selection(tmp_path):
    """Participants asked for, and not those excluded."""
    for label in ("01", "02", "03"):
        add_unit(tmp_path, f"sub-{label}")
    run_group(config(tmp_path, participants=("01", "02"), exclude_participants=("02",)))
    assert [row["participant_id"] for row in read_table(tmp_path / "group_T1w.tsv")] == ["sub-01"]


def test_group_names_a_participant_without_results(tmp_path):
    """A mistyped label is no empty table."""
    add_unit(tmp_path, "sub-01")
    with pytest.raises(BIDSDataError, match="sub-99"):
        run_group(config(tmp_path, participants=("01", "99")))


def test_group_of_a_multiverse_says_that_options_name_the_folder(tmp_path, capsys):
    """Nothing is found, or no folder, where the options of the participant level were not repeated."""
    plain = config(tmp_path)
    multiverse = replace(plain, outputs=OutputConfig(layout="multiverse"))
    assert run_group(plain) == run_group(multiverse) == 70
    first, second = capsys.readouterr().err.splitlines()
    assert "no records" in first and "repeat the options" not in first
    assert "no records" in second and "repeat the options of the participant level" in second
    with pytest.raises(BIDSDataError, match="repeat the options"):
        run_group(replace(multiverse, output_dir=tmp_path / "n2a-1"))


def test_group_survives_a_broken_record(tmp_path, capsys):
    """The others are in the table; the broken one is named, and the status is not zero."""
    add_unit(tmp_path, "sub-01")
    add_unit(tmp_path, "sub-02")
    (tmp_path / "sub-02/anat/sub-02_desc-denoised_figures.json").write_text('{"half":')
    (tmp_path / "sub-03").mkdir()
    assert run_group(config(tmp_path)) == 1
    assert "sub-02_desc-denoised_figures.json" in capsys.readouterr().err
    assert len(read_table(tmp_path / "group_T1w.tsv")) == 1
    page = (tmp_path / "group.html").read_text()
    assert "1 unreadable" in page
    assert "sub-03.html" in page


def test_group_without_anything_is_not_a_success(tmp_path):
    """An empty output folder is 70, as everywhere where there is nothing to do."""
    assert run_group(config(tmp_path)) == 70


def test_outliers_are_found_and_linked(tmp_path):
    """One unusual participant among alike ones is named in the table and linked in the page."""
    rng = np.random.default_rng(0)
    for number in range(20):
        record = {**DENOISING, "residual_edge_correlation": 0.02 + 0.002 * rng.standard_normal()}
        add_unit(
            tmp_path,
            f"sub-{number:02d}",
            record | ({"residual_edge_correlation": 0.4} if number == 7 else {}),
        )
    write_group(tmp_path, read_group(tmp_path, list_participants(tmp_path)))
    found = {row["participant_id"]: row["outlier_measures"] for row in read_table(tmp_path / "group_T1w.tsv")}
    assert found.pop("sub-07") == "residual_edge_correlation"
    assert set(found.values()) == {"n/a"}
    parser = Outside()
    page = (tmp_path / "group.html").read_text()
    parser.feed(page)
    assert not parser.fetched
    assert '1 unusual: <a href="sub-07.html">' in page


def test_robust_z_ignores_scale_and_shift():
    """z-scores are those of the shape; few or equal values give none."""
    values = np.r_[np.random.default_rng(1).normal(size=30), 15.0]
    np.testing.assert_allclose(robust_z(values), robust_z(3 * values + 8))
    np.testing.assert_allclose(robust_z(np.exp(values), logarithmic=True), robust_z(values))
    assert not robust_z([1.0, 1.0, 9.0]).any()
    assert not robust_z([2.0] * 20).any()
    assert np.isnan(robust_z([np.nan] + [1.0] * 20)[0])


@pytest.mark.parametrize(
    "values",
    [
        [0.3] * 20 + [0.1 + 0.2],
        [0.0] * 20 + [0.1 + 0.2 - 0.3],
        [1e6 / 3] * 9 + [1e6 / 3 * (1 + 3e-16)],
        [5e-324] * 9,
        [7] * 12,
    ],
)
@pytest.mark.parametrize("logarithmic", [False, True])
def test_rounding_makes_no_value_unusual(values, logarithmic):
    """Values that differ in the last digits only, as sums in another order do, are one value."""
    assert not np.nan_to_num(robust_z(values, logarithmic=logarithmic)).any()


def test_huge_and_missing_values_have_scores():
    """A huge value is unusual and hides no other; what is not finite has no score and takes none away."""
    usual = list(np.random.default_rng(2).normal(size=20))
    scores = robust_z([*usual, 30.0, np.inf, np.nan, -np.inf])
    np.testing.assert_allclose(scores[:21], robust_z([*usual, 30.0]))
    assert scores[20] > OUTLIER_Z and np.isnan(scores[21:]).all()
    assert (np.abs(robust_z([*usual, 1e308, -1e308])[20:]) > OUTLIER_Z).all()
    assert np.isnan(robust_z([np.nan] * 9)).all()


@pytest.mark.parametrize(
    "values",
    [
        (0.3, 0.1 + 0.2),
        (0.3,),
        (5, 5, 5),
        (0.0, 5e-324),
        (1e-300, 1e300),
        (-1.7e308, 1.7e308),
        (float("nan"), float("inf"), 10**400),
        (float("nan"), 1.0),
        (0, -1, 2),
    ],
)
def test_group_page_survives_any_numbers(tmp_path, values):
    """Constants, rounding, overflow, one participant: table and page are written, with every measure."""
    for number, value in enumerate(values):
        numbers = dict.fromkeys(("noise_sd_mean", "error_denoised", "equivalent_averages"), value)
        add_unit(tmp_path, f"sub-{number:02d}", {**DENOISING, **numbers, "residual_edge_correlation": value})
    assert run_group(config(tmp_path)) == 0
    assert len(read_table(tmp_path / "group_T1w.tsv")) == len(values)
    page = (tmp_path / "group.html").read_text()
    assert "nan" not in re.findall(r'd="[^"]*"', page)
    assert f"T1w: {len(values)} image{'s' if len(values) > 1 else ''}</h2>" in page


def test_label_in_the_page_cannot_break_out(tmp_path):
    """Text inside the script of the group page stays data."""
    add_unit(tmp_path, "sub-01", {**DENOISING, "chosen": {"name": "</script><b>", "mean_won": False}})
    run_group(config(tmp_path))
    assert "</script><b>" not in (tmp_path / "group.html").read_text()


@pytest.mark.proof
def test_ten_thousand_participants_take_less_than_a_minute(tmp_path):
    """Of processor time: how long the disk takes is not ours."""
    for number in range(10_000):
        add_unit(tmp_path, f"sub-{number:05d}")
    start = time.process_time()
    assert run_group(config(tmp_path)) == 0
    assert time.process_time() - start < 60
    assert len(read_table(tmp_path / "group_T1w.tsv")) == 10_000
    assert (tmp_path / "group.html").stat().st_size < 5_000_000


def test_records_alone_do_not_need_figures(output_dir):
    """The group level reads records only: the same units without figures and files."""
    with_figures, without = find_units(output_dir, "01")[0], find_records(output_dir, "01")[0]
    assert with_figures.figures
    assert not without.figures
    assert with_figures.measured() == without.measured()


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (0.0213, "In 2.1 % of the brain the plain mean is expected to be better."),
        (0.0, "Nowhere in the brain is the plain mean expected to be better."),
        (None, ""),
    ],
)
def test_where_the_mean_is_better_is_said(tmp_path, part, sentence):
    """The verdict tells the part of the brain, where the strategy knows its error."""
    add_unit(tmp_path, "sub-01", {**DENOISING, "mean_better": part})
    text = page_text(tmp_path)
    assert sentence in text
    assert ("plain mean is expected" in text or "is the plain mean expected" in text) == bool(sentence)
