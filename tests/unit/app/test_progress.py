"""What a person sees of a run: steps as they end, what was done before, and a time left that holds."""

from __future__ import annotations

import copy
import errno
import fcntl
import io
import itertools
import os
import pickle
import struct
import termios
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from n2a_bids.app.execution import StepReporter
from n2a_bids.app.progress import lines
from n2a_bids.app.progress.expected_time import StepPlan, plan_unit, slower_networks
from n2a_bids.app.progress.header import header, plan_run, progress_of
from n2a_bids.app.progress.lines import RunProgress
from n2a_bids.app.progress.time_left import TimeLeft
from n2a_bids.app.work import ParticipantWork
from n2a_bids.config import Config, DenoiseConfig
from n2a_bids.dataset.units import DenoisingUnit, ImageFile
from n2a_bids.system.progress import (
    PROGRESS_FILE,
    Progress,
    ProgressReport,
    StageProgress,
    read_progress,
    write_progress,
)
from n2a_bids.system.signals import Interruption

UNIT = "sub_01_T1w_anat_repeats"
PLAN = StepPlan({"mask_wf.brain": 20.0, "align_wf.register": 20.0, "denoise": 150.0}, files_s=10.0)


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def step(folder: Path, name: str, unit: str = UNIT) -> SimpleNamespace:
    """What nipype tells of a step."""
    path = folder / unit / name
    path.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(
        fullname=f"top.sub_01.{unit}.{name}", name=name.split(".")[-1], output_dir=lambda: str(path)
    )


@pytest.fixture
def run(tmp_path):
    clock, stream = Clock(), io.StringIO()
    logs = {UNIT: tmp_path / "n2a.log"}
    progress = RunProgress({UNIT: ("sub-01 (1/3) T1w", PLAN)}, 1, stream, logs, clock)
    return SimpleNamespace(clock=clock, stream=stream, progress=progress, folder=tmp_path)


def _do(run, name: str, seconds: float) -> None:
    node = step(run.folder, name)
    run.progress.start(node)
    run.clock.now += seconds
    run.progress.end(node)


@pytest.mark.parametrize("slower", [0.5, 1.0, 3.0])
def test_time_left_holds_on_faster_and_slower_machines(run, slower):
    """From a quarter of the run on within 30 %, whatever the machine; before, the plan still has a say."""
    total_s = 200 * slower
    for name in ("mask_wf.brain", "align_wf.register"):
        _do(run, name, 20 * slower)
    node = step(run.folder, "denoise")
    run.progress.start(node)
    for part in (0.1, 0.4, 0.7, 0.95):
        run.clock.now = 1000 + (40 + 150 * part) * slower
        write_progress(Path(node.output_dir()) / "progress.json", Progress("training", part))
        truth = total_s - (run.clock.now - 1000)
        assert run.progress.seconds_left() == pytest.approx(truth, rel=0.3)


def test_wrong_shares_of_the_steps_are_learned_from_the_units_before(tmp_path):
    """The plan has the denoising twenty times too short: the second and third unit know better."""
    clock = Clock()
    plan = StepPlan({"mask_wf.brain": 6.0, "align_wf.register": 10.0, "denoise": 5.0}, files_s=0.0)
    progress = RunProgress({f"unit{i}": (f"sub-{i}", plan) for i in range(3)}, 1, io.StringIO(), clock=clock)
    real = {"mask_wf.brain": 30.0, "align_wf.register": 5.0, "denoise": 105.0}
    total_s = 3 * sum(real.values())
    for unit in ("unit0", "unit1", "unit2"):
        for name, seconds in real.items():
            node = step(tmp_path, name, unit)
            progress.start(node)
            for part in (0.25, 0.5, 0.75, 1.0):
                clock.now += seconds / 4
                if name == "denoise" and part < 1:
                    write_progress(Path(node.output_dir()) / "progress.json", Progress("training", part))
                left_s = total_s - (clock.now - 1000)
                if unit != "unit0" and left_s > 20:
                    assert progress.seconds_left() == pytest.approx(left_s, rel=0.3)
            progress.end(node)


def test_units_side_by_side_share_the_time(tmp_path):
    """Four equal units, two at a time, take as long as two."""
    plans = {f"unit{i}": (f"sub-{i} T1w", PLAN) for i in range(4)}
    progress = RunProgress(plans, 2, io.StringIO(), clock=Clock())
    assert progress.seconds_left() == pytest.approx(2 * PLAN.total_s, rel=0.01)


def test_lines_tell_step_participant_and_time(run):
    """One line for each step that ends, also in the log of the participant."""
    _do(run, "mask_wf.brain", 8)
    first, last = run.stream.getvalue().splitlines()
    assert first.endswith("sub-01 (1/3) T1w: finding the brain")
    assert last.endswith("left")
    assert "sub-01 (1/3) T1w: brain mask, 8 s; about" in last
    assert last in (run.folder / "n2a.log").read_text()


def test_a_terminal_has_a_bar_even_where_it_tells_no_size():
    """As those of containers and recorded sessions: 0 rows."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 100, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        progress = RunProgress({UNIT: ("sub-01 T1w", PLAN)}, 1, terminal)
        with progress.watch():
            time.sleep(1.5)
        terminal.flush()
        shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert "%|" in shown
    assert "| about " in shown


class Broken(io.StringIO):
    """A terminal that was closed, a pipe that nobody reads, or a file on a full disk."""

    def __init__(self, error: Exception):
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), BrokenPipeError(), ValueError("closed file")]
)
def test_lines_that_cannot_be_written_make_no_step_fail(tmp_path, error, monkeypatch):
    """nipype takes whatever its callback raises for a failure of the step, or of the run."""
    monkeypatch.setattr(lines, "_POLL_S", 0.01)
    progress = RunProgress({UNIT: ("sub-01 T1w", PLAN)}, 1, Broken(error), clock=Clock())
    with progress.watch():
        for name in PLAN.steps_s:
            node = step(tmp_path, name)
            progress.start(node)
            progress.end(node)
        progress.fail(step(tmp_path, "check"))
        time.sleep(0.1)
    assert progress.seconds_left() == 0


def test_a_terminal_that_hangs_does_not_keep_a_run_from_ending(tmp_path, monkeypatch):
    """The thread that watches may wait for ever for a terminal that was halted (Ctrl-S)."""
    monkeypatch.setattr(lines, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(lines, "_POLL_S", 0.01)
    is_halted, is_over = threading.Event(), threading.Event()

    class Halted(io.StringIO):
        def write(self, text: str) -> int:
            if threading.current_thread() is not threading.main_thread():
                is_halted.set()
                is_over.wait(20)
            return len(text)

    progress = RunProgress({UNIT: ("sub-01 T1w", PLAN)}, 1, Halted())
    node = step(tmp_path, "denoise")
    started = time.monotonic()
    with progress.watch():
        progress.start(node)
        write_progress(Path(node.output_dir()) / "progress.json", Progress("training", 0.1))
        assert is_halted.wait(10)
    assert time.monotonic() - started < 8
    is_over.set()


def test_a_denoising_that_was_interrupted_does_not_stand_for_the_one_that_runs(run):
    """What it left in the folder of the step is neither told nor counted."""
    node = step(run.folder, "denoise")
    write_progress(Path(node.output_dir()) / "progress.json", Progress("measuring the result", 0.92))
    before = run.progress.seconds_left()
    run.progress.start(node)
    run.clock.now += 1
    run.progress.tell_denoising()
    assert "measuring" not in run.stream.getvalue()
    assert run.progress.seconds_left() == pytest.approx(before, rel=0.05)


def test_the_file_that_a_denoising_leaves_to_the_next_step_is_not_named(run):
    """Of micrographs it is not even in their format, and it goes with the work directory."""
    node = step(run.folder, "denoise")
    run.progress.start(node)
    run.clock.now += 10
    for message, part in (("measuring the result", 0.95), ("wrote denoised.nii.gz", 1.0)):
        write_progress(Path(node.output_dir()) / "progress.json", Progress(message, part))
        run.progress.tell_denoising()
    assert "measuring the result" in run.stream.getvalue()
    assert "denoised.nii.gz" not in run.stream.getvalue()


def test_a_unit_that_runs_again_takes_its_time_again(run):
    """Without a repetition that fitted none, as after a failure; what stays done is told as such."""
    names = [f"top.sub_01.{UNIT}.{name}" for name in PLAN.steps_s]
    with run.progress.watch():
        run.progress.expect(names)
        _do(run, "mask_wf.brain", 20)
        done = Path(step(run.folder, "mask_wf.brain").output_dir()) / "result_brain.pklz"
        done.touch()
        os.utime(done, (run.clock.now, run.clock.now))
        node = step(run.folder, "align_wf.register")
        run.progress.start(node)
        run.progress.fail(node)
    assert run.progress.seconds_left() == 0
    run.clock.now += 5
    with run.progress.watch():
        run.progress.expect(names)
        run.progress.end(step(run.folder, "mask_wf.brain"))
        assert "brain mask, as before (cached)" in run.stream.getvalue().splitlines()[-1]
        assert run.progress.seconds_left() == pytest.approx(180, rel=0.2)


def test_a_batch_that_was_stopped_leaves_nothing_behind(run):
    """Its steps do not run on in the time left of the batches after it."""
    with run.progress.watch():
        run.progress.expect([f"top.sub_01.{UNIT}.denoise"])
        node = step(run.folder, "denoise")
        run.progress.start(node)
    write_progress(Path(node.output_dir()) / "progress.json", Progress("training", 0.5))
    run.progress.tell_denoising()
    assert run.progress.seconds_left() == 0
    assert "training" not in run.stream.getvalue()


def test_what_an_earlier_run_did_is_told_as_such(run):
    """And it is no measure of how long steps take."""
    node = step(run.folder, "mask_wf.brain")
    result = Path(node.output_dir()) / "result_brain.pklz"
    result.touch()
    os.utime(result, (500, 500))
    # A pool does not tell of the start of such a step.
    run.progress.end(node)
    assert "brain mask, as before (cached)" in run.stream.getvalue()
    assert run.progress.seconds_left() == pytest.approx(PLAN.total_s - 20)


def test_after_a_failure_nothing_more_is_expected_of_the_unit(run):
    """Steps that depend on it are not run, and not told of."""
    node = step(run.folder, "mask_wf.brain")
    run.progress.start(node)
    run.progress.fail(node)
    run.progress.end(step(run.folder, "denoise"))
    assert run.stream.getvalue().splitlines()[-1].endswith("finding the brain failed")
    assert run.progress.seconds_left() == 0


def test_units_that_are_left_out_after_all_are_not_waited_for(tmp_path):
    """Damaged voxels are found when the turn comes: of what was planned, only what runs takes time."""
    progress = RunProgress(
        {f"unit{i}": (f"sub-{i}", PLAN) for i in range(3)}, 1, io.StringIO(), clock=Clock()
    )
    progress.leave_out(["unit0", "unit1"])
    assert progress.seconds_left() == pytest.approx(PLAN.total_s)
    progress.expect(f"top.sub_1.unit1.{name}" for name in PLAN.steps_s)
    assert progress.seconds_left() == pytest.approx(2 * PLAN.total_s)


def test_steps_that_a_workflow_does_not_have_are_not_waited_for(run):
    """A single image is not registered."""
    run.progress.expect([f"top.sub_01.{UNIT}.{name}" for name in ("mask_wf.brain", "denoise")])
    assert run.progress.seconds_left() == pytest.approx(PLAN.total_s - 20)


def test_the_denoising_is_followed_while_it_runs(run):
    """Each of its messages once, with the time that the whole run still takes."""
    node = step(run.folder, "denoise")
    run.progress.start(node)
    report = ProgressReport(Path(node.output_dir()) / "progress.json")
    for message in ("fine-tuning epoch 1/2, loss 0.1", "fine-tuning epoch 2/2, loss 0.1"):
        report(message)
        run.clock.now += 30
        run.progress.tell_denoising()
        run.progress.tell_denoising()
    lines = [line for line in run.stream.getvalue().splitlines() if "fine-tuning" in line]
    assert len(lines) == 2
    assert all(line.endswith("left") for line in lines)


def test_long_steps_are_never_silent_for_long(run):
    """Nobody should think that a run hangs which estimates the motion of a long series."""
    run.progress.start(step(run.folder, "motion"))
    for seconds, n_lines in ((30, 1), (31, 2), (30, 2), (31, 3)):
        run.clock.now += seconds
        run.progress.tell_denoising()
        assert run.stream.getvalue().count("estimating motion") == n_lines


def test_progress_of_a_denoising_never_goes_back(tmp_path, monkeypatch):
    """Messages come in the order of the strategies, at a steady pace; what tells nothing changes nothing."""
    clock = itertools.count()
    monkeypatch.setattr("n2a_bids.system.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setenv(PROGRESS_FILE, str(tmp_path / "p.json"))
    report, parts = ProgressReport.from_environment(), []
    messages = (
        *("auto, recipe default, on CPU, 2 threads", "choosing the noise level of the pretrained network"),
        *(f"fine-tuning epoch {epoch}/4, loss 0.1" for epoch in range(1, 5)),
        *("comparing candidates on held-out blocks", "denoising the whole volume", "measuring the result"),
        "wrote denoised.nii.gz",
    )
    for message in messages:
        report(message)
        parts.append(read_progress(tmp_path / "p.json").part)
    assert parts == sorted(parts)
    assert parts[-1] == 1
    stages = StageProgress()
    first = stages.take("denoising 20 volumes together (1 of 2)", 1)
    assert 0 < first < stages.take("denoising 20 volumes together (2 of 2)", 2) < 1


_STAGES = [f"denoising the whole volume, stage {stage} of 4" for stage in range(1, 5)]
_PAIR = [
    *((4, "auto, recipe default"), (9, "choosing the noise level of the pretrained network")),
    *((17 + 7 * epoch, f"fine-tuning epoch {epoch}/10, loss 0.2") for epoch in range(1, 10)),
    (85, "choosing how alike the noise of neighbours is"),
    *((90, "comparing candidates on held-out blocks"), (98, "denoising the whole volume")),
    *zip((110, 122, 134, 140), _STAGES),
    (141, "measuring the result"),
]
"""Seconds after which messages came, of 150: a pair of heads of 1 mm on two cores with little other work."""
_BESIDE_OTHERS = [
    *((4, "auto, recipe default"), (9, "choosing the noise level of the pretrained network")),
    *zip(
        (33, 44, 51, 63, 76, 90, 104, 117, 131),
        (f"fine-tuning epoch {epoch}/10, loss 0.2" for epoch in range(1, 10)),
    ),
    (144, "choosing how alike the noise of neighbours is"),
    *((151, "comparing candidates on held-out blocks"), (162, "denoising the whole volume")),
    *zip((180, 199, 217, 225), _STAGES),
    (226, "measuring the result"),
]
"""The same of 236: the same pair, when other work had begun after some seconds."""
_ALONE = [
    *((7, "auto, recipe default"), (39, "choosing the noise level of the pretrained network")),
    *((65, "comparing candidates on held-out blocks"), (129, "denoising the whole volume")),
    *zip((261, 363, 480, 578), _STAGES),
    (582, "measuring the result"),
]
"""The same of 665: one head of 0.9 mm beside four to six other programs."""


@pytest.mark.parametrize(("course", "total_s"), [(_PAIR, 150), (_BESIDE_OTHERS, 236), (_ALONE, 665)])
@pytest.mark.parametrize("planned_s", [120, 500])
def test_time_left_of_a_measured_denoising_holds(course, total_s, planned_s):
    """Within 30 % from the third on, whatever was planned; without training from the half on."""
    clock = SimpleNamespace(now=0.0)
    left = TimeLeft({"u": StepPlan({"denoise": planned_s}, 0.0)}, clock=lambda: clock.now)
    left.start("u", "denoise")
    stages_of_messages, told = StageProgress(), []
    for index, (seconds, message) in enumerate(course):
        following = course[index + 1][0] if index + 1 < len(course) else 0.97 * total_s
        told.append((seconds, following, stages_of_messages.take(message, seconds)))
    for seconds, following, part in told:
        for clock.now in (seconds, (seconds + following) / 2):
            if (0.5 if course is _ALONE else 0.33) <= clock.now / total_s <= 0.9:
                estimate = left.seconds({("u", "denoise"): (part, seconds)})
                assert estimate == pytest.approx(total_s - clock.now, rel=0.3, abs=10)


def test_a_message_that_cannot_be_written_does_not_end_a_denoising(tmp_path, monkeypatch):
    """On a full disk, and where nobody reads standard error any more."""
    ProgressReport(tmp_path / "gone" / "p.json")("averaging")
    monkeypatch.setattr("sys.stderr", Broken(BrokenPipeError()))
    ProgressReport()("averaging")


def test_a_damaged_progress_file_says_nothing(tmp_path):
    """It is written by another process, which may die."""
    (tmp_path / "p.json").write_text('{"message": "x"')
    assert read_progress(tmp_path / "p.json") is None
    assert read_progress(tmp_path / "none.json") is None


def test_nodes_can_be_stored_with_the_callback(run):
    """nipype pickles nodes that hold it; in another process it says nothing."""
    reporter = StepReporter(Interruption(), run.progress)
    for other in (pickle.loads(pickle.dumps(reporter)), copy.deepcopy(reporter)):
        other(step(run.folder, "mask_wf.brain"), "start")
    assert run.stream.getvalue() == ""


def test_slower_processors_are_planned_slower(tmp_path):
    """By their flags, in the order of what counts."""
    times = []
    for flags in (
        "avx2 avx512f avx512_bf16 amx_tile",
        "avx2 avx512f avx512_bf16 avx512_vp2intersect",
        "avx2 avx512f avx512_bf16",
        "avx2 avx512f",
        "avx2",
    ):
        (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {flags}\n")
        times.append(slower_networks(tmp_path / "cpuinfo"))
    assert times == sorted(set(times))


def test_a_plan_has_the_steps_of_its_kind_alone(tmp_path):
    """Before the workflows of later participants are built, nothing takes out what they will not do."""
    config = Config(tmp_path, tmp_path / "out", tmp_path / "work", "x")

    def steps(kind: str, name: str, n_images: int) -> set[str]:
        images = (ImageFile(tmp_path / name),) * n_images
        return set(plan_unit(DenoisingUnit(kind, images, {"sub": "01"}), config).steps_s)

    pair = steps("anat-repeats", "sub-01_T1w.nii.gz", 2)
    assert pair - steps("anat-single", "sub-01_T1w.nii.gz", 1) == {"align_wf.register", "align_wf.resample"}
    series = steps("dwi-reverse-pe", "sub-01_dwi.nii.gz", 2)
    assert series - steps("dwi-single", "sub-01_dwi.nii.gz", 1) == {"distortion", "shared_motion"}
    assert pair & series == {"check", "inspect", "denoise"}
    assert steps("micr-repeats", "sub-01_sample-a_TEM.tif", 2) == {"align", "denoise"}


def test_a_plan_knows_recipe_size_and_header(tmp_path):
    """Participants, groups, device and time, before anything runs."""
    unit = DenoisingUnit("anat-repeats", (ImageFile(tmp_path / "sub-01_T1w.nii.gz"),) * 2, {"sub": "01"})
    folders = {"bids_dir": tmp_path, "output_dir": tmp_path / "out", "work_dir": tmp_path / "work"}
    config = Config(**folders, run_uuid="x")
    fast = Config(**folders, run_uuid="x", denoise=DenoiseConfig(recipe="fast"))
    assert plan_unit(unit, fast).total_s < plan_unit(unit, config).total_s
    work = [ParticipantWork("01", (unit,), ())]
    progress = plan_run(work, config, 1)
    text = header(work, config, 1, progress.seconds_left())
    assert "1 participant, 1 group to denoise (1 T1w)" in text
    assert "should take about" in text
    assert unit.workflow_name == UNIT
    assert progress_of(work, config, progress) is progress
    # Of a group without one of its images, which has another name, it tells by the words for it, too.
    left = [ParticipantWork("01", (replace(unit, entities={"sub": "01", "run": "1"}),), ())]
    found = progress_of(left, config, progress)
    assert found.knows(left[0].units[0].workflow_name) and not progress.knows(left[0].units[0].workflow_name)
