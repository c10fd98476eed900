"""Which kernels are in use and why; and that they run on torch's own threads."""

import os
import subprocess
import sys

import pytest
from golden import needs_compiler
from kernel_sets import available, needs_kernels

from engine.kernels.library import PORTABLE, VARIABLE, kernels

SUMMARY = "from engine.kernels.library import kernels; print(kernels().library is not None, kernels().summary)"


def python(code: str, **env: str) -> str:
    command = [sys.executable, "-c", code]
    path = os.pathsep.join(sys.path)
    run = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path} | env, capture_output=True, text=True, timeout=120, check=True
    )
    return run.stdout.strip()


@needs_kernels
@pytest.mark.parametrize("name", [PORTABLE, *available()])
def test_an_instruction_set_can_be_chosen(name: str) -> None:
    assert python(SUMMARY, **{VARIABLE: name}) == f"True mdtool's kernels, {name}"


@needs_kernels
def test_the_best_instruction_set_is_the_default() -> None:
    assert python(SUMMARY, **{VARIABLE: ""}) == f"True mdtool's kernels, {available()[0]}"


def test_they_can_be_turned_off() -> None:
    assert python(SUMMARY, **{VARIABLE: "off"}) == "False torch's kernels: MDTOOL_KERNELS is off"


@needs_kernels
def test_a_set_that_this_cpu_lacks_leaves_torchs() -> None:
    summary = "False torch's kernels: this CPU has no avx1024, which MDTOOL_KERNELS asks for"
    assert python(SUMMARY, **{VARIABLE: "avx1024"}) == summary


@needs_compiler
@pytest.mark.skipif(sys.platform == "win32", reason="they aren't built there")
def test_they_are_built_where_there_is_a_compiler() -> None:
    """Building them is optional, so that an error in their sources would go unnoticed."""
    assert "not built" not in kernels().summary


RUN = """
import os, torch
from engine.kernels.library import kernels
from engine.layers.kernel_linear import KernelLinear
from engine.quantization.formats import quantize_int4

torch.set_num_threads(3)
linear = KernelLinear(quantize_int4(torch.randn(512, 512)), None)

def ours():
    for rows in (1, 9, 100):
        linear(torch.randn(rows, 512))

def torchs():
    for _ in range(3):
        torch.randn(2000, 500) @ torch.randn(500, 700)
        torch.randn(1 << 20).tanh()

def threads():
    return len(os.listdir("/proc/self/task"))

assert kernels().library
counts = []
for run in ({order}):
    run()
    counts.append(threads())
runtimes = {{os.path.realpath(line.split()[-1]) for line in open("/proc/self/maps") if "omp" in line.split("/")[-1]}}
print(torch.get_num_threads(), *counts, len(runtimes))
"""


@needs_kernels
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_torch_and_the_kernels_share_one_pool_of_threads() -> None:
    """A second OpenMP runtime would have threads of its own, and both would wait for each other."""
    threads, alone, with_ours, again, runtimes = python(RUN.format(order="torchs, ours, torchs")).split()
    assert (threads, runtimes) == ("3", "1")
    assert alone == with_ours == again
    assert int(alone) >= 3
    *_, after_both, _ = python(RUN.format(order="ours, torchs")).split()
    assert after_both == alone
