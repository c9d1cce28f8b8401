"""The recipes for images: what they promise on paper, and, where an engine is at hand, for real."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PROOF = Path(__file__).with_name("prove_containers.sh")
_RECIPES = ("Dockerfile", "singularity.def")


def _instructions(name: str) -> str:
    """A recipe without its comments."""
    lines = (_ROOT / name).read_text().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


@pytest.mark.parametrize("name", _RECIPES)
def test_recipe_fetches_from_public_package_indices_only(name):
    """No downloads beside pip, and no host but PyTorch's."""
    text = _instructions(name)
    assert not re.search(r"\b(curl|wget|git clone)\b", text)
    assert set(re.findall(r"https?://([\w.-]+)", text)) == {"download.pytorch.org"}


@pytest.mark.parametrize("name", _RECIPES)
def test_recipe_pins_versions_and_bundles_no_licensed_suite(name):
    """Every installation is held to the tested set; FSL and FreeSurfer stay out."""
    text = _instructions(name)
    for command in re.findall(r"pip install[^\n]*(?:\\\n[^\n]*)*", text):
        assert "--constraint" in command or "--no-deps" in command
    assert not re.search("freesurfer|fsl", text, re.IGNORECASE)


@pytest.mark.parametrize("name", _RECIPES)
def test_image_knows_its_version(name):
    """It is recorded in the description of the output."""
    assert "N2A_DOCKER_TAG" in _instructions(name)


def test_dockerfile_copies_the_lock_before_the_source():
    """A change of code must not reinstall the dependencies."""
    text = _instructions("Dockerfile")
    assert text.index("COPY constraints.txt") < text.index("COPY n2a_bids")
    assert "# syntax" not in (_ROOT / "Dockerfile").read_text()
    assert text.count('ENTRYPOINT ["n2a"]') == 1


def test_docker_context_holds_what_the_recipe_copies():
    """Everything named in a COPY passes .dockerignore."""
    allowed = {
        line[1:] for line in (_ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", _instructions("Dockerfile"), re.MULTILINE)
    assert {name for names in copied for name in names.split()} <= allowed


def test_definition_copies_what_the_dockerfile_copies():
    """Both images are made of the same files."""
    text = _instructions("singularity.def")
    for name in ("constraints.txt", "setup.cfg", "pyproject.toml", "LICENSE", "README.md", "n2a_bids"):
        assert re.search(rf"^\s+{re.escape(name)} /src/", text, re.MULTILINE)
    for section in ("arguments", "post", "test", "runscript", "apprun tools", "labels", "help"):
        assert f"%{section}" in text


@pytest.mark.container
def test_images_build_and_run_where_they_must(tmp_path):
    """The whole proof; see the script for what it shows."""
    if os.geteuid() != 0 or not any(map(shutil.which, ("docker", "podman", "apt-get"))):
        pytest.skip("needs root and a container engine, or apt-get to install one")
    environment = {"PYTHON": sys.executable, **os.environ}
    assert subprocess.run(["bash", str(_PROOF), str(tmp_path)], env=environment, check=False).returncode == 0
