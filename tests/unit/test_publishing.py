"""What is told where the project is published agrees: address, version, licence, name."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

import n2a_bids
from n2a_bids.dataset.write import description

ROOT = Path(__file__).resolve().parents[2]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
ZENODO = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))


def test_the_address_stands_in_one_place():
    """Citation and package tell the same address, or none."""
    assert CITATION.get("repository-code", "") == n2a_bids.__url__


def test_derivatives_name_the_code_once_its_address_is_known(monkeypatch):
    """``CodeURL`` is never empty: BIDS wants an address or no field."""
    monkeypatch.setattr(description, "__url__", "")
    assert "CodeURL" not in description.generated_by()
    monkeypatch.setattr(description, "__url__", "https://example.org/n2a")
    assert description.generated_by()["CodeURL"] == "https://example.org/n2a"


def test_citation_and_zenodo_tell_the_same():
    """Version, licence, title and authors."""
    assert CITATION["version"] == n2a_bids.__version__
    assert CITATION["license"] == ZENODO["license"]
    assert CITATION["title"] == ZENODO["title"]
    assert [author["name"] for author in CITATION["authors"]] == [
        author["name"] for author in ZENODO["creators"]
    ]


def test_problems_are_reported_with_what_doctor_prints():
    """Every form asks for it."""
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert forms and all("n2a-tools doctor" in form.read_text(encoding="utf-8") for form in forms)
