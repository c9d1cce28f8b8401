"""Memory and processors from files of the kernel and variables of Slurm, not from the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from n2a_bids.system.resources import available_cpus, available_memory_gb, parse_memory, probe_gpus

GB = 1024**3


@pytest.fixture
def machine(tmp_path):
    """Writer of a fake root: a machine of 64 GB, with the files that a test adds."""

    def write(files: dict[str, str]) -> Path:
        for path, text in {"proc/meminfo": f"MemTotal: {64 * 1024**2} kB\n", **files}.items():
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return tmp_path

    return write


@pytest.fixture
def many_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(32)), raising=False)


@pytest.mark.parametrize(
    ("text", "gb"),
    [
        ("1.5G", 1.5), ("8000M", 8000 / 1024), ("16", 16.0), ("16GB", 16.0), ("2T", 2048.0), ("512MiB", 0.5),
        (" 4 g ", 4.0), (".5G", 0.5), ("1048576K", 1.0),
    ],
)  # fmt: skip
def test_memory_is_read_with_its_unit(text, gb):
    """An amount with a unit, or a plain number of GB."""
    assert parse_memory(text) == pytest.approx(gb)


@pytest.mark.parametrize("text", ["", "lots", "-1G", "1.5.2G", "0", "8 GG", "16000"])
def test_memory_that_makes_no_sense_is_refused(text):
    """16000 without a unit would be 16 TB: megabytes were meant."""
    with pytest.raises(ValueError, match=r"amount of memory|without a unit"):
        parse_memory(text)


def test_machine_without_limits_offers_all(machine, many_processors):
    """No cgroup and no Slurm: the memory of the machine, the affinity of the process."""
    root = machine({})
    assert available_memory_gb(root, {}) == pytest.approx(64)
    assert available_cpus(root, {}) == 32


def test_cgroup_v2_limits_of_parents_count(machine, many_processors):
    """The tightest limit on the way up counts, 'max' is none."""
    root = machine(
        {
            "proc/self/cgroup": "0::/job/step\n",
            "sys/fs/cgroup/job/memory.max": f"{8 * GB}\n",
            "sys/fs/cgroup/job/step/memory.max": "max\n",
            "sys/fs/cgroup/job/cpu.max": "250000 100000\n",
            "sys/fs/cgroup/job/step/cpu.max": "max 100000\n",
        }
    )
    assert available_memory_gb(root, {}) == pytest.approx(8)
    assert available_cpus(root, {}) == 3


def test_cgroup_v2_in_a_container_is_at_the_mount_point(machine, many_processors):
    """A container sees its own limit at the top, under a path of the host or under '/'."""
    root = machine(
        {
            "proc/self/cgroup": "0::/../docker/abc\n",
            "sys/fs/cgroup/memory.max": f"{2 * GB}\n",
            "sys/fs/cgroup/cpu.max": "100000 100000\n",
        }
    )
    assert available_memory_gb(root, {}) == pytest.approx(2)
    assert available_cpus(root, {}) == 1


def test_cgroup_v1_limits(machine, many_processors):
    """The older layout has a folder for each controller."""
    root = machine(
        {
            "proc/self/cgroup": "4:memory:/slurm/job_1\n3:cpu,cpuacct:/slurm/job_1\n1:name=systemd:/\n",
            "sys/fs/cgroup/memory/slurm/job_1/memory.limit_in_bytes": f"{4 * GB}\n",
            "sys/fs/cgroup/cpu,cpuacct/slurm/job_1/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu,cpuacct/slurm/job_1/cpu.cfs_period_us": "100000\n",
        }
    )
    assert available_memory_gb(root, {}) == pytest.approx(4)
    assert available_cpus(root, {}) == 2


def test_cgroup_without_quota_is_no_limit(machine, many_processors):
    """-1 in version 1 means no quota."""
    root = machine(
        {
            "proc/self/cgroup": "3:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        }
    )
    assert available_cpus(root, {}) == 32


@pytest.mark.parametrize(
    ("environ", "memory_gb", "cpus"),
    [
        ({"SLURM_MEM_PER_NODE": "12288", "SLURM_CPUS_PER_TASK": "6"}, 12, 6),
        ({"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_ON_NODE": "4"}, 8, 4),
        ({"SLURM_MEM_PER_NODE": "0"}, 64, 32),
        ({"SLURM_CPUS_PER_TASK": "x"}, 64, 32),
    ],
)
def test_slurm_allocation_counts(machine, many_processors, environ, memory_gb, cpus):
    """What Slurm gave to the job, in MB; 0 stands for the whole node."""
    root = machine({})
    assert available_memory_gb(root, environ) == pytest.approx(memory_gb)
    assert available_cpus(root, environ) == cpus


def test_affinity_counts(machine, monkeypatch):
    """A process that is bound to two processors has two."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 7}, raising=False)
    assert available_cpus(machine({}), {"SLURM_CPUS_PER_TASK": "16"}) == 2


def test_no_gpu_device_is_told_without_trying(tmp_path):
    """Without a device file there is no need to start torch."""
    probe = probe_gpus(tmp_path, {})
    assert probe.names == ()
    assert "no GPU device" in probe.problem


def test_gpu_probe_runs_in_a_child(tmp_path, monkeypatch):
    """The child names the GPUs; when it fails, its last line is the reason."""
    device = tmp_path / "dev" / "nvidia0"
    device.parent.mkdir()
    device.touch()
    monkeypatch.setattr(
        "n2a_bids.system.resources._PROBE", "print('GPU H1'); print('noise'); print('GPU H2')"
    )
    assert probe_gpus(tmp_path, os.environ).names == ("H1", "H2")
    monkeypatch.setattr("n2a_bids.system.resources._PROBE", "raise RuntimeError('driver too old')")
    assert "driver too old" in probe_gpus(tmp_path, os.environ).problem
    monkeypatch.setattr("n2a_bids.system.resources._PROBE", "")
    assert "torch sees no GPU" in probe_gpus(tmp_path, os.environ).problem
