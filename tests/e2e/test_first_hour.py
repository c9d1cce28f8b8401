"""The page "First hour", followed to the letter: each of its commands, in their order, in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import n2a_bids
from n2a_bids.reports.pages.summary import _AS_IT_IS
from n2a_bids.tools.doctor.checks import Finding
from n2a_bids.tools.doctor.report import format_text

PAGE = Path(__file__).parents[2] / "docs" / "first_hour.md"
_INSTALLATION = ("python3 -m venv", ". venv", "export", "pip install")
"""Done before the tests run."""


def commands() -> list[str]:
    """Lines of the shell, without comments."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    lines = [line.split("   #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(_INSTALLATION)]


def test_the_page_has_every_step():
    """From the doctor to the group page; all of them are programs of this package."""
    assert len(commands()) == 6
    assert all(line.split()[0] in ("n2a", "n2a-tools") for line in commands())


def test_the_doctor_ends_with_the_words_that_the_page_tells():
    """With or without a problem."""
    text = PAGE.read_text(encoding="utf-8")
    assert f"`{format_text({}).strip()}`" in text
    found = format_text({"places": [Finding("work", "/w", "/w cannot be written: give another")]})
    assert found.endswith("1 problem\n  * /w cannot be written: give another\n")
    assert "!!" not in text


def test_the_page_speaks_of_the_report_as_it_is():
    """Names of its table, the words of its verdicts, and their order on the page."""
    text = PAGE.read_text(encoding="utf-8")
    data = Path(n2a_bids.__file__).parent / "data"
    titles = {row["title"] for row in yaml.safe_load((data / "measures.yml").read_text(encoding="utf-8"))}
    assert {"Sharpness kept", "Anatomy in the residual"} <= titles & set(re.findall('"(.*?)"', text))
    heads = {verdict.head.format(mean="plain mean", image="image") for verdict in _AS_IT_IS.values()}
    assert "The plain mean won." in heads & set(re.findall('"(.*?)"', text))
    template = (data / "templates" / "participant.html").read_text(encoding="utf-8")
    words = (template.index("<strong>Warnings"), template.index("verdict.head"))
    assert (words[0] < words[1]) == (text.index("| warnings") < text.index("| the coloured box"))


@pytest.mark.proof
def test_every_command_does_what_the_page_says(tmp_path):
    """On the demonstration as the user's own data; files that the page names are there."""
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    for line in commands():
        if "bids_dir" in line and not (tmp_path / "bids_dir").exists():
            (tmp_path / "bids_dir").symlink_to(tmp_path / "n2a-demo" / "bids")
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200
        )
        # What the doctor finds is the machine's.
        assert done.returncode == 0 or "doctor" in line, f"{line}\n{done.stdout}{done.stderr}"
    text = PAGE.read_text(encoding="utf-8")
    assert (tmp_path / re.search(r"n2a-demo/\S+\.html", text)[0]).is_file()
    for name in re.findall(r"sub-01_desc-\w+_T1w\.nii\.gz", text):
        assert (tmp_path / "out_dir" / "sub-01" / "anat" / name).is_file()
    assert (tmp_path / "out_dir" / "logs" / "CITATION.md").is_file()
