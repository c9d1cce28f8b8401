"""What README and docs say exists: options, commands, linked files."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path

import pytest

from n2a_bids.cli.app.parser import build_parser
from n2a_bids.cli.tools import TOOLS
from n2a_bids.cli.tools import build_parser as build_tools_parser
from n2a_bids.dataset.write.description import DESCRIPTIONS
from n2a_bids.interfaces.derivatives.sidecar_fields import denoising_sidecar
from n2a_bids.record.denoising import Choice, DenoisingRecord, NetworkWeights
from n2a_bids.reports.records.measures import measures
from n2a_bids.workflows.derivatives import ANAT_OUTPUTS, DWI_OUTPUTS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CHANGES", "CONTRIBUTING")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# Options of other programs that the pages show.
FOREIGN = {
    "--subject-anatomical-reference",
    "--constraint",
    "--rm",
    "--containall",
    "--cleanenv",
    "--denoise-method",
    "--output-resolution",
    "--unringing-method",
    "--anat-modality",
    "--nobias",
}
FOREIGN |= {"--subject-anatomical-reference", "--build-arg", "--gpus", "--nv"}


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings}


def options_by_command() -> dict[str, set[str]]:
    """What ``n2a`` and each ``n2a-tools COMMAND`` take."""
    known = {"n2a": options_of(build_parser())}
    for name in TOOLS:
        commands = next(action.choices for action in build_tools_parser(name)._actions if action.choices)
        known[f"n2a-tools {name}"] = options_of(commands[name])
    return known


def known_options() -> set[str]:
    return set().union(*options_by_command().values())


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "docs" / "usage.md", ROOT / "docs" / "handover.md"],
    ids=lambda p: p.name,
)
def test_options_in_the_pages_exist(page):
    """Nobody is told to type what is refused."""
    shown = set(re.findall(r"(?<![\w-])--[a-z0-9-]*[a-z0-9](?![\w-])", page.read_text(encoding="utf-8")))
    assert sorted(shown - FOREIGN - known_options()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_in_the_pages_take_their_options(page):
    """An option of another command, or one that was renamed, is shown nowhere."""
    text = re.sub(r"\s*\\\n\s*", " ", page.read_text(encoding="utf-8"))
    known = options_by_command()
    refused = []
    for name, given in re.findall(r"(?<![\w:/.-])(n2a-tools [a-z]+|n2a)((?: [^\s`]+)+)", text):
        # What is handed on to n2a (``--arguments='...'``) and comments are no options of this command.
        words = re.sub(r"=('[^']*'|\S+)|#.*", "", given).split()
        options = [word for word in words if re.fullmatch(r"--?[a-z][a-z0-9-]*", word)]
        refused += [f"{name} {option}" for option in options if option not in known.get(name, known["n2a"])]
    assert refused == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_relative_links_lead_somewhere(page):
    """Links into the repository are not dead."""
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def anchors_of(page: Path) -> set[str]:
    """Anchors of the headings of a page, as the site and GitHub name them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_to_headings_find_them(page):
    """Nor do they lead to a section that was renamed: that would stop the build of the site."""
    links = re.findall(
        r"\]\((?!https?:|mailto:)([^)#\s]*\.md)?#([^)\s]+)\)", page.read_text(encoding="utf-8")
    )
    assert [
        f"{to}#{name}" for to, name in links if name not in anchors_of(page.parent / to if to else page)
    ] == []


def test_every_field_of_sidecars_and_records_is_explained():
    """What the denoiser records, under its names in sidecar and record."""
    weights = NetworkWeights("x", "y")
    full = DenoisingRecord(
        **{"strategy": "x", "recipe": "x", "random_seed": 0, "device_name": "x", "precision": "x"},
        **{"n_repetitions": 2, "equivalent_averages": 1.0, "noise_sd_mean": 1.0, "error_denoised": 1.0},
        **{"gain_of_weighting_db": 0.0, "gain_of_denoising_db": 0.0, "warnings": ("x",)},
        **{"weights": weights, "further_weights": (weights,), "chosen": Choice("x", shares={"x": 1.0})},
    )
    sidecar = denoising_sidecar(full)
    assert {"DenoisingShares", "FurtherWeights", "GainOfWeighting", "Warnings"} <= set(sidecar)
    page = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    names = [field.name for field in fields(DenoisingRecord)]
    assert [name for name in (*names, *sidecar) if f"`{name}`" not in page] == []


def test_every_measure_of_the_denoiser_is_explained():
    """Numbers of the tables that the records hold."""
    page = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    keys = [measure.path.split(".")[1] for measure in measures() if measure.path.startswith("denoising.")]
    assert [key for key in keys if f"`{key}`" not in page] == []


def test_every_output_is_described():
    """Labels of the tables of outputs stand in ``descriptions.tsv`` and on the page."""
    page = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    rows = [row for row in (*ANAT_OUTPUTS, *DWI_OUTPUTS) if row.desc]
    records = {row.desc for row in rows if row.suffix == "figures"}
    images = {row.desc for row in rows if row.suffix != "figures"}
    assert images <= set(DESCRIPTIONS)
    assert [label for label in images if f"desc-{label}_" not in page] == []
    assert [label for label in records if f"desc-{label}_figures" not in page] == []


def test_exit_codes_in_help_and_usage_agree():
    """One list of exit codes."""
    page = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    codes = page.partition("## Exit codes")[2].partition("\n## ")[0]
    table = re.findall(r"^\| (\d+) \|", codes, flags=re.MULTILINE)
    help_text = build_parser().format_help().partition("exit codes")[2]
    assert set(table) == set(re.findall(r"(?<!\S)(\d+)  ", help_text))


def test_files_named_by_the_page_on_the_architecture_are_there():
    """A stranger who follows the page finds every room."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folder, lost = "", []
    for named in re.findall(r"`([\w/-]+(?:\.(?:py|yml|md|html|bib)|/))`", page):
        # A bare name follows the folder of the one before it.
        path = named if "/" in named or (ROOT / "n2a_bids" / named).exists() else f"{folder}/{named}"
        folder = path.rpartition("/")[0]
        if not (ROOT / "n2a_bids" / path).exists() and not (ROOT / path).exists():
            lost.append(named)
    assert not lost
