"""Errors become exit codes and one paragraph; tools are found by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from n2a_bids import __version__
from n2a_bids.cli.failures import status_of
from n2a_bids.cli.main import main as n2a
from n2a_bids.cli.tools import TOOLS
from n2a_bids.cli.tools import main as tools
from n2a_bids.errors import BIDSDataError, ConfigError, DenoisingError, Interrupted


def fail(error: BaseException):
    def run() -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ConfigError("give one of them"), 2, "give one of them"),
        (BIDSDataError("no dataset"), 70, "no dataset"),
        (DenoisingError("loss is NaN"), 1, "loss is NaN"),
        (OSError(28, "No space left on device"), 1, "No space left"),
        (MemoryError("too much"), 1, "too much"),
        (ModuleNotFoundError("No module named 'ants'", name="ants"), 127, "install n2a-bids again"),
        (ModuleNotFoundError("No module named 'n2a_bids.x'", name="n2a_bids.x"), 1, "n2a_bids.x"),
        (Interrupted("stopped by SIGTERM"), 75, "error: stopped by SIGTERM; what is done is kept"),
        (KeyboardInterrupt(), 130, "the same command resumes"),
        (ZeroDivisionError("division by zero"), 1, "unexpected ZeroDivisionError"),
    ],
)
def test_each_error_has_its_exit_code_and_a_paragraph(error, status, words, capsys):
    """As documented in --help; no traceback unless asked for."""
    assert status_of("n2a", fail(error)) == status
    message = " ".join(capsys.readouterr().err.split())
    assert message.startswith("n2a: error: ")
    assert words in message
    assert "Traceback" not in message


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_tools_promise_nothing_of_the_app(error, capsys):
    """`n2a-tools` keeps nothing of a denoising that was stopped, and has no --low-mem."""
    status_of("n2a-tools", fail(error), resumes=False)
    message = capsys.readouterr().err
    assert "the same command resumes" not in message or "n2a needs less" in message
    assert "kept" not in message


def test_traceback_is_shown_on_request(capsys):
    """Before the paragraph."""
    status_of("n2a", fail(BIDSDataError("no dataset")), show_traceback=True)
    assert "Traceback" in capsys.readouterr().err


def test_success_is_passed_on(capsys):
    """A command's own exit code, and silence."""
    assert status_of("n2a", lambda: 0) == 0
    assert status_of("n2a", lambda: 70) == 70
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [n2a, tools])
def test_version_is_told(command, capsys):
    """The same for both commands."""
    with pytest.raises(SystemExit) as caught:
        command(["--version"])
    assert caught.value.code == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["no-such-tool"]])
def test_unknown_tool_is_a_usage_error(arguments, capsys):
    """The tools are listed."""
    with pytest.raises(SystemExit) as caught:
        tools(arguments)
    assert caught.value.code == 2
    assert "n2a-tools" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_every_tool_can_be_asked_for_help(name, capsys):
    """Each module has its options; only the chosen one is imported."""
    with pytest.raises(SystemExit) as caught:
        tools([name, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: n2a-tools " + name in shown
    assert "None" not in shown
    # "7", not "%(default)s": what is used when an option is not given is told.
    assert name != "pretrain" or "of everything random (default: 7)" in " ".join(shown.split())


def test_levels_go_to_their_commands(monkeypatch, tmp_path):
    """participant and group each to its own function."""
    import n2a_bids.app.group as group
    import n2a_bids.app.participant as participant

    monkeypatch.setattr(group, "run_group", lambda config: 11)
    monkeypatch.setattr(participant, "run_participants", lambda config, interruption: 12)
    folders = [str(tmp_path / "bids"), str(tmp_path / "out")]
    assert n2a([*folders, "group", "--device", "cpu"]) == 11
    assert n2a([*folders, "participant", "--device", "cpu"]) == 12
    monkeypatch.setattr(sys, "argv", ["n2a", *folders, "group", "-v"])
    assert n2a() == 11


def test_ctrl_c_within_exec_keeps_its_exit_code(tmp_path):
    """Libraries execute text while they load; ``python -m`` must not end by the signal for that."""
    (tmp_path / "struck.py").write_text(
        "import sys\n"
        "from n2a_bids.cli.failures import status_of\n"
        "sys.exit(status_of('n2a', lambda: exec('raise KeyboardInterrupt')))\n"
    )
    ended = subprocess.run([sys.executable, "-m", "struck"], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr.count("the same command resumes")) == (130, 1)
