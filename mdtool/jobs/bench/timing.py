"""Seconds that a computation takes on a device, and the memory of this process."""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

if sys.platform != "win32":
    import resource


def median_seconds(work: Callable[[], Any], device: str, runs: int) -> float:
    """The median of `runs`, after one to warm up."""
    return statistics.median([_seconds(work, device) for _ in range(runs + 1)][1:])


def _seconds(work: Callable[[], Any], device: str) -> float:
    begin = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - begin


def peak_memory() -> int:
    """The most bytes that this process has held in memory. Not on Windows."""
    assert sys.platform != "win32"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
