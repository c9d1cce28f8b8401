"""The page that explains the reports names every heading, figure and picture that there is."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "n2a_bids" / "data"
PAGE = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
EXPLAINED = {
    *re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE),
    *re.findall(r"^- \*\*(.+?)\*\*", PAGE, re.MULTILINE),
}
# Headings of which the page has one for all: "Alignment of run-2", "T1w: 14 images".
GENERAL = {"Alignment of {label}": "Alignment of the repetitions", "{{ kind.suffix }}": "Images of one kind"}


def headings(template: str) -> set[str]:
    """Headings and legends of a template; those that are names of images are left out."""
    text = (DATA / "templates" / template).read_text(encoding="utf-8")
    found = re.findall(r"<(?:h2|h3|legend)[^>]*>(.*?)</(?:h2|h3|legend)>", text)
    return {GENERAL.get(title.partition(":")[0], title) for title in found} - {
        "{{ section.title }}",
        "{{ figure.title }}",
    }


def test_every_section_and_figure_of_a_participant_is_explained():
    """Titles of `reports-spec.yml`."""
    sections = yaml.safe_load((DATA / "reports-spec.yml").read_text(encoding="utf-8"))
    titles = {section["title"] for section in sections}
    titles |= {figure["title"] for section in sections for figure in section["figures"]}
    assert {GENERAL.get(title, title) for title in titles} - EXPLAINED == set()


def keys_written_twice(node: yaml.Node) -> list[str]:
    """Of mappings anywhere in a document: yaml keeps the last one, without a word."""
    if isinstance(node, yaml.SequenceNode):
        return [key for one in node.value for key in keys_written_twice(one)]
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value]
    twice = [key for key in keys if keys.count(key) > 1]
    return twice + [key for _, value in node.value for key in keys_written_twice(value)]


def test_no_key_is_written_twice():
    """Micrographs had the caption of a head, since theirs stood under a key that came again."""
    files = sorted(DATA.rglob("*.yml"))
    assert len(files) >= 3
    assert {file.name: keys_written_twice(yaml.compose(file.read_text("utf-8"))) for file in files} == {
        file.name: [] for file in files
    }


def test_every_heading_of_the_pages_is_explained():
    """Participant, group, viewer: what stands in their templates."""
    found = {title for name in ("participant", "group", "viewer") for title in headings(f"{name}.html")}
    named = {title for title in found if "{{" not in title}
    assert {"Metrics", "Ratings", "Your rating", "Remarks", "Images left out", "Images of one kind"} <= named
    assert named - EXPLAINED == set()


def test_every_explanation_says_what_good_and_bad_look_like():
    """A picture without its bad sister tells nobody what to do."""
    sections = re.split(r"^#+ ", PAGE, flags=re.MULTILINE)
    silent = [text.partition("\n")[0] for text in sections if "](pictures/" in text and "**Bad" not in text]
    assert silent == []


def test_every_picture_is_shown_and_small():
    """None is left over from an earlier drawing, and the page loads on a phone."""
    folder = ROOT / "docs" / "pictures" / "report"
    shown = set(re.findall(r"\]\(pictures/report/([\w-]+\.png)\)", PAGE))
    assert shown == {path.name for path in folder.glob("*")}
    assert sum(path.stat().st_size for path in folder.glob("*.png")) < 3_000_000
