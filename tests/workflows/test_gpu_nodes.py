"""Denoising nodes that run together get different GPUs, seen by commands that only pretend to denoise."""

import shlex
import sys

import pytest
from nipype import Node, Workflow

from n2a_bids.app.execution import LocalPoolPlugin
from n2a_bids.interfaces.denoise import Denoise

_PRETEND = """
import os, sys, time
from pathlib import Path
start = time.time()
time.sleep(1.5)
for name in ("denoised.nii.gz", "denoised.json", "mean.nii.gz", "residual.nii.gz", "noise_sd.nii.gz"):
    Path(name).touch()
seen = Path(sys.argv[0]).with_name(f"seen-{os.getpid()}.txt")
seen.write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {start} {time.time()}")
"""


class PretendDenoise(Denoise):
    """Writes which GPU it was given, and when."""

    _cmd = sys.executable


@pytest.mark.proof
def test_gpu_nodes_never_share(tmp_path, monkeypatch):
    """Four nodes, two GPUs, two slots: all done, both GPUs used, none by two nodes at once."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    script = tmp_path / "pretend.py"
    script.write_text(_PRETEND)
    monkeypatch.setattr(PretendDenoise, "_cmd", f"{shlex.quote(sys.executable)} {script}")
    for name in ("run-1.nii.gz", "run-2.nii.gz", "mask.nii.gz"):
        (tmp_path / name).touch()
    workflow = Workflow("gpus", base_dir=str(tmp_path / "work"))
    for index in range(4):
        interface = PretendDenoise(
            in_files=[str(tmp_path / "run-1.nii.gz"), str(tmp_path / "run-2.nii.gz")],
            mask_file=str(tmp_path / "mask.nii.gz"), device="cuda", use_gpu=True, gpu_slots=2,
        )  # fmt: skip
        workflow.add_nodes([Node(interface, name=f"denoise{index}", n_procs=1, mem_gb=0.1)])
    arguments = {"n_procs": 4, "memory_gb": 4, "n_gpu_procs": 2, "mp_context": "fork"}
    workflow.run(plugin=LocalPoolPlugin(plugin_args=arguments))
    seen = [path.read_text().split() for path in tmp_path.glob("seen-*.txt")]
    assert len(seen) == 4
    assert {device for device, _, _ in seen} == {"4", "7"}
    for device in ("4", "7"):
        times = sorted((float(start), float(end)) for used, start, end in seen if used == device)
        assert all(end <= start for (_, end), (start, _) in zip(times, times[1:], strict=False))
