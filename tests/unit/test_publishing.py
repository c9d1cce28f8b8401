"""What is told where the project is published agrees: address, version, licence, name."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
from pathlib import Path

import jinja2
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


def test_release_has_the_notes_of_its_version():
    """The line of the workflow finds them; of a version without notes it finds none."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    (command,) = (step["run"] for step in workflow["jobs"]["release"]["steps"] if "run" in step)
    (line,) = (line for line in command.splitlines() if line.startswith("awk"))
    for version, is_told in ((n2a_bids.__version__, True), ("99.0.0", False)):
        environment = {**os.environ, "GITHUB_REF_NAME": f"v{version}"}
        found = subprocess.run(
            ["bash", "-c", line.split(" > ")[0]], cwd=ROOT, env=environment, capture_output=True, check=True
        )
        assert (b"- **" in found.stdout) is is_told


CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
"""What conda-forge calls packages of other names."""


def conda_recipe() -> dict:
    """The recipe as conda-build reads it: a template, then YAML."""
    folder = ROOT / ".github" / "conda"

    def load_file_regex(load_file: str, regex_pattern: str, from_recipe_dir: bool) -> re.Match[str]:
        assert from_recipe_dir
        return re.search(regex_pattern, (folder / load_file).read_text(encoding="utf-8"))

    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(
        (folder / "meta.yaml").read_text(encoding="utf-8")
    )
    return yaml.safe_load(template.render(load_file_regex=load_file_regex, PYTHON="python"))


def test_conda_recipe_requires_what_the_package_does():
    """Names, lower bounds, commands, version and licence are those of setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    recipe = conda_recipe()
    wanted = [f"python {setup['options']['python_requires']}"]
    for line in setup["options"]["install_requires"].split("\n"):
        if line.strip():
            name, bound = line.split(" ", 1)
            wanted.append(f"{CONDA_NAMES.get(name, name.lower())} {bound.replace(' ', '')}")
    assert sorted(recipe["requirements"]["run"]) == sorted(wanted)
    assert recipe["requirements"]["host"][0] == wanted[0]
    scripts = setup["options.entry_points"]["console_scripts"].strip().split("\n")
    assert recipe["build"]["entry_points"] == scripts
    assert (recipe["package"]["name"], recipe["package"]["version"]) == ("n2a-bids", n2a_bids.__version__)
    assert recipe["about"]["license"] == setup["metadata"]["license"]
    assert recipe["about"]["summary"] == setup["metadata"]["description"]


def test_conda_recipe_builds_from_the_checkout():
    """Its source is the repository, and what it tries are commands that exist."""
    recipe = conda_recipe()
    assert (ROOT / ".github" / "conda" / recipe["source"]["path"]).resolve() == ROOT
    assert {command.split()[0] for command in recipe["test"]["commands"]} == {"n2a", "n2a-tools"}


def test_release_notes_tell_of_every_version():
    """Each version of CHANGES.md has its words for users, the newest first, and it is that of the package."""
    versions = {
        name: re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        for name in ("CHANGES.md", "docs/whats_new.md")
    }
    assert versions["CHANGES.md"] == versions["docs/whats_new.md"]
    assert versions["CHANGES.md"][0] == n2a_bids.__version__
