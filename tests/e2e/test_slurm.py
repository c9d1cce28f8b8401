"""``n2a-tools slurm``: the script it writes, run by bash with a pretended Slurm, and by a real one."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from n2a_bids.cli.tools import main
from n2a_bids.errors import ConfigError
from n2a_bids.tools.slurm import JobConfig, app_command, job_script, sbatch_options

_PROOF = Path(__file__).with_name("prove_slurm.sh")
_PRETEND_SBATCH = """#!/bin/bash
# Remembers what was asked for and answers with a job number.
echo "$*" >> "$PRETEND/asked"
n=$(wc -l < "$PRETEND/asked"); echo "$((100 + n))"
"""
_PATIENT_APP = """#!/bin/bash
trap 'exit 75' TERM
touch "$PRETEND/started"
while :; do sleep 0.1; done
"""


@pytest.fixture
def pretend(tmp_path, monkeypatch) -> Path:
    """Folder with a ``sbatch`` that runs nothing, an ``scontrol`` and an empty ``squeue``."""
    folder = tmp_path / "pretend"
    folder.mkdir()
    programs = {
        "sbatch": _PRETEND_SBATCH,
        "scontrol": "#!/bin/bash\necho 'MaxArraySize            = 3'\n",
        "squeue": "#!/bin/bash\n",
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PRETEND", str(folder))
    return folder


@pytest.fixture
def job_dir(tmp_path) -> Path:
    """Job directory of five participants and an app that ends with the exit code in its name."""
    app = tmp_path / "app"
    app.write_text('#!/bin/bash\nlabel=${*: -1}\necho "denoising $label"\nexit "${label#x}"\n')
    app.chmod(0o755)
    for label in ("x0", "x1", "x70", "x75", "x2"):
        (tmp_path / "bids" / f"sub-{label}").mkdir(parents=True)
    folder = tmp_path / "jobs"
    arguments = ["slurm", str(tmp_path / "bids"), str(tmp_path / "out"), "--job-dir", str(folder)]
    assert main([*arguments, "--command", str(app)]) == 0
    return folder


def _config(**changes) -> JobConfig:
    folders = {name: Path(f"/data/{name}") for name in ("bids_dir", "output_dir", "job_dir", "work_dir")}
    return JobConfig(**{**folders, **changes})


def _bash(job_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = ["bash", str(job_dir / "n2a.sh"), *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def _run_task(job_dir: Path, number: int, job: str = "101") -> int:
    return _bash(
        job_dir,
        N2A_LIST=str(job_dir / "participants.txt"), SLURM_ARRAY_TASK_ID=str(number), SLURM_ARRAY_JOB_ID=job,
    ).returncode  # fmt: skip


def _table(job_dir: Path) -> dict[str, list[str]]:
    lines = _bash(job_dir, "status").stdout.splitlines()
    return {line.split("\t")[0]: line.split("\t")[1:] for line in lines[1:]}


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("image", [None, Path("/images/n2a.sif")])
def test_job_script_is_valid_bash_without_leftovers(tmp_path, gpu, image):
    """Every variant parses, and no placeholder is left."""
    text = job_script(_config(gpu=gpu, image=image, max_parallel=50))
    (tmp_path / "job.sh").write_text(text)
    assert subprocess.run(["bash", "-n", tmp_path / "job.sh"], check=False).returncode == 0
    assert not re.search("@[A-Z_]+@", text)


def test_job_script_asks_for_a_gpu_only_when_told():
    """``--gres``, ``--nv`` and ``--device cuda`` come together or not at all."""
    without, with_gpu = (job_script(_config(gpu=gpu, image=Path("/n2a.sif"))) for gpu in (False, True))
    for words in ("--gres=gpu:1", "--nv", "--device cuda"):
        assert words in with_gpu
        assert words not in without
    assert "--device cpu" in without


def test_app_command_isolates_the_container_and_binds_what_it_needs():
    """The input is bound read-only, output and work directory writable, at their own paths."""
    command = app_command(_config(image=Path("/n2a.sif")))
    assert command.startswith("apptainer run --containall --cleanenv -B /data/bids_dir:/data/bids_dir:ro")
    assert "-B /data/output_dir:/data/output_dir -B /data/work_dir:/data/work_dir /n2a.sif" in command
    assert command.endswith('--participant-label "$1"')


def test_app_command_quotes_paths_with_spaces():
    """A space in a path stays inside one word."""
    assert "'/my data/bids'" in app_command(_config(bids_dir=Path("/my data/bids")))


def test_app_is_told_less_memory_than_the_job_has():
    """The interpreter and the shell need some of it, too."""
    assert "--mem 7.5G" in app_command(_config(memory="8G"))
    assert "--mem=8192M" in sbatch_options(_config(memory="8G"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"memory": "lots"}, "--mem"), ({"time": "soon"}, "--time"), ({"job_dir": Path("/a:b")}, "/a:b")],
)
def test_job_script_refuses_what_slurm_cannot_take(changes, named):
    """The message names the option or the path."""
    with pytest.raises(ConfigError, match=named):
        job_script(_config(**changes))


def test_participants_must_exist(tmp_path, capsys):
    """A label with or without ``sub-`` is found; another is refused by name."""
    for name in ("sub-02", "sub-01", "derivatives"):
        (tmp_path / "bids" / name).mkdir(parents=True)
    command = ["slurm", str(tmp_path / "bids"), str(tmp_path / "out"), "--job-dir", str(tmp_path / "jobs")]
    for options, listed in (([], "01\n02\n"), (["--participant-label", "sub-02"], "02\n")):
        assert main([*command, *options]) == 0
        assert (tmp_path / "jobs" / "participants.txt").read_text() == listed
    assert "1 participant, one" in capsys.readouterr().out
    assert main([*command, "--participant-label", "03"]) == 70
    assert "sub-03" in capsys.readouterr().err


def test_what_every_task_would_fail_with_is_told_before(tmp_path, capsys):
    """Output inside the input, no processors; an image that is not here may be on the nodes."""
    (tmp_path / "bids" / "sub-01").mkdir(parents=True)
    bids, jobs = str(tmp_path / "bids"), str(tmp_path / "jobs")
    assert main(["slurm", bids, f"{bids}/sub-01", "--job-dir", jobs]) == 70
    with pytest.raises(SystemExit):
        main(["slurm", bids, str(tmp_path / "out"), "--job-dir", jobs, "--cpus", "0"])
    assert not Path(jobs).exists()
    assert main(["slurm", bids, str(tmp_path / "out"), "--job-dir", jobs, "--image", "absent.sif"]) == 0
    assert "absent.sif: no such file here" in capsys.readouterr().err


def test_script_submits_everybody_in_arrays_the_cluster_allows(job_dir, pretend):
    """Five participants at three per array, and a collector after both arrays."""
    assert _bash(job_dir, "submit").returncode == 0
    first, second, collector = (pretend / "asked").read_text().splitlines()
    assert "--array=0-2" in first
    assert "--array=0-1" in second
    assert "--dependency=afterany:101:102" in collector


def test_script_records_every_exit_code(job_dir, pretend):
    """The table has one row per participant; a task that left no code was killed."""
    _bash(job_dir, "submit")
    labels = (job_dir / "participants.txt").read_text().split()
    assert labels == ["x0", "x1", "x2", "x70", "x75"]
    assert [_run_task(job_dir, number) for number in (0, 1, 2)] == [0, 1, 2]
    table = _table(job_dir)
    assert [table[f"sub-{label}"][0] for label in labels] == ["0", "1", "2", "n/a", "n/a"]
    assert table["sub-x0"][1] == "done"
    assert "killed" in table["sub-x75"][1]
    assert (job_dir / "outcome.tsv").read_text().startswith("participant_id\texit_code")
    assert not list(job_dir.rglob("*.tmp"))


_LIMIT_OF_OLD_SLURM = "slurmstepd-node7: error: StepId=10.batch exceeded memory limit (9 > 8), being killed"
_LIMIT_OF_CGROUP = "slurmstepd: error: Detected 1 oom_kill event in StepId=10.batch."
_NODE_FAILURE = "slurmstepd: error: *** JOB 10 ON node7 CANCELLED AT 2026 DUE TO NODE FAILURE, SEE LOG ***"


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (_LIMIT_OF_OLD_SLURM, "killed: memory limit of the job, ask for more with --mem"),
        (_LIMIT_OF_CGROUP, "killed: memory limit of the job, ask for more with --mem"),
        (_NODE_FAILURE, 'killed: the node failed, submit again by "failed"'),
        ("", "killed without an exit code: memory limit or dead node, see the log"),
    ],
)
def test_killed_task_is_explained_by_its_log(job_dir, pretend, words, meaning):
    """Node, number of restarts and reason, from the lines that Slurm left there; of the last start only."""
    _bash(job_dir, "submit")
    starts = [f"2026-11-21 15:09:47 sub-x0 on node{n}, restart {n - 6}" for n in (6, 7)]
    (job_dir / "logs" / "101_0.log").write_text("\n".join([starts[0], _LIMIT_OF_CGROUP, starts[1], words]))
    code, told, _, node, job, restarts, log = _table(job_dir)["sub-x0"]
    assert (code, told, node, job, restarts) == ("n/a", meaning, "node7", "101_0", "1")
    assert log.endswith("logs/101_0.log")


def test_script_submits_again_what_can_succeed(job_dir, pretend):
    """Failed, stopped and killed ones, but neither the finished nor those with nothing to do."""
    (pretend / "scontrol").write_text("#!/bin/bash\n")
    _bash(job_dir, "submit")
    for number in range(4):
        _run_task(job_dir, number)
    assert _bash(job_dir, "failed").returncode == 0
    (again,) = job_dir.glob("again_*.txt")
    assert again.read_text().split() == ["x1", "x2", "x75"]
    assert "--array=0-2" in (pretend / "asked").read_text().splitlines()[-2]


def test_task_passes_the_warning_of_the_time_limit_on(tmp_path, pretend):
    """SIGTERM reaches the app, whose own exit code is recorded and returned."""
    app, jobs = tmp_path / "app", tmp_path / "jobs"
    app.write_text(_PATIENT_APP)
    app.chmod(0o755)
    (tmp_path / "bids" / "sub-01").mkdir(parents=True)
    arguments = ["slurm", str(tmp_path / "bids"), str(tmp_path / "out"), "--job-dir", str(jobs)]
    main([*arguments, "--command", str(app)])
    task_variables = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_JOB_ID": "7"}
    environment = {**os.environ, **task_variables, "N2A_LIST": str(jobs / "participants.txt")}
    task = subprocess.Popen(["bash", str(jobs / "n2a.sh")], env=environment, stdout=subprocess.DEVNULL)
    for _ in range(200):
        if (pretend / "started").exists():
            break
        time.sleep(0.05)
    task.send_signal(signal.SIGTERM)
    assert task.wait(timeout=30) == 75
    assert (jobs / "status" / "sub-01.tsv").read_text().split("\t")[1] == "75"


def test_continuous_integration_knows_the_cost_of_every_proof():
    """A proof that is not in the list of costs would never run there."""
    default = re.search(r"\[ \$# -ge 2 \][^\n]*\\\n[^\n]*", _PROOF.read_text())[0]
    costs = _PROOF.with_name("prove_what_fits.sh").read_text().partition('slurm_costs="')[2].partition('"')[0]
    assert sorted(re.findall(r"prove_\w+", default)) == sorted(re.findall(r"^(prove_\w+) \d+$", costs, re.M))


@pytest.mark.slurm
def test_cluster_runs_the_array_and_survives_its_nodes(tmp_path):
    """The whole proof on a throw-away cluster; see the script for what it shows."""
    if os.geteuid() != 0 or not (shutil.which("slurmctld") or shutil.which("apt-get")):
        pytest.skip("needs root and Slurm, or apt-get to install it")
    environment = {"PYTHON": sys.executable, **os.environ}
    status = subprocess.run(["bash", str(_PROOF), str(tmp_path)], env=environment, check=False).returncode
    if status == 69:
        pytest.skip("no cluster can be started on this machine; the script has said why")
    assert status == 0
