"""Every process gets a GPU of its own, with GPUs that exist in name only."""

import subprocess
import sys
from pathlib import Path

import pytest

from n2a_bids.system.gpu_slot import gpu_slot, visible_gpus

_HOLDER = """
import sys
from pathlib import Path
from n2a_bids.system.gpu_slot import gpu_slot
with gpu_slot(("0", "1"), folder=Path(sys.argv[1])) as device:
    print(device, flush=True)
    sys.stdin.read()
"""


class _StillFullError(Exception):
    pass


def _give_up(seconds: float) -> None:
    raise _StillFullError


@pytest.mark.parametrize(
    ("named", "devices"),
    [
        ("0", ("0",)),
        ("3, 1", ("3", "1")),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",)),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("0,-1,1", ("0",)),
    ],
)
def test_visible_gpus_are_those_the_scheduler_gave(named, devices):
    """``CUDA_VISIBLE_DEVICES`` is read as CUDA reads it."""
    assert visible_gpus(environ={"CUDA_VISIBLE_DEVICES": named}) == devices


def test_visible_gpus_are_counted_by_their_device_files(tmp_path):
    """Without the variable, control devices do not count."""
    (tmp_path / "dev").mkdir()
    for name in ("nvidia1", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    assert visible_gpus(tmp_path, {}) == ("0", "1")


def test_gpu_slot_gives_each_holder_its_own(tmp_path):
    """Two holders, two GPUs; a third waits; a freed one is taken again."""
    devices = ("0", "1")
    with gpu_slot(devices, folder=tmp_path) as first:
        with gpu_slot(devices, folder=tmp_path) as second:
            assert {first, second} == {"0", "1"}
            with pytest.raises(_StillFullError), gpu_slot(devices, folder=tmp_path, wait=_give_up):
                pass
        with gpu_slot(devices, folder=tmp_path, wait=_give_up) as third:
            assert third == second


def test_gpu_slot_shares_only_when_asked_and_evenly(tmp_path):
    """Four slots on two GPUs: two holders each, and no GPU twice before the other once."""
    devices = ("0", "1")
    with (
        gpu_slot(devices, 4, folder=tmp_path) as first,
        gpu_slot(devices, 4, folder=tmp_path) as second,
        gpu_slot(devices, 4, folder=tmp_path) as third,
        gpu_slot(devices, 4, folder=tmp_path) as fourth,
    ):
        assert {first, second} == {"0", "1"}
        assert {third, fourth} == {"0", "1"}
        with pytest.raises(_StillFullError), gpu_slot(devices, 4, folder=tmp_path, wait=_give_up):
            pass


def test_gpu_slot_of_a_killed_process_is_free_again(tmp_path):
    """A process that dies without cleaning up leaves nothing locked."""
    root = Path(__file__).resolve().parents[3]
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root,
    )  # fmt: skip
    taken = holder.stdout.readline().strip()
    with gpu_slot(("0", "1"), folder=tmp_path) as other:
        assert {taken, other} == {"0", "1"}
        holder.kill()
        holder.communicate()
        with gpu_slot(("0", "1"), folder=tmp_path, wait=_give_up) as again:
            assert again == taken
