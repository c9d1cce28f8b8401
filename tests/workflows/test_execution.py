"""Participants in one nipype workflow: failures stay with their owner, dead workers end the step only."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from nipype import MapNode, Node, Workflow
from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits

import n2a_bids.app.batch as batch_module
from n2a_bids.app.batch import batches, n_side_by_side, run_batch
from n2a_bids.app.execution import no_process_left_behind, run_workflow
from n2a_bids.app.nipype_settings import configure_nipype
from n2a_bids.app.progress.expected_time import StepPlan
from n2a_bids.app.progress.lines import RunProgress
from n2a_bids.app.work import ParticipantWork
from n2a_bids.app.work_dir import work_dir_of
from n2a_bids.config import Config, DebugConfig, OutputConfig, ResourceConfig
from n2a_bids.dataset.units import DenoisingUnit, ImageFile
from n2a_bids.errors import OUT_OF_MEMORY, BIDSDataError, Interrupted
from n2a_bids.system.signals import Interruption, interruptible

pytestmark = pytest.mark.slow


class _StepInputSpec(BaseInterfaceInputSpec):
    action = traits.Str("", usedefault=True)
    folder = traits.Str("")


class _StepOutputSpec(TraitedSpec):
    done = traits.Bool()


class Step(SimpleInterface):
    """Does one of the things that go wrong, or leaves a file."""

    input_spec = _StepInputSpec
    output_spec = _StepOutputSpec

    def _run_interface(self, runtime):
        if self.inputs.action == "raise":
            raise BIDSDataError("sub-02: the image is upside down; turn it")
        if self.inputs.action == "fill the memory":
            raise MemoryError
        if self.inputs.action == "speak in lines":
            raise ValueError("expected:\n  a head\nfound:\n  a foot")
        if self.inputs.action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.inputs.action == "terminate":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        (Path(self.inputs.folder) / f"pid-{os.getpid()}").touch()
        self._results["done"] = True
        return runtime


@pytest.fixture
def config(tmp_path) -> Config:
    configure_nipype(DebugConfig())
    return Config(tmp_path / "bids", tmp_path / "out", tmp_path / "work", "uuid")


def with_resources(config: Config, **resources) -> Config:
    return Config(
        config.bids_dir, config.output_dir, config.work_dir, "uuid", resources=ResourceConfig(**resources)
    )


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """Replace the workflow of participants: two steps, where some do what ``actions`` says."""
    actions: dict[str, str] = {}

    def init(participant, units, config):
        if actions.get(participant) == "no workflow":
            raise BIDSDataError(f"sub-{participant}: no workflow can be built")
        folder = tmp_path / f"done-{participant}"
        folder.mkdir(exist_ok=True)
        workflow = Workflow(f"sub_{participant}")
        first = Node(Step(action=actions.get(participant, ""), folder=str(folder)), name="first")
        second = Node(Step(folder=str(folder)), name="second")
        workflow.add_nodes([first, second])
        return workflow

    monkeypatch.setattr(batch_module, "init_participant_wf", init)
    return actions


def work(*labels: str) -> list[ParticipantWork]:
    return [ParticipantWork(label, (), ()) for label in labels]


def done(tmp_path: Path, label: str) -> list[Path]:
    return list((tmp_path / f"done-{label}").glob("pid-*"))


def test_failure_of_one_participant_harms_no_other(config, stub, tmp_path, capsys):
    """The message of the step reaches its participant; the others are complete."""
    stub["02"] = "raise"
    failures = run_batch(work("01", "02", "03"), config, Interruption())
    assert failures["01"] == failures["03"] == []
    assert "upside down" in failures["02"][0]
    assert done(tmp_path, "01")
    assert done(tmp_path, "03")
    assert list((config.output_dir / "sub-02" / "log" / "uuid").glob("crash*.txt"))
    error = capsys.readouterr().err
    assert "sub_02 > first failed" in error
    assert "Details in" in error
    assert "Traceback" not in error
    assert "could not run node" not in error, "it has been said that the step failed"
    assert "Storing result file" not in error
    assert work_dir_of("01", config).is_dir()


@pytest.mark.parametrize("n_procs", [1, 2])
def test_the_cause_of_every_failure_is_told_in_one_line(config, stub, n_procs):
    """Errors without a word and of several lines, in the process itself and in workers of the pool."""
    stub |= {"01": "fill the memory", "02": "speak in lines"}
    resources = with_resources(config, n_procs=n_procs, omp_nthreads=1, memory_gb=8)
    failures = run_batch(work("01", "02"), resources, Interruption())
    assert failures == {
        "01": [f"first: MemoryError: {OUT_OF_MEMORY}"],
        "02": ["first: ValueError: expected: a head found: a foot"],
    }


def test_workflow_that_cannot_be_built_harms_no_other(config, stub, tmp_path):
    """Its reason is kept as it is."""
    stub["02"] = "no workflow"
    failures = run_batch(work("01", "02"), config, Interruption())
    assert failures == {"01": [], "02": ["sub-02: no workflow can be built"]}
    assert done(tmp_path, "01")


def test_failure_without_crash_file_is_still_a_failure(config, stub, monkeypatch):
    """On a full disk not even the crash file can be written."""

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("n2a_bids.app.execution.run_workflow", fail)
    failures = run_batch(work("01", "02"), config, Interruption())
    assert all("No space left" in failures[label][0] for label in ("01", "02"))


def test_killed_worker_ends_its_step_and_not_the_run(config, stub, tmp_path):
    """nipype would wait for ever; the others go on in a new pool."""
    stub["02"] = "die"
    parallel = with_resources(config, n_procs=2, omp_nthreads=1, memory_gb=8)
    failures = run_batch(work("01", "02", "03"), parallel, Interruption())
    assert "memory ran out" in " ".join(failures["02"])
    # A step that shared the pool with the dead worker fails with it, never silently.
    for label in ("01", "03"):
        assert done(tmp_path, label) or failures[label]
    again = run_batch(work("01", "03"), parallel, Interruption())
    assert again == {"01": [], "03": []}


def test_serial_run_stays_in_this_process(config, stub, tmp_path):
    """No pool, no manager, no sockets where nothing could run in parallel."""
    run_batch(work("01"), with_resources(config, n_procs=2, omp_nthreads=2), Interruption())
    assert done(tmp_path, "01") == [tmp_path / "done-01" / f"pid-{os.getpid()}"]


def test_sigterm_inside_a_step_stops_the_run(config, stub, tmp_path):
    """nipype would call it a failed step and go on with the next participant."""
    stub["01"] = "terminate"
    with pytest.raises(Interrupted), interruptible() as interruption:
        run_batch(work("01", "02"), config, interruption)
    assert not done(tmp_path, "02")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_ctrl_c_inside_a_step_stops_the_run():
    """The handler raises what Python would, and raises it again when asked."""
    with interruptible() as interruption:
        with pytest.raises(KeyboardInterrupt):
            _send_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            interruption.check()


@pytest.mark.parametrize("deaf", [True, False])
def test_nohup_stays_in_force(monkeypatch, deaf):
    """Who started the run that way wants it to survive the terminal; others want it to stop."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN if deaf else signal.SIG_DFL)
    try:
        with suppress(Interrupted), interruptible() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        assert (interruption.error is None) == deaf
        assert signal.getsignal(signal.SIGHUP) is (signal.SIG_IGN if deaf else signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, previous)


def _send_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)


def test_signals_are_left_alone_in_other_threads():
    """Only the main thread may install handlers."""
    seen = []

    def look():
        with interruptible() as interruption:
            seen.append(interruption.error)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [None]


def test_children_end_with_an_error():
    """A child that would sleep for an hour does not outlive the block."""
    children = []

    def fail():
        with no_process_left_behind():
            children.append(psutil.Popen(["sleep", "3600"]))
            raise ValueError("over")

    with pytest.raises(ValueError, match="over"):
        fail()
    assert children[0].wait(timeout=10) != 0


@pytest.mark.parametrize(
    ("outputs", "is_kept"),
    [({}, False), ({"viewer": True}, False), ({"viewer_head": True}, True)],
)
def test_what_a_viewer_showed_is_kept_only_where_the_head_may_be_shown(config, stub, outputs, is_kept):
    """Else a run that fails would show the head that an earlier one was asked for."""
    stub["01"] = "no workflow"
    images = (ImageFile(Path("sub-01_run-1_T1w.nii.gz")), ImageFile(Path("sub-01_run-2_T1w.nii.gz")))
    item = ParticipantWork("01", (DenoisingUnit("anat-repeats", images, {"sub": "01"}),), ())
    shown = config.output_dir / "sub-01" / "figures" / "sub-01_desc-viewer_T1w.json"
    shown.parent.mkdir(parents=True)
    shown.touch()
    failures = run_batch([item], replace(config, outputs=OutputConfig(**outputs)), Interruption())
    assert "no workflow can be built" in failures["01"][0]
    assert shown.exists() == is_kept


def test_parts_of_a_node_are_told_only_when_they_fail(config, tmp_path, capsys):
    """A pool runs the parts of a MapNode as steps of their own; the node tells of their start."""
    workflow = Workflow("top", base_dir=str(tmp_path))
    (tmp_path / "pids").mkdir()
    folders = [str(tmp_path / "pids")] * 3
    parallel = with_resources(config, n_procs=2, omp_nthreads=1, memory_gb=8)
    workflow.add_nodes([MapNode(Step(), iterfield=["folder"], name="many")])
    node = workflow.get_node("many")
    node.config = {"execution": {"crashdump_dir": str(tmp_path)}}
    node.inputs.folder = folders
    run_workflow(workflow, parallel, Interruption())
    node.inputs.action = "raise"
    with pytest.raises(RuntimeError):
        run_workflow(workflow, parallel, Interruption())
    said = {line.split("] ")[-1] for line in capsys.readouterr().err.splitlines()}
    assert {line for line in said if line.endswith("starts")} == {"many starts"}
    assert {line for line in said if line.endswith("failed")} >= {f"_many{i} failed" for i in range(3)}


def test_parts_of_a_node_belong_to_the_unit_of_their_node(config, tmp_path):
    """Its start is told when the first of them starts, its time is theirs, and a failure names the unit."""
    stream, plan = io.StringIO(), StepPlan({"align_wf.register": 9.0}, 1.0)
    align, unit, workflow = Workflow("align_wf"), Workflow("unit"), Workflow("top", base_dir=str(tmp_path))
    align.add_nodes([MapNode(Step(), iterfield=["folder"], name="register")])
    unit.add_nodes([align])
    workflow.add_nodes([unit])
    node = workflow.get_node("unit.align_wf.register")
    node.config = {"execution": {"crashdump_dir": str(tmp_path)}}
    node.inputs.folder = [str(tmp_path)] * 3
    parallel = with_resources(config, n_procs=2, omp_nthreads=1, memory_gb=8)
    progress = RunProgress({"unit": ("sub-01 T1w", plan)}, stream=stream)
    run_workflow(workflow, parallel, Interruption(), progress)
    node.inputs.action = "raise"
    with pytest.raises(RuntimeError):
        run_workflow(workflow, parallel, Interruption(), progress)
    said = [line.split("sub-01 T1w: ")[1] for line in stream.getvalue().splitlines()]
    assert said[0] == said[2] == "registering the repetitions"
    assert said[1].startswith("repetitions registered, ")
    assert said[3:] == ["registering the repetitions failed"] * 3


def test_other_plugins_are_passed_on(config, tmp_path):
    """The plugin file's choice is nipype's to run, over our arguments."""
    workflow = Workflow("top", base_dir=str(tmp_path))
    workflow.add_nodes([Node(Step(folder=str(tmp_path)), name="first")])
    seen = []
    arguments = {"callable": lambda node, graph: seen.append(node.name)}
    asked = with_resources(config, n_procs=1, nipype_plugin="Debug", nipype_plugin_args=arguments)
    run_workflow(workflow, asked, Interruption())
    assert seen == ["first"]


@pytest.mark.parametrize(
    ("resources", "n"),
    [
        ({"n_procs": 1, "omp_nthreads": 1}, 1),
        ({"n_procs": 8, "omp_nthreads": 2, "memory_gb": 64}, 4),
        ({"n_procs": 8, "omp_nthreads": 2, "memory_gb": 9}, 2),
        ({"n_procs": 8, "omp_nthreads": 8, "memory_gb": 64, "n_gpu_procs": 3}, 3),
        ({"n_procs": 5, "nipype_plugin": "SLURM", "memory_gb": 1}, 5),
    ],
)
def test_participants_side_by_side_follow_resources(resources, n):
    """Processors, GPUs and memory each set a limit."""
    assert n_side_by_side(ResourceConfig(**resources)) == n


@pytest.mark.parametrize(("options", "share_gb"), [({}, 8), ({"low_mem": True}, 2)])
def test_participants_share_the_memory(config, stub, monkeypatch, options, share_gb):
    """Four side by side get a quarter each; --low-mem less still."""
    seen = []

    def look(participant, units, config):
        seen.append(config.resources.memory_gb)
        raise BIDSDataError("enough seen")

    monkeypatch.setattr(batch_module, "init_participant_wf", look)
    asked = with_resources(config, n_procs=8, omp_nthreads=2, memory_gb=32, **options)
    run_batch(work("01", "02", "03", "04", "05"), asked, Interruption())
    assert set(seen) == {share_gb}


def test_batches_keep_every_participant_once():
    """One at a time where only one runs, a bounded number otherwise."""
    labels = [f"{number:02d}" for number in range(21)]
    for resources, size in ((ResourceConfig(), 1), (ResourceConfig(8, 4, 64), 8)):
        parts = list(batches(work(*labels), resources))
        assert [item.label for part in parts for item in part] == labels
        assert max(map(len, parts)) == size


def test_graph_is_drawn_on_request(config, stub):
    """Next to the intermediate files."""
    drawn = Config(
        config.bids_dir, config.output_dir, config.work_dir, "uuid", outputs=OutputConfig(write_graph=True)
    )
    failures = run_batch(work("01"), drawn, Interruption())
    assert failures == {"01": []}
    assert list(config.work_dir.rglob("graph*"))
