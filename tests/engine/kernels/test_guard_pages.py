"""Our CPU kernels read and write nothing beyond their buffers (prefetches may point anywhere)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_sets import available, needs_kernels

from engine.kernels.library import PORTABLE

pytestmark = [needs_kernels, pytest.mark.posix("memory protection")]

TESTS = Path(__file__).parents[1]


def run(what: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parents[1])])}
    command = [sys.executable, str(TESTS / "guarded_kernels.py"), what]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("name", [PORTABLE, *available()])
def test_nothing_beyond_a_buffer_is_touched(name: str) -> None:
    done = run(name)
    assert (done.returncode, done.stdout) == (0, "within bounds\n"), done.stderr[-2000:]


def test_the_guard_notices_one_byte() -> None:
    assert run("overrun").returncode == -signal.SIGSEGV
