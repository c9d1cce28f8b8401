"""Environment variables set before libraries load (threads, seeds, caches), and ``N2A_WEIGHTS_DIR``."""

from __future__ import annotations

import dataclasses
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from n2a_bids.config import Config
from n2a_bids.errors import ConfigError

_COUNTS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)

_WAITING = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "200",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_THREAD_TIMEOUT": "10",
}
"""By default, threads without work keep their processors busy for a while, in case that more comes. Where
others need these processors, a thread that all wait for is then put off by one that waits: on two busy cores
a training step of two threads took 1.5 times as long, and twice the processor time. Threads that sleep at
once have to be woken for every small piece of work: on two free cores, non-local Bayes then takes longer with
two than with one. Some microseconds (200 turns of OpenMP, 2**10 clock ticks of BLAS) do no harm: with 1000
turns, a training step takes a fifth longer on busy cores."""


def prepare_environment(config: Config, environ: MutableMapping[str, str] = os.environ) -> None:
    """Set what this process and all its children should see, before anything heavy is imported.

    What the user has set stays, but for seeds, threads and the network.

    Parameters
    ----------
    config : Config
        The work directory is created.
    environ : mapping
        Changed in place.

    Raises
    ------
    ConfigError
        If the work directory cannot be written, has brackets in its name, or is not safe from others.
    """
    _refuse_brackets(config.work_dir)
    _refuse_untrusted(config.work_dir)
    cache = config.work_dir / "cache"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        raise ConfigError(
            f"{config.work_dir}: expected a work directory that can be written, found {type(error).__name__} "
            f"({error.strerror}); choose another with -w, in a container one that is bound into it"
        ) from error
    environ.update(_fixed(config, environ))
    for name, value in _caches(cache, environ).items():
        environ.setdefault(name, value)
    # Slurm's plugin of nipype asks for it, and containers often lack it.
    environ.setdefault("LOGNAME", environ.get("USER", "n2a"))
    _provide_home(cache, environ)
    _provide_temporary_folder(cache, environ)


def named_weights_dir(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Folder of pretrained weights that ``N2A_WEIGHTS_DIR`` names where no option does; None without it.

    Examples
    --------
    >>> named_weights_dir({"N2A_WEIGHTS_DIR": "~/weights"}).is_absolute(), named_weights_dir({})
    (True, None)
    """
    text = environ.get("N2A_WEIGHTS_DIR")
    return Path(text).expanduser().absolute() if text else None


def _refuse_brackets(work_dir: Path) -> None:
    # nipype resolves links; to its search for finished steps brackets are a pattern, to ANTs they are syntax.
    path = os.path.realpath(work_dir)
    if "[" in path or "]" in path:
        raise ConfigError(
            f"{path}: expected a work directory without brackets in its path, which nipype and ANTs do not "
            "take for part of a name; choose another with -w"
        )


def _refuse_untrusted(work_dir: Path) -> None:
    # nipype resumes from pickles, and reading a pickle runs whatever its writer wants.
    for folder in (work_dir, *(work_dir / name for name in ("cache", "locks")), *work_dir.glob("n2a_*")):
        problem = _why_untrusted(folder)
        if problem:
            raise ConfigError(
                f"{folder}: expected a work directory that nobody else can write to, since resuming runs "
                f"what is stored in it; found one {problem}; choose another with -w, such as a new folder "
                "inside it, make it yours alone (chown, chmod o-w), or run as its owner (Docker: -u)"
            )


def _why_untrusted(folder: Path) -> str:
    """Who else may write to a folder; empty where nobody may, or where there is no such folder yet."""
    try:
        found = folder.stat()
    except OSError:
        return ""
    if found.st_uid not in (os.geteuid(), 0):
        return f"of another user (number {found.st_uid}, you are {os.geteuid()})"
    if found.st_mode & stat.S_IWOTH:
        return f"that anyone may write to (permissions {stat.S_IMODE(found.st_mode):o})"
    return ""


@contextmanager
def brief_environment(config: Config, environ: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """`prepare_environment` for what keeps no intermediate files: no work directory is left behind.

    Caches go to a temporary folder, which is deleted when the block ends, unless there is a work directory.
    """
    with ExitStack() as stack:
        folder = config.work_dir
        if not (folder.is_dir() and os.access(folder, os.W_OK)) or _why_untrusted(folder):
            # A read-only root has no temporary folder.
            with suppress(OSError):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="n2a-")))
        # Caches are a convenience here: where there is no place for them, it is done without.
        with suppress(ConfigError):
            prepare_environment(dataclasses.replace(config, work_dir=folder), environ)
        yield


def _fixed(config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    return {
        # Of a step inside of a worker, which the scheduler counts as one processor. What may have more
        # runs in a child, which is told how many.
        **thread_variables(1, environ),
        "ANTS_RANDOM_SEED": str(config.denoise.random_seed),
        # Python takes no seed above 32 bits here.
        "PYTHONHASHSEED": str(config.denoise.random_seed % 2**32),
        "TEMPLATEFLOW_AUTOUPDATE": "0",
        "NO_ET": "1",
        "NIPYPE_NO_ET": "1",
        "MPLBACKEND": "Agg",
        # Feature maps come in pages of 2 MB, where the system has them: a tenth less time of networks.
        "THP_MEM_ALLOC_ENABLE": "1",
    }


def _caches(cache: Path, environ: MutableMapping[str, str]) -> dict[str, str]:
    places = {
        "MPLCONFIGDIR": "matplotlib",
        "NIPYPE_CONFIG_DIR": "nipype",
        "NUMBA_CACHE_DIR": "numba",
        "XDG_CACHE_HOME": "xdg",
    }
    values = {name: str(cache / folder) for name, folder in places.items()}
    home = environ.get("HOME")
    own_templates = Path(home or "/nonexistent") / ".cache" / "templateflow"
    if not own_templates.is_dir():
        values["TEMPLATEFLOW_HOME"] = str(cache / "templateflow")
    else:
        # XDG_CACHE_HOME would hide what the user has downloaded.
        values["TEMPLATEFLOW_HOME"] = str(own_templates)
    return values


def _provide_home(cache: Path, environ: MutableMapping[str, str]) -> None:
    """Some libraries look for a home at import, and containers run as users that have none."""
    home = environ.get("HOME")
    if _is_writable(home):
        return
    (cache / "home").mkdir(exist_ok=True)
    environ["HOME"] = str(cache / "home")


def _is_writable(folder: str | None) -> bool:
    return bool(folder) and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def _provide_temporary_folder(cache: Path, environ: MutableMapping[str, str]) -> None:
    """A read-only root has no ``/tmp``: the current directory would be tried then."""
    for folder in (environ.get("TMPDIR"), "/tmp", "/var/tmp"):
        if _is_writable(folder):
            return
    (cache / "tmp").mkdir(exist_ok=True)
    environ["TMPDIR"] = tempfile.tempdir = str(cache / "tmp")


def thread_variables(threads: int, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment variables that bound the threads of a process: read when libraries are loaded.

    Parameters
    ----------
    threads : int
        For OpenMP (torch), BLAS (numpy, scipy) and ITK (ANTs) each.
    environ : mapping
        The environment; how threads wait is left as it says, if it does.

    Returns
    -------
    variables : dict
        To be added to the environment.
    """
    return dict.fromkeys(_COUNTS, str(threads)) | _waiting_variables(environ)


def variables_asked_for(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Those of a command line, which is looked at before the libraries are loaded that they are for.

    Parameters
    ----------
    arguments : sequence of str
        Of a command that takes ``--omp-nthreads N``; what is no number is left to its parser.
    environ : mapping
        As for `thread_variables`.

    Returns
    -------
    variables : dict
        Without counts where the command line gives none.

    Examples
    --------
    >>> variables_asked_for(["denoise", "--omp-nthreads=3"], {})["OPENBLAS_NUM_THREADS"]
    '3'
    """
    words = [part for word in arguments for part in word.split("=", 1)]
    given = [after for word, after in zip(words, words[1:]) if word == "--omp-nthreads"]
    if given and given[-1].isdecimal() and int(given[-1]) > 0:
        return thread_variables(int(given[-1]), environ)
    return _waiting_variables(environ)


def _waiting_variables(environ: Mapping[str, str]) -> dict[str, str]:
    # Who has said how OpenMP waits has said how long.
    said = {*environ, "GOMP_SPINCOUNT"} if "OMP_WAIT_POLICY" in environ else environ
    return {name: value for name, value in _WAITING.items() if name not in said}
