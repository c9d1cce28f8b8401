"""``n2a-tools slurm``: writes a SLURM array job from `data/slurm_array.sh`, one participant per task."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from n2a_bids.config import SelectionConfig
from n2a_bids.config.options import Option, Range
from n2a_bids.dataset.read.layout import select_participants
from n2a_bids.dataset.write.folder_checks import check_output_dir
from n2a_bids.enumeration import counted
from n2a_bids.errors import ConfigError
from n2a_bids.io.files import write_whole
from n2a_bids.packaged import packaged_text
from n2a_bids.system.resources import parse_memory

_GRACE_S = 120
_OVERHEAD_GB = 0.5


@dataclass(frozen=True, slots=True)
class JobConfig:
    """What the array job runs, and what it asks the cluster for: the command line of ``n2a-tools slurm``."""

    bids_dir: Annotated[Path, Option("the dataset", positional=True)]
    output_dir: Annotated[Path, Option("where the derivatives will be", positional=True)]
    job_dir: Annotated[
        Path,
        Option(
            "where script, logs and exit codes go; every node must see it", metavar="DIR",
            default="./n2a_slurm",
        ),
    ] = Path("n2a_slurm")  # fmt: skip
    work_dir: Annotated[
        Path | None,
        Option(
            "work directory; on shared storage a stopped job resumes", flags=("-w", "--work-dir"),
            metavar="DIR", default="DIR of --job-dir/work",
        ),
    ] = None  # fmt: skip
    participants: Annotated[
        tuple[str, ...],
        Option(
            "only these participants", flags=("--participant-label",), metavar="LABEL",
            reading="participant label",
        ),
    ] = ()  # fmt: skip
    image: Annotated[Path | None, Option("Apptainer image; without it --command is run", metavar="SIF")] = (
        None
    )
    apptainer: Annotated[str, Option("apptainer or singularity")] = "apptainer"
    command: Annotated[str, Option("the app where no image is used")] = "n2a"
    gpu: Annotated[bool, Option("one GPU per task (--gres=gpu:1, --nv, --device cuda)")] = False
    cpus: Annotated[int, Range(1), Option("processors per task")] = 2
    memory: Annotated[str, Option("memory per task", flags=("--mem",))] = "8G"
    time: Annotated[str, Option("time limit per task")] = "04:00:00"
    partition: Annotated[str | None, Option("partition")] = None
    account: Annotated[str | None, Option("account that is charged")] = None
    max_parallel: Annotated[
        int | None, Range(1), Option("tasks that run at the same time, at most", metavar="N")
    ] = None
    sbatch_options: Annotated[
        tuple[str, ...],
        Option(
            "further option for sbatch, such as --sbatch-option=--qos=long; may be repeated",
            flags=("--sbatch-option",), metavar="OPTION", n_values=1,
        ),
    ] = ()  # fmt: skip
    arguments: Annotated[
        tuple[str, ...],
        Option(
            "further options for n2a, such as --arguments='--recipe thorough'", metavar="TEXT",
            reading="words",
        ),
    ] = ()  # fmt: skip

    def with_whole_paths(self) -> JobConfig:
        """The same with absolute paths: the nodes start in another directory."""
        job_dir = self.job_dir.resolve()
        return replace(
            self,
            bids_dir=self.bids_dir.resolve(),
            output_dir=self.output_dir.resolve(),
            job_dir=job_dir,
            work_dir=(self.work_dir or job_dir / "work").resolve(),
            image=self.image and self.image.resolve(),
        )


def run_slurm(config: JobConfig) -> None:
    """Write ``n2a.sh`` and ``participants.txt`` into the job directory and say what to type.

    Raises
    ------
    BIDSDataError
        If the dataset has no participant, or not one of those asked for, or the output would lie inside it.
    ConfigError
        If a batch script cannot hold what is asked for.
    """
    config = config.with_whole_paths()
    job_dir, selection = config.job_dir, SelectionConfig(participants=config.participants)
    labels = select_participants(config.bids_dir, selection)
    check_output_dir(config.bids_dir, config.output_dir)
    text = job_script(config)
    if config.image is not None and not config.image.is_file():
        sys.stderr.write(f"n2a-tools: warning: {config.image}: no such file here; every node needs it\n")
    # Apptainer refuses to bind folders that do not exist.
    for folder in (job_dir / "logs", job_dir / "status", config.work_dir, config.output_dir):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(job_dir / "participants.txt", "".join(f"{label}\n" for label in labels))
    write_whole(job_dir / "n2a.sh", text)
    script = shlex.quote(str(job_dir / "n2a.sh"))
    sys.stdout.write(
        f"{counted(len(labels), 'participant')}, one array task each. Type:\n"
        f"  bash {script} submit\n  bash {script} status\n"
        f"  bash {script} failed    (submits the failed ones again)\n"
    )


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
    values = {
        "SCRIPT": shlex.quote(str(config.job_dir / "n2a.sh")),
        "DIRECTIVES": "\n".join(f"#SBATCH {option}" for option in sbatch_options(config)),
        "JOB_DIR": shlex.quote(str(config.job_dir)),
        "COMMAND": app_command(config),
        "GRACE_S": str(_GRACE_S),
        "MAX_PARALLEL": f"%{config.max_parallel}" if config.max_parallel else "",
        "COLLECT_OPTIONS": "--gres=none" if config.gpu else "",
    }
    return re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], packaged_text("slurm_array.sh"))


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
