"""Times a computation on a device."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


def median_seconds(work: Callable[[], Any], device: str, runs: int) -> float:
    """Return the median time of `runs` runs, after one warm-up run, in seconds."""
    return statistics.median([_seconds(work, device) for _ in range(runs + 1)][1:])


def _seconds(work: Callable[[], Any], device: str) -> float:
    since = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - since
