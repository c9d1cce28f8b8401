"""Executes one nipype workflow: its plugin, its worker processes, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from nipype import Workflow
from nipype.pipeline.engine import Node
from nipype.pipeline.plugins.linear import LinearPlugin
from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from n2a_bids.app.messages import error_sentence, explain
from n2a_bids.app.nipype_settings import Settings, apply_settings, current_settings
from n2a_bids.app.progress.lines import RunProgress
from n2a_bids.config import Config
from n2a_bids.errors import OUT_OF_MEMORY
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.system.signals import Interruption

_GRACE_S = 5.0


def run_workflow(
    workflow: Workflow, config: Config, interruption: Interruption, progress: RunProgress | None = None
) -> None:
    """Run a workflow to its end; no process that it started survives it.

    Parameters
    ----------
    config : Config
        Resources and plugin. Where the threads of one step take all processors nothing could run beside it:
        then there is no pool, no second process that waits, and no socket.
    interruption : Interruption
        Looked at after every failed step.
    progress : RunProgress, optional
        Told of every step; by default one without a plan.

    Raises
    ------
    Exception
        The first failure of a node; what does not depend on it has run all the same.
    Interrupted, KeyboardInterrupt
        After SIGTERM, SIGHUP or Ctrl-C.
    """
    resources = config.resources
    progress = progress or RunProgress({})
    arguments = {
        "n_procs": resources.n_procs,
        "memory_gb": resources.memory_gb,
        "n_gpu_procs": resources.n_gpu_procs,
        # A node that needs more than there is runs alone instead of stopping everything.
        "raise_insufficient": False,
        "mp_context": "forkserver",
        "status_callback": StepReporter(interruption, progress),
        **resources.nipype_plugin_args,
    }
    serial = resources.n_procs <= resources.omp_nthreads and resources.n_gpu_procs < 2
    plugin = resources.nipype_plugin or ("Linear" if serial else "MultiProc")
    own = {"Linear": LinearPlugin, "MultiProc": LocalPoolPlugin}
    with progress.watch(), no_process_left_behind():
        try:
            if plugin in own:
                workflow.run(plugin=own[plugin](plugin_args=arguments))
            else:
                workflow.run(plugin=plugin, plugin_args=arguments)
        finally:
            interruption.check()


def run_to_the_end(
    workflow: Workflow, config: Config, interruption: Interruption, progress: RunProgress | None = None
) -> str:
    """Run a workflow as `run_workflow`; returns what went wrong first, empty if nothing did."""
    try:
        run_workflow(workflow, config, interruption, progress)
    except Exception as error:  # steps that failed have left crash files, and the others have run
        explain(config)
        return error_sentence(error)
    return ""


def leave_crashes_in(workflow: Workflow, folder: Path) -> None:
    """Let all steps of a workflow leave their crash files in a folder."""
    for name in workflow.list_node_names():
        # nipype reads this from the node and from the top workflow, never from those between.
        workflow.get_node(name).config = {"execution": {"crashdump_dir": str(folder)}}


def _say_nothing(node: Node, status: str) -> None:
    """What a callback becomes that nipype stores with a node, or sends to another process."""


def _silence() -> Callable[[Node, str], None]:
    return _say_nothing


class StepReporter:
    """Callback of nipype, in the main process."""

    def __init__(self, interruption: Interruption, progress: RunProgress):
        self._interruption, self._progress = interruption, progress

    def __reduce__(self) -> tuple[Callable[[], Callable[[Node, str], None]], tuple[()]]:
        return _silence, ()

    def __call__(self, node: Node, status: str) -> None:
        """Count and tell one step."""
        self._interruption.check()
        tell = {"start": self._progress.start, "end": self._progress.end, "exception": self._progress.fail}
        if status in tell:
            tell[status](node)


class LocalPoolPlugin(MultiProcPlugin):
    """nipype's pool, made to end when one of its processes dies.

    nipype waits for ever for the result of a worker that the kernel has killed. Here the step that ran in
    it fails with the reason, and the others go on in a new pool.
    """

    def __init__(self, plugin_args: JsonObject):
        super().__init__(plugin_args=plugin_args)
        self.pool = self._new_pool()

    def _async_callback(self, args: Future) -> None:
        if args.exception() is None:
            super()._async_callback(args)

    def _get_result(self, taskid: int) -> object:
        future = self._task_obj[taskid]
        if not future.done() or future.exception() is None:
            return super()._get_result(taskid)
        reason = f"MemoryError: the process of this step died, most likely killed because {OUT_OF_MEMORY}"
        return {"result": None, "traceback": ["Traceback (most recent call last):\n", f"{reason}\n"]}

    def _submit_job(self, node: Node, updatehash: bool = False) -> int:
        try:
            return self._submit(node, updatehash)
        except BrokenProcessPool:
            self.pool = self._new_pool()
            return self._submit(node, updatehash)

    def _submit(self, node: Node, updatehash: bool) -> int:
        # nipype would hush interfaces that stream: the denoiser's progress should be seen.
        streams = getattr(node.interface, "terminal_output", "") == "stream"
        taskid = super()._submit_job(node, updatehash)
        if streams:
            node.interface.terminal_output = "stream"
        return taskid

    def _new_pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context(self.plugin_args["mp_context"])
        if self.plugin_args["mp_context"] == "forkserver":
            # Imported once and inherited: seconds less for each worker.
            context.set_forkserver_preload(["n2a_bids.workflows.participant"])
        return ProcessPoolExecutor(
            self.processors, context, initializer=start_worker, initargs=(str(Path.cwd()), current_settings())
        )


@contextmanager
def no_process_left_behind() -> Iterator[None]:
    """End every process that the block started, when it ends by an error or an interruption.

    Children would go on computing, and the pool would wait for them.
    """
    this = psutil.Process()
    earlier = {child.pid for child in this.children(recursive=True)}
    try:
        yield
    except BaseException:
        started = [
            child
            for child in this.children(recursive=True)
            if child.pid not in earlier and not _is_of_multiprocessing(child)
        ]
        for child in started:
            _send(child, signal.SIGTERM)
        for child in psutil.wait_procs(started, timeout=_GRACE_S)[1]:
            _send(child, signal.SIGKILL)
        raise


def _is_of_multiprocessing(process: psutil.Process) -> bool:
    """Python's own servants end with this process, and the next pool needs them."""
    with suppress(psutil.Error):
        return "from multiprocessing." in " ".join(process.cmdline()) and process.ppid() == os.getpid()
    return False


def _send(process: psutil.Process, signal_number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal_number)


def start_worker(folder: str, settings: Settings) -> None:
    """Set a new process up: it knows nothing of the settings of nipype.

    Parameters
    ----------
    folder : str
        Current folder of the run.
    settings : dict
        Those of the run, see `n2a_bids.app.nipype_settings.current_settings`.
    """
    os.chdir(folder)
    apply_settings(settings)
    threading.Thread(target=_end_with_the_run, daemon=True).start()


def _end_with_the_run() -> None:
    """End this process and all that it started when the run was killed.

    The death of a parent process would be no sign: that is the server that forks, which stays for as long
    as its workers do, and these would wait for work for ever.
    """
    run = multiprocessing.parent_process()
    if run is None:
        return
    run.join()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(1)
