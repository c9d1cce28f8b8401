"""``n2a-tools doctor``: what it finds on pretended machines, and how it ends."""

import json

import pytest

from n2a_bids.cli.tools import main
from n2a_bids.system.resources import free_memory_gb
from n2a_bids.tools.doctor import gpus as doctor_gpus
from n2a_bids.tools.doctor.checks import check_places, check_processors, check_weights, container_name
from n2a_bids.tools.doctor.gpus import architecture_problem, driver_problem, gpu_findings
from n2a_bids.tools.doctor.report import Finding, format_json, format_text
from n2a_bids.tools.doctor.speed import describe_speed


def _machine(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_free_memory_is_what_the_cgroup_has_left(tmp_path):
    """3 GB allowed, 2 GB used of which half is file cache: 2 GB are free."""
    root = _machine(tmp_path, proc__meminfo="MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    _machine(root, proc__self__cgroup="0::/job\n")
    folder = root / "sys/fs/cgroup/job"
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text(str(3 * 2**30))
    (folder / "memory.current").write_text(str(2 * 2**30))
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {2**30}\n")
    assert free_memory_gb(root, {}) == pytest.approx(2)


def test_little_memory_is_a_problem(tmp_path):
    """One gigabyte of Slurm's is too little, whatever the machine has."""
    root = _machine(tmp_path, proc__meminfo="MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    findings = {finding.name: finding for finding in check_processors(root, {"SLURM_MEM_PER_NODE": "1024"})}
    assert "1.0 GB free, 1.0 GB allowed, 16.0 GB in all" in findings["memory"].value
    assert "at least 4 GB" in findings["memory"].problem


@pytest.mark.parametrize(
    ("capability", "architectures", "fits"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 9), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((7, 0), ["sm_80", "sm_90"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((10, 0), ["sm_100a"], True),
    ],
)
def test_architecture_fits_by_the_rules_of_cuda(capability, architectures, fits):
    """Machine code serves later minors of its major version, portable code everything later."""
    assert (architecture_problem(capability, architectures) == "") == fits


@pytest.mark.parametrize(
    ("driver", "built_for", "fits"),
    [
        ("525.60.13", "12.6", True),
        ("525.60.11", "12.6", False),
        ("570.86.15", "13.0", False),
        ("580.65.06", "13.0", True),
        ("470.57.02", "11.8", True),
        ("470.57.02", None, True),
        ("", "12.6", True),
    ],
)
def test_driver_fits_the_major_version_of_cuda(driver, built_for, fits):
    """A driver serves every minor version of the CUDA that it came for; without a driver, none is too old."""
    assert (driver_problem(driver, built_for) == "") == fits


_NO_DEVICE = {"architectures": ["sm_80"], "devices": []}
_OLD_CARD = {
    "name": "P100", "capability": [6, 0], "free_gb": 15.0, "total_gb": 16.0, "product_correct": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("driver", "found", "words"),
    [
        ("", {"built_for": None, **_NO_DEVICE}, ""),
        ("", {"built_for": "12.6", **_NO_DEVICE}, ""),
        ("535.54.03", {"built_for": None, **_NO_DEVICE}, "use the CUDA image"),
        ("535.54.03", {"built_for": "12.6", **_NO_DEVICE}, "--nv"),
        ("470.57.02", {"built_for": "12.6", **_NO_DEVICE}, "too old"),
        ("470.57.02", {"built_for": "12.6", "failure": "driver too old (found 11040)"}, "found 11040"),
        ("535.54.03", {"built_for": "12.6", "architectures": ["sm_80"], "devices": [_OLD_CARD]}, "sm_60"),
    ],
)
def test_reason_why_a_gpu_is_not_used_is_told(driver, found, words):
    """Each cause has its own remedy; a machine without a driver is no problem."""
    problems = " ".join(finding.problem for finding in gpu_findings(driver, found) if finding.problem)
    assert words in problems
    assert bool(problems) == bool(words)


def test_work_directory_that_cannot_be_written_is_a_problem(tmp_path):
    """Asked for, it is a problem; a home that cannot be written is none."""
    blocked = tmp_path / "file"
    blocked.touch()
    findings = {f.name: f for f in check_places(blocked, {"HOME": "/proc/nobody"})}
    assert str(blocked) in findings["work"].problem
    assert "not writable" in findings["home"].value
    assert not findings["home"].problem


def test_damaged_weights_are_a_problem(tmp_path):
    """A file that is not what its model card says is named."""
    (tmp_path / "resunet-t1w.safetensors").write_bytes(b"not these")
    (tmp_path / "resunet-t1w.json").write_text(json.dumps({"sha256": "0" * 64}))
    findings = check_weights({"N2A_WEIGHTS_DIR": str(tmp_path)})
    assert "resunet-t1w.safetensors" in findings[1].problem


def test_named_weights_folder_must_hold_some(tmp_path):
    """An empty folder that the user named is a mistake."""
    assert "N2A_WEIGHTS_DIR" in check_weights({"N2A_WEIGHTS_DIR": str(tmp_path)})[1].problem


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "none"),
        ({"APPTAINER_CONTAINER": "/n2a.sif", "N2A_DOCKER_TAG": "1.0"}, "apptainer, image 1.0"),
        ({"IS_DOCKER_8395080871": "1"}, "docker"),
    ],
)
def test_container_is_recognised(tmp_path, environ, name):
    """By the variables that engines and image set."""
    assert container_name(tmp_path, environ) == name


def test_reports_name_every_problem():
    """Text and JSON say the same."""
    report = {"places": [Finding("work", "/w: not writable", "choose another"), Finding("home", "fine")]}
    assert "1 problem\n  * choose another" in format_text(report)
    document = json.loads(format_json(report))
    assert document["places"] == {"work": "/w: not writable", "home": "fine"}
    assert document["problems"] == ["choose another"]


@pytest.mark.proof
def test_doctor_trains_a_little(tmp_path, capsys):
    """On this machine, whole: the trial learns, and the exit code is that of the problems."""
    status = main(["doctor", "--json", "--work-dir", str(tmp_path)])
    document = json.loads(capsys.readouterr().out)
    assert status == bool(document["problems"])
    assert "s per step" in document["trial"]["fine-tune on cpu"]
    assert "voxels/s in training" in document["trial"]["speed on cpu"]


def test_speed_is_told_in_minutes_of_a_head():
    found = {
        "kind": "AVX2",
        "precision": "float32",
        "rates": {"training": 45_000.0, "prediction": 138_000.0, "nonlocal_bayes": 204_000.0},
        "minutes": {"default": 12.34, "zero-shot": 3.6},
    }

    said = describe_speed(found)
    assert said.startswith("AVX2: 45 thousand voxels/s in training, 138 in prediction (float32)")
    assert said.endswith("default 12.3 min, zero-shot 3.6 min")


def test_gpu_that_hangs_is_a_finding(monkeypatch):
    """A driver that never answers is what the doctor is called for."""
    monkeypatch.setattr(doctor_gpus, "_GPU_PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor_gpus, "_GPU_PROBE_LIMIT_S", 0.5)
    (finding,) = [finding for finding in doctor_gpus.check_gpu() if finding.problem]
    assert "no answer within" in finding.problem
