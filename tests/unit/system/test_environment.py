"""Libraries start as many threads as they were allowed, and these sleep while they wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from n2a_bids.system.child import child_environment
from n2a_bids.system.environment import thread_variables, variables_asked_for

_WORK = """
import os
import numpy as np
import torch
square = np.random.default_rng(0).standard_normal((700, 700))
np.linalg.eigh(square @ square.T)
block = torch.ones(1, 16, 32, 32, 32, requires_grad=True)
torch.nn.functional.conv3d(block, torch.ones(16, 16, 3, 3, 3), padding=1).sum().backward()
torch.linalg.cholesky(torch.eye(48).repeat(200, 1, 1))
print(torch.get_num_threads(), len(os.listdir("/proc/self/task")))
"""

_ITK = """
import os
import ants
import numpy as np
image = ants.from_numpy(np.random.default_rng(0).standard_normal((48, 48, 48)).astype(np.float32))
ants.denoise_image(image)
print(len(os.listdir("/proc/self/task")))
"""


def _run(code: str, environment: dict[str, str]) -> list[int]:
    child = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return [int(word) for word in child.stdout.split()]


@pytest.fixture
def free_environment(monkeypatch) -> dict[str, str]:
    """As a user has it, who bounds nothing."""
    for name in thread_variables(1, {}):
        monkeypatch.delenv(name, raising=False)
    return dict(os.environ)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted as Linux shows them")
def test_torch_and_blas_of_a_child_have_the_threads_that_were_asked_for(free_environment):
    """Torch's own count, and the threads of the process."""
    assert _run(_WORK, free_environment | child_environment(1)) == [1, 1]


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted as Linux shows them")
def test_itk_of_a_child_has_the_threads_that_were_asked_for(free_environment):
    """One beside that which waits for it."""
    pytest.importorskip("ants")
    assert _run(_ITK, free_environment | child_environment(1))[0] <= 2


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted as Linux shows them")
def test_a_command_by_hand_bounds_its_libraries_before_they_are_loaded(free_environment):
    """BLAS reads its threads once: what numpy's import has started cannot be taken back."""
    misused = """
from contextlib import suppress
from n2a_bids.cli import tools
with suppress(SystemExit):
    tools.main(["denoise", "--omp-nthreads", "1"])
"""
    assert _run(misused + "import torch; torch.set_num_threads(1)" + _WORK, free_environment) == [1, 1]


def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise():
    assert thread_variables(2, {})["OMP_WAIT_POLICY"] == "PASSIVE"
    assert thread_variables(2, {})["GOMP_SPINCOUNT"] == "200"
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        assert name not in thread_variables(2, {"OMP_WAIT_POLICY": "ACTIVE"})


@pytest.mark.parametrize(
    "arguments", [[], ["--omp-nthreads"], ["--omp-nthreads", "many"], ["--omp-nthreads=0"]]
)
def test_without_a_number_of_threads_none_is_set(arguments):
    """What is wrong on a command line is its parser's to say."""
    assert "OMP_NUM_THREADS" not in variables_asked_for(["denoise", *arguments], {})
    assert variables_asked_for(["denoise", *arguments], {})["OMP_WAIT_POLICY"] == "PASSIVE"
