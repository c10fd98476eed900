"""Times a computation on a device, and measures the memory of this process."""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

if sys.platform != "win32":
    import resource


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


def median_seconds(work: Callable[[], Any], device: str, runs: int) -> float:
    """Return the median time of `runs` runs, after one warm-up run, in seconds."""
    return statistics.median([seconds(work, device) for _ in range(runs + 1)][1:])


def seconds(work: Callable[[], Any], device: str) -> float:
    """Return the time of one run, in seconds, until the device has nothing left to do."""
    since = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - since


def peak_memory() -> int:
    """Return the peak memory of this process, in bytes. Not available on Windows."""
    if sys.platform != "win32":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    raise NotImplementedError
