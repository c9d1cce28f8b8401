"""Shared folders: a work directory that others could write to is refused, an index is shared as asked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from n2a_bids.config import Config, SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.errors import ConfigError
from n2a_bids.system.environment import brief_environment, prepare_environment

RUNS = {f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz": None for run in "12"}


@pytest.fixture
def config(tmp_path) -> Config:
    return Config(tmp_path / "bids", tmp_path / "out", tmp_path / "work", "uuid")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o707, 0o702])
@pytest.mark.parametrize("inside", ["", "cache", "locks", "n2a_0_1_0"])
def test_a_work_directory_that_anyone_may_write_to_is_refused(config, mode, inside):
    """Itself, or a folder in it from which something is loaded; the sticky bit helps nothing."""
    folder = config.work_dir / inside
    folder.mkdir(parents=True)
    folder.chmod(mode)
    with pytest.raises(
        ConfigError, match=rf"{folder}: expected a work directory .*anyone.*{mode:o}.*; choose"
    ):
        prepare_environment(config, {})
    folder.chmod(0o770)
    prepare_environment(config, {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_work_directory_of_another_user_is_refused(config, tmp_path):
    """Root is no exception: what it would load runs as root. A link is what it leads to."""
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, 12345)
    config.work_dir.symlink_to("theirs")
    with pytest.raises(ConfigError, match=r"of another user .number 12345"):
        prepare_environment(config, {})


def test_a_listing_keeps_its_caches_out_of_such_a_folder(config):
    """It needs no work directory, and stops for none."""
    config.work_dir.mkdir()
    config.work_dir.chmod(0o777)
    environ: dict[str, str] = {}
    with brief_environment(config, environ):
        assert not environ["MPLCONFIGDIR"].startswith(str(config.work_dir))
    assert list(config.work_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("parent", "folder", "file"),
    [(0o755, 0o755, 0o644), (0o700, 0o700, 0o600), (0o2775, 0o2775, 0o664), (0o1777, 0o775, 0o664)],
)
def test_an_index_is_shared_as_the_folder_it_goes_to(make_bids, tmp_path, parent, folder, file):
    """Readable by those who may read there, writable by its group, and never by all."""
    bids_dir, database = make_bids(RUNS), tmp_path / "db"
    database.mkdir()
    database.chmod(parent)
    selection = SelectionConfig(modalities=("T1w",), database_dir=database)
    assert len(collect(bids_dir, selection).units) == len(collect(bids_dir, selection).units) == 1
    (index,) = database.iterdir()
    assert mode_of(index) == folder
    assert {mode_of(path) for path in index.rglob("*")} == {file}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
