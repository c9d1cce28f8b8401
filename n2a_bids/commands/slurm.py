"""``n2a-tools slurm``: write an array-job script for a dataset, one participant per task."""

from __future__ import annotations

import argparse
import importlib.resources
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from n2a_bids.config import SelectionConfig
from n2a_bids.dataset.folders import check_output_dir
from n2a_bids.dataset.index import select_participants
from n2a_bids.errors import ConfigError
from n2a_bids.images import whole_file
from n2a_bids.option_values import positive_int
from n2a_bids.resources import parse_memory

_GRACE_S = 120
_OVERHEAD_GB = 0.5


@dataclass(frozen=True, slots=True)
class JobConfig:
    """What the array job runs, and what it asks the cluster for."""

    bids_dir: Path
    output_dir: Path
    job_dir: Path
    """Where script, list, logs and exit codes go; seen by every node."""
    work_dir: Path
    image: Path | None = None
    """Apptainer image; None runs `command` as it is."""
    command: str = "n2a"
    apptainer: str = "apptainer"
    gpu: bool = False
    cpus: int = 2
    memory: str = "8G"
    time: str = "04:00:00"
    partition: str | None = None
    account: str | None = None
    max_parallel: int | None = None
    sbatch_options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    """Further arguments of ``n2a``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``n2a-tools slurm``."""
    parser.add_argument("bids_dir", type=Path, help="the dataset")
    parser.add_argument("output_dir", type=Path, help="where the derivatives will be")
    parser.add_argument(
        "--job-dir",
        type=Path,
        default=Path("n2a_slurm"),
        metavar="DIR",
        help="where script, logs and exit codes go; every node must see it (default: ./n2a_slurm)",
    )
    parser.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="work directory; on shared storage a stopped job resumes (default: DIR of --job-dir/work)",
    )
    parser.add_argument(
        "--participant-label", nargs="+", default=[], metavar="LABEL", help="only these participants"
    )
    parser.add_argument(
        "--image", type=Path, metavar="SIF", help="Apptainer image; without it --command is run"
    )
    parser.add_argument(
        "--apptainer", default="apptainer", help="apptainer or singularity (default: apptainer)"
    )
    parser.add_argument("--command", default="n2a", help="the app where no image is used (default: n2a)")
    parser.add_argument(
        "--gpu", action="store_true", help="one GPU per task (--gres=gpu:1, --nv, --device cuda)"
    )
    parser.add_argument("--cpus", type=positive_int, default=2, help="processors per task (default: 2)")
    parser.add_argument("--mem", default="8G", help="memory per task (default: 8G)")
    parser.add_argument("--time", default="04:00:00", help="time limit per task (default: 04:00:00)")
    parser.add_argument("--partition", help="partition")
    parser.add_argument("--account", help="account that is charged")
    parser.add_argument(
        "--max-parallel", type=positive_int, metavar="N", help="tasks that run at the same time, at most"
    )
    parser.add_argument(
        "--sbatch-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="further option for sbatch, such as --sbatch-option=--qos=long; may be repeated",
    )
    parser.add_argument("--arguments", default="", metavar="TEXT",
                        help="further options for n2a, such as --arguments='--recipe thorough'")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write ``n2a.sh`` and ``participants.txt`` into the job directory and say what to type.

    Parameters
    ----------
    args : Namespace
        See :func:`add_arguments`.

    Returns
    -------
    status : int
        Always 0; errors are raised.

    Raises
    ------
    BIDSDataError
        If the dataset has no participant, or not one of those wanted, or the output would lie inside it.
    ConfigError
        If a batch script cannot hold what is asked for.
    """
    job_dir = args.job_dir.resolve()
    config = JobConfig(
        bids_dir=args.bids_dir.resolve(), output_dir=args.output_dir.resolve(), job_dir=job_dir,
        work_dir=(args.work_dir or job_dir / "work").resolve(), image=args.image and args.image.resolve(),
        command=args.command, apptainer=args.apptainer,
        gpu=args.gpu, cpus=args.cpus, memory=args.mem, time=args.time,
        partition=args.partition, account=args.account, max_parallel=args.max_parallel,
        sbatch_options=tuple(args.sbatch_option), arguments=tuple(shlex.split(args.arguments)),
    )  # fmt: skip
    wanted = SelectionConfig(participants=tuple(args.participant_label))
    labels = select_participants(config.bids_dir, wanted)
    check_output_dir(config.bids_dir, config.output_dir)
    text = job_script(config)
    if config.image is not None and not config.image.is_file():
        sys.stderr.write(f"n2a-tools: warning: {config.image}: no such file here; every node needs it\n")
    # Apptainer refuses to bind folders that do not exist.
    for folder in (job_dir / "logs", job_dir / "status", config.work_dir, config.output_dir):
        folder.mkdir(parents=True, exist_ok=True)
    _write(job_dir / "participants.txt", "".join(f"{label}\n" for label in labels))
    _write(job_dir / "n2a.sh", text)
    script = shlex.quote(str(job_dir / "n2a.sh"))
    sys.stdout.write(
        f"{len(labels)} participant{'' if len(labels) == 1 else 's'}, one array task each. Type:\n"
        f"  bash {script} submit\n  bash {script} status\n"
        f"  bash {script} failed    (submits the failed ones again)\n"
    )
    return 0


def job_script(config: JobConfig) -> str:
    """Text of the array-job script.

    Parameters
    ----------
    config : JobConfig
        Paths must be absolute: the nodes start in another directory.

    Returns
    -------
    text : str
        A bash script that is at once the batch script and the command that submits it.

    Raises
    ------
    ConfigError
        If memory, time or a path cannot be written into a batch script.
    """
    for path in (config.bids_dir, config.output_dir, config.job_dir, config.work_dir, config.image):
        if path is not None and re.search(r"[\n\r:,%\"\\]", str(path)):
            raise ConfigError(
                f"{path}: Slurm and Apptainer cannot take a path with a line break, colon, comma, percent "
                "sign, quotation mark or backslash; rename it or use a symbolic link"
            )
    if not re.fullmatch(r"\d+(-\d+)?(:\d+){0,2}", config.time):
        raise ConfigError(f"--time: expected minutes, HH:MM:SS or D-HH:MM:SS, found {config.time!r}")
    template = importlib.resources.files("n2a_bids").joinpath("data/slurm_array.sh").read_text()
    values = {
        "SCRIPT": shlex.quote(str(config.job_dir / "n2a.sh")),
        "DIRECTIVES": "\n".join(f"#SBATCH {option}" for option in sbatch_options(config)),
        "JOB_DIR": shlex.quote(str(config.job_dir)),
        "COMMAND": app_command(config),
        "GRACE_S": str(_GRACE_S),
        "MAX_PARALLEL": f"%{config.max_parallel}" if config.max_parallel else "",
        "COLLECT_OPTIONS": "--gres=none" if config.gpu else "",
    }
    return re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], template)


def sbatch_options(config: JobConfig) -> list[str]:
    """Options of sbatch, one participant's needs.

    Examples
    --------
    >>> config = JobConfig(Path("/b"), Path("/o"), Path("/j"), Path("/w"), gpu=True, cpus=4)
    >>> [option for option in sbatch_options(config) if "c" in option.split("=")[0]]
    ['--cpus-per-task=4']
    >>> "--gres=gpu:1" in sbatch_options(config)
    True
    """
    memory_mb = int(_memory_gb(config.memory) * 1024)
    options = [
        "--job-name=n2a",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={config.cpus}",
        f"--mem={memory_mb}M",
        f"--time={config.time}",
        f"--output={_quoted(config.job_dir / 'logs' / '%A_%a.log')}",
        # A task of a dead node runs again, and adds to its log.
        "--requeue",
        "--open-mode=append",
        f"--signal=B:TERM@{_GRACE_S}",
    ]
    options += ["--gres=gpu:1"] if config.gpu else []
    options += [f"--partition={config.partition}"] if config.partition else []
    options += [f"--account={config.account}"] if config.account else []
    return [*options, *config.sbatch_options]


def app_command(config: JobConfig) -> str:
    """Shell text that denoises the participant in ``$1``.

    Memory and processors are told explicitly: ``--cleanenv`` hides Slurm's variables.
    """
    arguments = [
        str(config.bids_dir), str(config.output_dir), "participant", "--work-dir", str(config.work_dir),
        "--nprocs", str(config.cpus), "--omp-nthreads", str(config.cpus),
        "--mem", f"{max(1.0, _memory_gb(config.memory) - _OVERHEAD_GB):g}G",
        "--device", "cuda" if config.gpu else "cpu", *config.arguments,
    ]  # fmt: skip
    start = shlex.split(config.command)
    if config.image is not None:
        start = [config.apptainer, "run", "--containall", "--cleanenv", *(["--nv"] if config.gpu else [])]
        start += ["-B", f"{config.bids_dir}:{config.bids_dir}:ro"]
        for folder in dict.fromkeys((config.output_dir, config.work_dir)):
            start += ["-B", f"{folder}:{folder}"]
        start.append(str(config.image))
    return f'{shlex.join([*start, *arguments])} --participant-label "$1"'


def _memory_gb(text: str) -> float:
    try:
        return parse_memory(text)
    except ValueError as error:
        raise ConfigError(f"--mem: {error}") from error


def _quoted(path: Path) -> str:
    """A path for an ``#SBATCH`` line, which knows double quotes only."""
    return f'"{path}"' if " " in str(path) else str(path)


def _write(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text)
