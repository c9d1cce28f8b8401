"""What other programs are given to start ``n2a`` with: descriptor, schema, bundles, completion."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from n2a_bids import __version__
from n2a_bids.cli.app.parser import build_parser
from n2a_bids.cli.app.settings import parse_config
from n2a_bids.cli.describe import boutiques_descriptor
from n2a_bids.cli.tools import main as tools
from n2a_bids.config.schema import settings_schema
from n2a_bids.config.toml import format_settings, setting_names

PAGES = Path(__file__).resolve().parents[2] / "docs" / "orchestrators"


@pytest.fixture(scope="module")
def descriptor(tmp_path_factory):
    path = tmp_path_factory.mktemp("boutiques") / "n2a.json"
    assert tools(["describe", "boutiques", "--image", "n2a:1", "--out", str(path)]) == 0
    return path


def words_of(descriptor: Path, invocation: dict[str, object]) -> list[str]:
    """The command line that Boutiques makes of an invocation, without the program's name."""
    given = descriptor.with_name("invocation.json")
    given.write_text(json.dumps(invocation))
    bosh = pytest.importorskip("boutiques")
    shown = bosh.execute("simulate", str(descriptor), "-i", str(given)).stdout
    return shlex.split(shown.strip().splitlines()[-1])[1:]


def test_boutiques_takes_the_descriptor(descriptor):
    """Its own validator has nothing to say against it."""
    pytest.importorskip("boutiques").validate(str(descriptor))


def test_boutiques_makes_a_command_line_that_we_take(descriptor, tmp_path):
    """Options with one value, several, none, and numbers, reach their settings."""
    (tmp_path / "bids").mkdir()
    invocation = {
        "bids_dir": str(tmp_path / "bids"), "output_dir": str(tmp_path / "out"),
        "analysis_level": "participant", "participant_label": ["01", "sub-02"], "nprocs": 2, "mem": "8G",
        "modalities": ["T1w"], "dry_run": True, "b0_threshold": 100, "skull_strip": True,
    }  # fmt: skip
    config = parse_config(words_of(descriptor, invocation), {})
    assert config.selection.participants == ("01", "02")
    assert (config.stage, config.selection.modalities) == ("dry-run", ("T1w",))
    assert (config.selection.b0_threshold, config.denoise.skull_strip) == (100.0, True)


def test_every_option_is_an_input():
    """None is left out, but for those that only tell something or do nothing."""
    flags = {
        one["command-line-flag"] for one in boutiques_descriptor()["inputs"] if "command-line-flag" in one
    }
    spelled = [action.option_strings for action in build_parser()._actions if action.option_strings]
    missing = {names[-1] for names in spelled if not flags & set(names)}
    assert missing == {"--help", "--version", "--notrack", "--no-datalad-get"}


def test_schema_describes_every_setting_and_takes_what_a_run_writes(tmp_path):
    """The settings file that a run leaves is valid; a misspelled key and a value out of range are not."""
    schema = settings_schema()
    keys = {
        f"{section}.{key}": one
        for section, table in schema["properties"].items()
        for key, one in table.get("properties", {}).items()
    }
    assert all(one["description"] for one in keys.values())
    assert {name for name in setting_names() if "." in name} == keys.keys()
    jsonschema = pytest.importorskip("jsonschema")
    config = parse_config([str(tmp_path), str(tmp_path / "out"), "participant", "--device", "cpu"], {})
    written = tomllib.loads(format_settings(config, {"version": __version__}))
    jsonschema.validate(written, schema)
    for wrong in ({"denoise": {"recipes": "fast"}}, {"selection": {"b0_threshold": -1}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_nipoppy_bundle_fits_the_descriptor(descriptor):
    """Its version is ours, and each key of its invocation is an input."""
    bundle = {path.stem: json.loads(path.read_text()) for path in (PAGES / "nipoppy").glob("*.json")}
    assert bundle["config"]["VERSION"] == __version__
    inputs = {one["id"] for one in json.loads(descriptor.read_text())["inputs"]}
    assert bundle["invocation"].keys() <= inputs


def test_babs_and_snakemake_give_options_that_exist():
    """As they stand in the example files."""
    known = {name for action in build_parser()._actions for name in action.option_strings}
    babs = yaml.safe_load((PAGES / "babs.yaml").read_text())
    flags = {flag for flag in babs["bids_app_args"] if flag.startswith("-")}
    flags |= set(re.findall(r'[" ](--?[a-z-]+) ', (PAGES / "Snakefile").read_text().split("shell:", 1)[1]))
    assert {"-w", "--participant-label", "--mem"} <= flags <= known
    assert babs["zip_foldernames"] == {"n2a": __version__.replace(".", "-")}


@pytest.mark.parametrize(
    ("program", "line", "expected"),
    [
        ("main", "n2a in out participant --strat", ["--strategy"]),
        ("main", "n2a in out participant --strategy noise2a", ["noise2average"]),
        ("tools", "n2a-tools slu", ["slurm"]),
        ("tools", "n2a-tools slurm in out --max-p", ["--max-parallel"]),
    ],
)
def test_the_shell_completes(program, line, expected):
    """Commands, options and values, as argcomplete's shell function asks for them."""
    pytest.importorskip("argcomplete")
    asked = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n"}
    read, write = os.pipe()
    script = f"import os; os.dup2({write}, 8); from n2a_bids.cli.{program} import main; main([])"
    subprocess.run([sys.executable, "-c", script], env=os.environ | asked, pass_fds=[write], check=False)
    os.close(write)
    with os.fdopen(read) as answer:
        assert answer.read().split() == expected


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--participant-labels", "01"], "--participant-label"),
        (["--random_sed=1"], "--random-seed"),
        (["--strategy", "Noise2averag"], "noise2average"),
        (["-m", "t1w"], "T1w"),
    ],
)
def test_a_misspelled_word_is_answered_by_the_right_one(words, meant, capsys):
    """The error ends with the option or value that was probably meant."""
    with pytest.raises(SystemExit):
        build_parser().parse_args(["in", "out", "participant", *words])
    assert capsys.readouterr().err.rstrip().endswith(f"did you mean {meant}?")
