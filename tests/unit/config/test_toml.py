"""Settings files: what is written can be read, and nothing unknown passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from n2a_bids.config import Config, DenoiseConfig, SelectionConfig
from n2a_bids.config.toml import format_settings, make_config, merge, read_settings
from n2a_bids.errors import ConfigError


def config(**changes) -> Config:
    return Config(Path("/bids"), Path("/out"), Path("/work"), "uuid", **changes)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "n2a.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_survive_writing_and_reading(tmp_path):
    """A run can be repeated from the file that it left."""
    original = config(
        derivatives={'odd "name"': Path("/mä sks")},
        selection=SelectionConfig(
            participants=("01", "B"), bids_filters={"t1w": {"run": [1, 2], "acquisition": "*"}}
        ),
        denoise=DenoiseConfig(strategy="mean", weights_dir=Path("/w"), random_seed=5, skull_strip=True),
        sloppy=True,
    )
    text = format_settings(original, {"host": 'a "host"\n'})
    settings = read_settings(write(tmp_path, text))
    again = make_config(
        {"bids_dir": Path("/bids"), "output_dir": Path("/out"), "run_uuid": "uuid", **settings}
    )
    assert again == original


def test_resources_and_folders_are_recorded_but_not_read_back(tmp_path):
    """Another machine has other processors, another run other folders."""
    settings = read_settings(write(tmp_path, format_settings(config(), {})))
    assert not {"resources", "bids_dir", "output_dir", "run_uuid", "stage"} & set(settings)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("colour = 1", "no setting called colour"),
        ("bids_dir = '/x'", "no setting called bids_dir"),
        ("[denoise]\nstrategi = 'mean'", "no setting called denoise.strategi"),
        ("[denoise]\nHEADING = 'x'", "no setting called denoise.HEADING; known here are strategy, recipe"),
        ("[denoise]\nrecipe = 'slow'", "denoise.recipe should be 'zero-shot' or"),
        ("[denoise]\nrandom_seed = '1'", "denoise.random_seed should be int"),
        ("sloppy = 1", "sloppy should be bool"),
        ("[selection]\nparticipants = '01'", "selection.participants should be"),
        ("denoise = 3", "denoise should be a table"),
        ("[denoise", "not valid TOML"),
        ("[align]\nmin_overlap = 3.0", "align.min_overlap should be from 0 to 1, found 3.0"),
        ("[align]\nmax_rotation_deg = nan", "align.max_rotation_deg should be from 0 to 180, found nan"),
        ("[outputs]\nsessions_in_a_report = 0", "outputs.sessions_in_a_report should be at least 1, found 0"),
        ("[denoise]\nrandom_seed = -5", "denoise.random_seed should be at least 0, found -5"),
        ("[selection]\nruns = [1, -2]", "selection.runs should be at least 0, found -2"),
        ("[resources]\nmemory_gb = 0", "resources.memory_gb should be at least 0.1"),
        ("[derivatives]\nraw = '/masks'", 'derivatives."raw" has the name of a link to the input'),
        ("[derivatives]\n'' = '/masks'", 'derivatives."" has the name of a link to the output'),
    ],
)
def test_wrong_settings_are_refused_with_their_name(tmp_path, text, complaint):
    """A typing mistake must not pass silently."""
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_settings(write(tmp_path, text))
    assert "n2a.toml" in str(caught.value)


def test_unreadable_settings_file_is_refused(tmp_path):
    """A folder is no file."""
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings(tmp_path)


def test_a_byte_order_mark_is_no_setting(tmp_path):
    """Editors of Windows write it, and other ends of lines."""
    path = tmp_path / "n2a.toml"
    path.write_bytes(b"\xef\xbb\xbf[denoise]\r\nstrategy = 'mean'\r\n")
    assert read_settings(path) == {"denoise": {"strategy": "mean"}}


def test_whole_numbers_pass_where_fractions_may_stand(tmp_path):
    """``memory_gb = 8`` is what people write."""
    settings = read_settings(write(tmp_path, "[resources]\nmemory_gb = 8\n[align]\nmin_correlation = 0.4"))
    assert settings == {"resources": {"memory_gb": 8.0}, "align": {"min_correlation": 0.4}}


def test_merge_leaves_both_alone():
    """Neither mapping is modified."""
    base, override = {"mask": {"method": "deepbet"}}, {"mask": {"template": "X"}, "sloppy": True}
    merged = merge(base, override)
    assert merged == {"mask": {"method": "deepbet", "template": "X"}, "sloppy": True}
    assert base == {"mask": {"method": "deepbet"}}
    assert override == {"mask": {"template": "X"}, "sloppy": True}
