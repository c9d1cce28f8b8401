"""Environment variables, log, exit codes and table of a run."""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from nipype import Workflow

from n2a_bids.app import batch
from n2a_bids.app.batch import run_batch
from n2a_bids.app.log import participant_lock, results_lock, write_log
from n2a_bids.app.messages import explain
from n2a_bids.app.outcomes import Outcome, exit_status, format_outcomes, list_reports
from n2a_bids.app.participant import result_remarks
from n2a_bids.app.work import ParticipantWork
from n2a_bids.app.work_dir import forget_moved_steps, work_dir_of
from n2a_bids.config import Config, DebugConfig, DenoiseConfig, ResourceConfig
from n2a_bids.config.toml import read_settings
from n2a_bids.dataset.units import Collection, DenoisingUnit, Excluded, ImageFile
from n2a_bids.errors import ConfigError
from n2a_bids.system.environment import brief_environment, prepare_environment
from n2a_bids.system.signals import Interruption


@pytest.fixture
def config(tmp_path) -> Config:
    return Config(
        tmp_path / "bids",
        tmp_path / "out",
        tmp_path / "work",
        "uuid",
        denoise=DenoiseConfig(random_seed=11),
        resources=ResourceConfig(omp_nthreads=3),
    )


def test_children_get_seed_threads_and_no_network(config):
    """Seeds, threads and network are not the user's to change; the rest is a default.

    A step in a worker has one thread; what may have more is a child, which is told so.
    """
    environ = {"HOME": "/tmp", "OMP_NUM_THREADS": "64", "MPLCONFIGDIR": "/mine", "TEMPLATEFLOW_HOME": "/t"}
    prepare_environment(config, environ)
    assert environ["ANTS_RANDOM_SEED"] == environ["PYTHONHASHSEED"] == "11"
    assert environ["OMP_NUM_THREADS"] == environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "1"
    assert (environ["NO_ET"], environ["NIPYPE_NO_ET"], environ["TEMPLATEFLOW_AUTOUPDATE"]) == ("1", "1", "0")
    assert (environ["MPLCONFIGDIR"], environ["TEMPLATEFLOW_HOME"]) == ("/mine", "/t")
    assert environ["NIPYPE_CONFIG_DIR"].startswith(str(config.work_dir))
    assert environ["LOGNAME"]


@pytest.mark.parametrize("home", [None, "/no/such/home", "/dev/null"])
def test_missing_home_is_replaced(config, home):
    """Containers run as users without a home, or with one that cannot be written."""
    environ = {} if home is None else {"HOME": home}
    prepare_environment(config, environ)
    assert Path(environ["HOME"]).is_dir()
    assert environ["HOME"].startswith(str(config.work_dir))
    assert environ["TEMPLATEFLOW_HOME"].startswith(str(config.work_dir))


def test_templates_of_the_user_stay_visible(config, tmp_path):
    """Another cache folder must not hide what was downloaded."""
    templates = tmp_path / ".cache" / "templateflow"
    templates.mkdir(parents=True)
    environ = {"HOME": str(tmp_path)}
    prepare_environment(config, environ)
    assert environ["TEMPLATEFLOW_HOME"] == str(templates)


def test_temporary_folder_is_provided_where_there_is_none(config, monkeypatch):
    """A read-only root leaves no /tmp."""
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())
    writable = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not str(path).endswith("tmp") and writable(path, mode)
    )
    environ = {"HOME": str(config.work_dir.parent)}
    prepare_environment(config, environ)
    assert environ["TMPDIR"] == tempfile.gettempdir()
    assert environ["TMPDIR"].startswith(str(config.work_dir))


def test_work_directory_that_cannot_be_written_is_refused(config, tmp_path):
    """A file is in the way."""
    (tmp_path / "work").touch()
    with pytest.raises(ConfigError, match="-w"):
        prepare_environment(config, {})


def test_a_work_directory_with_brackets_is_refused(config, tmp_path):
    """nipype would compute all anew in it, and ANTs would fail; a link to it is no way around."""
    (tmp_path / "a[1]").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a[1]")
    for folder in (tmp_path / "a[1]", tmp_path / "link" / "work"):
        with pytest.raises(ConfigError, match=r"a\[1\].*without brackets.* -w"):
            prepare_environment(replace(config, work_dir=folder), {})
    assert not list((tmp_path / "a[1]").iterdir())


def test_brief_environment_leaves_no_work_directory(config, tmp_path):
    """Caches vanish with their folder; a work directory that is there keeps them."""
    environ = {"HOME": str(tmp_path)}
    with brief_environment(config, environ):
        assert Path(environ["MPLCONFIGDIR"]).parent.is_dir()
    assert not Path(environ["MPLCONFIGDIR"]).parent.exists()
    assert not config.work_dir.exists()
    config.work_dir.mkdir()
    with brief_environment(config, environ := {"HOME": str(tmp_path)}):
        assert environ["MPLCONFIGDIR"].startswith(str(config.work_dir))


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([], 70),
        (["nothing found"], 70),
        (["nothing to do"], 0),
        (["nothing to do", "nothing found"], 0),
        (["denoised", "nothing to do"], 0),
        (["denoised", "failed"], 1),
        (["nothing to do", "failed"], 1),
    ],
)
def test_one_function_decides_on_the_exit_code(found, status):
    """Failure over success; nothing to do is a success, a selection without images is none."""
    outcomes = [Outcome(str(index), word) for index, word in enumerate(found)]
    assert exit_status(outcomes) == status
    required = exit_status(outcomes, require_repetitions=True)
    assert required == (status if "denoised" in found or "failed" in found else 70)


def test_table_wraps_long_reasons():
    """Reasons are indented below their participant."""
    text = format_outcomes([Outcome("01", "failed", ("word " * 60, "second"))], width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[-2].strip() == "second"


def test_reports_are_listed_wherever_they_lie(tmp_path):
    """In the folder of the participant or of a session, one for each session; viewers are no reports."""
    pages = (
        "sub-01.html",
        "sub-02/sub-02.html",
        "sub-03/ses-a/sub-03_ses-a.html",
        "sub-03/ses-b/sub-03_ses-b.html",
    )
    for name in (*pages, "sub-01_viewer.html", "sub-03/ses-a/sub-03_ses-a_viewer.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = list_reports(tmp_path, ["01", "02", "03", "04"]).splitlines()
    assert listed == [f"report: {tmp_path / name}" for name in pages]


def work() -> ParticipantWork:
    image = ImageFile(Path("/b/sub-01/anat/sub-01_run-1_T1w.nii.gz"), {"sub": "01"})
    unit = DenoisingUnit("anat-repeats", (image, image), {"sub": "01"})
    excluded = Excluded(Path("/b/sub-01/anat/sub-01_acq-x_T1w.nii.gz"), "one T1w")
    other = Excluded(Path("/b/sub-02/anat/sub-02_T1w.nii.gz"), "truncated", is_error=True)
    collection = Collection((unit,), (excluded, other))
    mine, theirs = (ParticipantWork.of(label, collection) for label in ("01", "02"))
    assert theirs.outcome([]).status == "failed"
    return mine


def test_outcome_follows_failures_and_faults():
    """An image left out by its nature is told; a broken one is a failure."""
    assert work().outcome([]).status == "denoised"
    assert "one T1w" in "".join(work().outcome([]).details)
    outcome = work().outcome(["denoise: it broke", "denoise: it broke"])
    assert outcome.status == "failed"
    assert outcome.details[0] == "denoise: it broke"
    assert len(outcome.details) == 2


def test_repetition_that_was_left_out_is_named_in_the_table(config):
    """As in the report, and only for the groups of this run."""
    anat = config.output_dir / "sub-01" / "anat"
    anat.mkdir(parents=True)
    rows = [{"file": "sub-01_run-3_T1w.nii.gz", "accepted": False, "reason": "its contrast differs"}]
    for name in ("sub-01", "sub-01_acq-earlier"):
        record = json.dumps({"repetitions": rows})
        (anat / f"{name}_desc-alignment_figures.json").write_text(record)
    (remark,) = result_remarks(work(), config)
    assert remark == "sub-01_T1w: warning: sub-01_run-3_T1w.nii.gz was left out: its contrast differs"
    assert remark in work().outcome([], [remark]).details


def test_log_holds_settings_and_versions(config):
    """The record of a run can be given to --config-file."""
    path = write_log("01", config)
    assert path == config.output_dir / "sub-01" / "log" / "uuid" / "n2a.toml"
    assert read_settings(path)["denoise"]["random_seed"] == 11
    assert "version_torch" in path.read_text()


def _try_lock(lock, config: Config, answers) -> None:
    try:
        with lock("01", config):
            answers.put("free")
    except ConfigError as error:
        answers.put(str(error))


def _other_process(lock, config: Config) -> str:
    """What a second process is answered that asks for a lock."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_try_lock, args=(lock, config, answers))
    child.start()
    answer = answers.get(timeout=30)
    child.join()
    return answer


@pytest.mark.parametrize("lock", [participant_lock, results_lock])
def test_one_participant_is_locked_against_a_second_process(config, lock):
    """Another process is refused while the block runs, and not after it."""
    with lock("01", config), lock("02", config):
        assert "sub-01: another process is" in _other_process(lock, config)
    assert _other_process(lock, config) == "free"


def test_results_are_locked_whatever_the_work_directory(config):
    """Two runs with options of their own would mix their images under the same names."""
    elsewhere = replace(config, work_dir=config.work_dir.with_name("other"))
    with results_lock("01", config):
        refused = _other_process(results_lock, elsewhere)
        assert "another output directory" in refused
        assert "-w" not in refused, "another work directory does not help"
        assert _other_process(results_lock, replace(config, output_dir=config.output_dir / "x")) == "free"
    assert not list(config.output_dir.rglob("lock")), "it is no result"


def test_run_batch_holds_the_lock_of_results(config, monkeypatch):
    """While it works; what another process holds is not touched, and fails with the reason."""
    held = []
    monkeypatch.setattr(batch, "init_participant_wf", lambda *arguments: Workflow("sub_01"))
    monkeypatch.setattr(
        batch, "run_to_the_end", lambda *arguments: held.append(_other_process(results_lock, config)) or ""
    )
    assert run_batch([work()], config, Interruption()) == {"01": []}
    assert "another process is writing its results" in held[0]
    with results_lock("01", config), participant_lock("01", config):
        before = sorted(config.output_dir.rglob("*"))
        (sentence,) = run_batch([work()], config, Interruption())["01"]
        assert "another process is writing its results" in sentence
        assert sorted(config.output_dir.rglob("*")) == before


def test_steps_that_were_done_elsewhere_are_done_again(config, capsys):
    """Results name files by their path: of a moved work directory these are gone, of a copy another's."""
    step = work_dir_of("01", config) / "gaps" / "result_gaps.pklz"
    other = work_dir_of("02", config) / "gaps"
    for label in ("01", "01"):
        forget_moved_steps(label, config)
        step.parent.mkdir(parents=True, exist_ok=True)
        step.touch()
    assert step.exists(), "where they are since they were done"
    other.mkdir(parents=True)
    link = config.work_dir.with_name("link")
    link.symlink_to(config.work_dir)
    forget_moved_steps("01", replace(config, work_dir=link))
    assert step.exists() and not capsys.readouterr().err, "a link is no other place"
    moved = replace(config, work_dir=config.work_dir.rename(config.work_dir.with_name("moved")))
    for label in ("01", "02"):
        forget_moved_steps(label, moved)
    assert not work_dir_of("01", moved).exists()
    assert not work_dir_of("02", moved).exists(), "nobody knows where it was"
    assert f"was {config.work_dir}" in capsys.readouterr().err


def test_run_batch_forgets_moved_steps(config, monkeypatch):
    """Before the workflow is built."""
    monkeypatch.setattr(batch, "init_participant_wf", lambda *arguments: Workflow("sub_01"))
    monkeypatch.setattr(batch, "run_to_the_end", lambda *arguments: "")
    run_batch([work()], config, Interruption())
    config.work_dir.rename(config.work_dir.with_name("moved"))
    moved = replace(config, work_dir=config.work_dir.with_name("moved"))
    (work_dir_of("01", moved) / "gaps").mkdir(parents=True)
    assert run_batch([work()], moved, Interruption()) == {"01": []}
    assert not (work_dir_of("01", moved) / "gaps").exists()


def test_work_directory_of_a_participant_holds_the_version(config):
    """Another version must not resume from it."""
    assert work_dir_of("01", config).parent.name.startswith("n2a_")


def test_tracebacks_are_for_those_who_ask(config, capsys):
    """Quiet by default."""
    try:
        raise ValueError("reason")
    except ValueError:
        explain(config)
        assert capsys.readouterr().err == ""
        loud = Config(*[config.bids_dir] * 3, "uuid", debug=DebugConfig(show_traceback=True, pdb=True))
        explain(loud)
        assert "ValueError: reason" in capsys.readouterr().err
