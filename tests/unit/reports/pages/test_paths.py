"""One page for a participant or one for each session, and in which folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from n2a_bids.config import OutputConfig
from n2a_bids.reports.pages.group import render_group
from n2a_bids.reports.pages.group_records import read_group
from n2a_bids.reports.pages.participant import write_participant_reports


def add_unit(output_dir: Path, prefix: str) -> None:
    """Records and one figure of a unit; ``prefix`` such as ``sub-01_ses-a``."""
    parts = dict(part.split("-", 1) for part in prefix.split("_"))
    root = output_dir / f"sub-{parts['sub']}"
    folder = root / (f"ses-{parts['ses']}" if "ses" in parts else "") / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    record = {"strategy": "auto", "n_repetitions": 2, "noise_sd_mean": 20.0, "error_denoised": 5.0}
    (folder / f"{prefix}_desc-denoised_figures.json").write_text(json.dumps(record))
    (root / "figures").mkdir(exist_ok=True)
    (root / "figures" / f"{prefix}_desc-mask_T1w.svg").write_text("<svg></svg>")


def add_crash(output_dir: Path, node: str) -> None:
    folder = output_dir / "sub-01" / "log" / "run"
    folder.mkdir(parents=True, exist_ok=True)
    text = f"Node: {node}\n\nTraceback (most recent call last):\nValueError: failure of {node}\n"
    (folder / f"crash-{node}.txt").write_text(text)


def pages(output_dir: Path, **outputs) -> list[str]:
    """Write, check that what is written is what is there, and return its names."""
    written = write_participant_reports(output_dir, "01", "run", OutputConfig(**outputs))
    assert sorted(written) == sorted(output_dir.rglob("sub-01*.html"))
    return [path.relative_to(output_dir).as_posix() for path in written]


SPLIT = ["sub-01_ses-a.html", "sub-01_ses-b.html", "sub-01_ses-c.html"]
CASES = [
    ({}, ["sub-01.html"]),
    ({"sessions_in_a_report": 3}, ["sub-01.html"]),
    ({"sessions_in_a_report": 2}, SPLIT),
    ({"report_level": "subject"}, ["sub-01/sub-01.html"]),
    ({"report_level": "subject", "sessions_in_a_report": 1}, [f"sub-01/{name}" for name in SPLIT]),
    ({"report_level": "session"}, [f"sub-01/ses-{name[11]}/{name}" for name in SPLIT]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("outputs", "expected"), CASES)
def test_pages_are_split_and_placed_as_asked(tmp_path, outputs, expected):
    """Whatever was written before is replaced, so that no page is out of date."""
    for session in "abc":
        add_unit(tmp_path, f"sub-01_ses-{session}")
    for earlier, _ in CASES:
        pages(tmp_path, **earlier)
    assert pages(tmp_path, **outputs) == expected
    for name in expected:
        text = (tmp_path / name).read_text()
        own = re.findall(r"ses-([abc])\.html", name) or list("abc")
        assert set(re.findall(r"sub-01_ses-([abc])_T1w", text)) == set(own)
        assert text.count("<svg>") == len(own)
        for href in re.findall(r'href="([^"#:]+)"', text):
            assert href.endswith("logs/") or ((tmp_path / name).parent / href).is_file(), href


@pytest.mark.parametrize("level", ["root", "subject", "session"])
def test_participant_without_sessions_has_one_page(tmp_path, level):
    """There is no folder of a session to put it into."""
    add_unit(tmp_path, "sub-01")
    folder = "" if level == "root" else "sub-01/"
    assert pages(tmp_path, report_level=level, sessions_in_a_report=1) == [f"{folder}sub-01.html"]


def test_images_outside_of_sessions_have_a_page_of_their_own(tmp_path):
    """Beside those of the sessions; and a participant with nothing but failures has one, too."""
    add_crash(tmp_path, "n2a.sub_01.sub_01_ses_a_T1w.mask")
    assert pages(tmp_path, report_level="session") == ["sub-01/sub-01.html"]
    add_unit(tmp_path, "sub-01")
    add_unit(tmp_path, "sub-01_ses-a")
    assert pages(tmp_path, report_level="session") == ["sub-01/sub-01.html", "sub-01/ses-a/sub-01_ses-a.html"]
    add_unit(tmp_path, "sub-02")
    write_participant_reports(tmp_path, "02", "run", OutputConfig())
    pages(tmp_path, report_level="session")
    assert (tmp_path / "sub-02.html").is_file()


def test_failures_are_shown_with_their_session(tmp_path):
    """A failure that names no session that has a page is on all of them: none is lost."""
    for session in ("a", "b+c"):
        add_unit(tmp_path, f"sub-01_ses-{session}")
    for session in ("a", "b_c", "lost"):
        add_crash(tmp_path, f"n2a.sub_01.sub_01_ses_{session}_T1w_anat_repeats.mask")
    shown = {
        name: set(re.findall(r"failure of n2a\.sub_01\.sub_01_ses_(\w+?)_T1w", (tmp_path / name).read_text()))
        for name in pages(tmp_path, sessions_in_a_report=1)
    }
    assert shown == {"sub-01_ses-a.html": {"a", "lost"}, "sub-01_ses-b+c.html": {"b_c", "lost"}}


@pytest.mark.parametrize("outputs", [outputs for outputs, _ in CASES])
def test_group_page_links_to_the_page_of_each_session(tmp_path, outputs):
    """In the plots, the table, and the list of participants without result."""
    for session in "abc":
        add_unit(tmp_path, f"sub-01_ses-{session}")
    (tmp_path / "sub-02").mkdir()
    write_participant_reports(tmp_path, "02", "run", OutputConfig(**outputs))
    names = pages(tmp_path, **outputs)
    text = render_group(read_group(tmp_path, ["01", "02"]))
    linked = set(re.findall(r'"(sub-[^"]*\.html)"', text))
    other = "sub-02.html" if outputs.get("report_level", "root") == "root" else "sub-02/sub-02.html"
    assert linked == {*names, other}
    for name in linked:
        assert (tmp_path / name).is_file()
