"""An option is declared once, at its field: the command lines and the settings file follow from it."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

import n2a_bids
from n2a_bids.cli.app.parser import build_parser
from n2a_bids.cli.options import OptionGroups, add_options, read_options
from n2a_bids.cli.tools import build_parser as build_tools_parser
from n2a_bids.config import DenoiseConfig
from n2a_bids.config.options import Option, Range, declared_fields
from n2a_bids.config.toml import setting_names
from n2a_bids.dataset.read.filters import QUERIES
from n2a_bids.interfaces.denoise import Denoise


@dataclass(frozen=True)
class Section:
    edge_mm: Annotated[float, Range(0, above=True), Option("edge", group="sizes")] = 2.5
    shape: Annotated[Literal["round", "square"], Option("shape", flags=("--form",))] = "round"
    hidden: int = 7


@dataclass(frozen=True)
class Tool:
    images: Annotated[tuple[Path, ...], Option("images", positional=True, metavar="IMAGE")]
    out_dir: Annotated[Path, Option("folder")]
    section: Section = field(default_factory=Section)
    counts: Annotated[tuple[int, ...], Range(1), Option("numbers")] = (2, 4)
    extra: Annotated[tuple[str, ...], Option("more", n_values=1)] = ()
    words: Annotated[tuple[str, ...], Option("words", reading="words")] = ()
    is_quick: Annotated[bool, Option("less", flags=("--quick",))] = False


def parse(*words: str) -> Tool:
    parser = argparse.ArgumentParser()
    add_options(OptionGroups(parser), Tool)
    return read_options(parser.parse_args(words), Tool)


def test_fields_without_a_word_keep_their_defaults():
    """Sections too, and what is no option."""
    assert parse("a", "b", "--out-dir", "c") == Tool((Path("a"), Path("b")), Path("c"))


def test_every_kind_of_field_is_read():
    """Spelling from the name unless told, values by type; given lists replace their defaults."""
    read = parse(
        *("a", "--out-dir", "c", "--edge-mm", "1", "--form", "square", "--counts", "1", "3", "--quick"),
        *("--extra=--x", "--extra=y", "--words", "p 'q r'"),
    )
    assert read.section == Section(1.0, "square")
    assert (read.counts, read.extra, read.words, read.is_quick) == ((1, 3), ("--x", "y"), ("p", "q r"), True)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--edge-mm", "0"), "a number above 0"),
        (("--edge-mm", "nan"), "a number above 0"),
        (("--counts", "0"), "a whole number from 1"),
        (("--counts", "1.5"), "a whole number from 1"),
        (("--form", "oval"), "invalid choice"),
    ],
)
def test_values_out_of_range_are_refused_in_words(words, complaint, capsys):
    """The range stands at the field, too."""
    with pytest.raises(SystemExit):
        parse("a", "--out-dir", "c", *words)
    assert complaint in capsys.readouterr().err


def test_help_tells_the_default_once(capsys):
    """From the field, under its heading."""
    with pytest.raises(SystemExit):
        parse("--help")
    shown = capsys.readouterr().out
    assert "edge (default: 2.5)" in shown
    assert "numbers (default: 2 4)" in shown
    assert shown.index("sizes:") < shown.index("--edge-mm EDGE_MM", shown.index("sizes:"))


def test_options_of_the_denoiser_are_those_of_the_app():
    """One field of `DenoiseConfig` is an option of ``n2a``, of ``n2a-tools denoise`` and of its node."""
    app = {action.dest: action.option_strings for action in build_parser()._actions}
    commands = next(action.choices for action in build_tools_parser("denoise")._actions if action.choices)
    tool = {action.dest: action.option_strings for action in commands["denoise"]._actions}
    node = Denoise().inputs
    for declared in declared_fields(DenoiseConfig):
        assert app[f"denoise.{declared.name}"][0] == tool[f"job.denoise.{declared.name}"][0]
        assert node.trait(declared.name).argstr.split()[0] == declared.flags[0]
        assert bool(node.trait(declared.name).nohash) == (
            not declared.option.shapes_result or declared.item is Path
        )


def _messages(path: Path) -> Iterator[str]:
    """Texts of a module that are no docstrings, with gaps for what is filled in."""
    tree = ast.parse(path.read_text())
    within = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    within |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in within:
            yield node.value


def test_messages_of_shared_layers_say_whose_option_is_meant():
    """Readers of `n2a-tools denoise` and of the Python functions know no --bids-filter-file."""
    app = {flag for action in build_parser()._actions for flag in action.option_strings}
    commands = next(action.choices for action in build_tools_parser("denoise")._actions if action.choices)
    only = app - {flag for action in commands["denoise"]._actions for flag in action.option_strings}
    package = Path(n2a_bids.__file__).parent
    shared = ("api", "algorithms", "denoising", "io", "external", "interfaces/anat", "interfaces/gaps.py")
    files = [package / name for name in (*shared, "dataset/read/image_checks.py", "tools/denoise.py")]
    files = [one for path in files for one in (path.rglob("*.py") if path.is_dir() else [path])]
    for path in (path for path in files if "--" in path.read_text()):
        for text in _messages(path):
            named = {flag.rstrip("-") for flag in re.findall(r"--[a-z][a-z0-9-]+", text)} & only
            assert not named or "n2a: " in text or path.name in ("frames.py", "b0_brain.py"), (path, text)


def test_every_option_of_the_app_is_a_field():
    """But for the few that combine others or do nothing."""
    combined = {"help", "version", "level", "debug", "config_file", "plugin_file"}
    combined |= {f"filter_{query}" for query in QUERIES}
    found = {action.dest for action in build_parser()._actions}
    assert found - set(setting_names()) == combined | {"notrack", "no_datalad_get"}
