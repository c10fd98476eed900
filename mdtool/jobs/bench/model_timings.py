"""Measurements of a model, and their table."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdtool.jobs.bench.timing import peak_memory


@dataclass(frozen=True)
class Step:
    """The time of a step.

    Attributes:
        seconds: The median.
        tflop: Operations of its matrix multiplications, in 10^12, if known.
        eager: Seconds of the same step in eager PyTorch, if known (`mdtool.jobs.bench.eager`).
        llama_cpp: Seconds of the same step in llama.cpp, if the two were timed in turn (`mdtool.jobs.bench.llama_cpp`).
    """

    name: str
    seconds: float
    tflop: float | None = None
    eager: float | None = None
    llama_cpp: float | None = None


@dataclass(frozen=True)
class ModelTimings:
    """Measurements of a model.

    Attributes:
        settings: How it was loaded.
        machine: Where it ran.
        weights_gb: Size of the weights, in 10^9 bytes.
        memory_gb: Memory of the process after its first answer, in 10^9 bytes.
        tflops: 10^12 operations per second in a matrix multiplication of the prefill's shape, the peak rate of steps;
            None: not measured.
    """

    model: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    load_seconds: float
    weights_gb: float
    memory_gb: float
    tflops: float | None
    steps: list[Step]


def memory_gb() -> float:
    """Return the resident memory of the process, in 10^9 bytes; its peak, on systems without /proc."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return peak_memory() * 1e-9
    return next(int(line.split()[1]) * 1024e-9 for line in status.splitlines() if line.startswith("VmRSS"))


def table(timings: ModelTimings) -> Iterator[str]:
    """Yield the measurements as lines of Markdown."""
    for part in (timings.settings, timings.machine):
        yield ", ".join(f"{name} {value}" for name, value in part.items())
    gemm = f"; a GEMM of the prefill's shape {timings.tflops:.2f} TFLOP/s" if timings.tflops else ""
    yield (
        f"{timings.model} loaded in {timings.load_seconds:.1f} s; weights {timings.weights_gb:.2f} GB, "
        f"the process {timings.memory_gb:.2f} GB{gemm}"
    )
    yield ""
    columns = ["step", "time", "share of the GEMM rate", "eager PyTorch", "speed-up"]
    beside = any(step.llama_cpp for step in timings.steps)
    columns += ["llama.cpp", "speed-up"] if beside else []
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for step in timings.steps:
        share = f"{step.tflop / step.seconds / timings.tflops:.0%}" if step.tflop and timings.tflops else ""
        cells = [step.name, _format_seconds(step.seconds), share, *_compared(step.seconds, step.eager)]
        cells += _compared(step.seconds, step.llama_cpp) if beside else []
        yield f"| {' | '.join(cells)} |"


def _compared(seconds: float, other: float | None) -> tuple[str, str]:
    """Return the time of another program, and how many times as long as ours it is; empty if it is unknown."""
    return (_format_seconds(other), f"{other / seconds:.2f}x") if other else ("", "")


def _format_seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"
