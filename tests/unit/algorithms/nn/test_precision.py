"""Networks run in the precision that is faster on this processor, also where it only claims the other."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from n2a_bids.algorithms.nn import precision

CPU = torch.device("cpu")
CLAIMS_BFLOAT16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
needs_bfloat16 = pytest.mark.skipif(not CLAIMS_BFLOAT16, reason="the processor has no bfloat16")


def _claim(monkeypatch, seconds):
    """A processor that claims bfloat16, and its seconds in bfloat16 and float32."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(precision, "_seconds_in_turn", lambda operands: list(seconds))
    precision._time_over_float32.cache_clear()


@pytest.fixture(autouse=True)
def _measured_anew():
    yield
    precision._time_over_float32.cache_clear()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [((1.0, 5.0), torch.bfloat16), ((1.0, 1.0), torch.float32), ((1.7, 1.0), torch.float32)],
)
def test_bfloat16_is_taken_where_it_is_clearly_faster(monkeypatch, seconds, expected):
    _claim(monkeypatch, seconds)

    assert precision.precision_for(CPU) is expected


def test_a_processor_without_bfloat16_is_not_timed(monkeypatch):
    _claim(monkeypatch, (1.0, 5.0))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(precision, "_seconds_in_turn", lambda operands: pytest.fail("timed"))

    assert precision.precision_for(CPU) is torch.float32


def test_the_choice_does_not_depend_on_how_threads_wait_for_each_other(monkeypatch):
    """Of two threads on busy cores, AMX took 0.7 of the time of float32, near where the choice changes."""
    seen, before = [], torch.get_num_threads()
    _claim(monkeypatch, (1.0, 5.0))
    monkeypatch.setattr(
        precision, "_seconds_in_turn", lambda operands: seen.append(torch.get_num_threads()) or [1.0, 5.0]
    )
    torch.set_num_threads(3)
    try:
        precision.precision_for(CPU)
        assert (set(seen), torch.get_num_threads()) == ({1}, 3)
    finally:
        torch.set_num_threads(before)


@needs_bfloat16
@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        ("AVX512_CORE", "float32"),
        pytest.param(
            "DEFAULT",
            "bfloat16",
            marks=pytest.mark.skipif(not torch.cpu._is_amx_tile_supported(), reason="no AMX"),
        ),
    ],
)
def test_it_is_the_libraries_that_are_timed_and_not_the_processor(instructions, expected):
    """What narrows oneDNN narrows the choice: a processor may have units that its library does not use."""
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from n2a_bids.algorithms.nn.precision import precision_for\n"
        "print(precision_for(torch.device('cpu')))"
    )
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions}
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert child.stdout.strip() == f"torch.{expected}", child.stderr
