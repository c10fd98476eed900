"""Where and in which type a model computes, and what happens when memory runs out."""

import os
import platform
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from engine.contract import EngineError

Item = TypeVar("Item")
Result = TypeVar("Result")


class OutOfMemory(EngineError):
    """Even for a single picture."""

    def __init__(self) -> None:
        super().__init__("out of memory with a single picture: use a smaller model, --dtype bfloat16, or --detail low")


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str) -> str:
    """A torch device for "auto", "cpu", "cuda", "cuda:N" or "mps"; EngineError if this machine has it not."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind == "cuda" and (not number or number.isdecimal()):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            raise EngineError(f"device {name!r}: this machine has {count or 'no'} CUDA devices; use cpu or auto")
    elif name == "mps":
        if not torch.backends.mps.is_available():
            raise EngineError("device 'mps': this machine has no Apple GPU that torch can use; use cpu or auto")
    elif name != "cpu":
        raise EngineError(f"device {name!r}: must be auto, cpu, cuda, cuda:N or mps")
    return name


def pick_dtype(name: str | None, device: str) -> torch.dtype:
    """The type for a name, or for None the best that the device computes fast in: bfloat16 where it can."""
    if name is not None:
        if name not in DTYPES:
            raise EngineError(f"dtype {name!r}: must be one of {', '.join(DTYPES)}")
        if DTYPES[name] == torch.bfloat16 and device.startswith("cuda") and not torch.cuda.is_bf16_supported():
            raise EngineError("dtype 'bfloat16': this GPU can't compute in it; use float16 or float32")
        return DTYPES[name]
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device == "mps":
        return torch.float16
    fast = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def numerics_id(device: str) -> str:
    """All that has a say in how a device rounds: torch, the processor, and the threads that share a sum."""
    if device.startswith("cuda"):
        return f"{torch.__version__} {torch.cuda.get_device_name(device)}"
    kernels = torch.backends.cpu.get_cpu_capability()
    return f"{torch.__version__} {device} {_processor()} {kernels} {torch.get_num_threads()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line for line in lines if line.startswith("model name")), platform.processor())


def check_compiler(device: str) -> None:
    """EngineError where torch.compile could not work."""
    if device == "cpu" and not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        raise EngineError("compiling for the CPU needs a C++ compiler, such as g++: install one, or leave compile off")


def free_memory(device: str) -> int | None:
    """Bytes that could be had now; None where the system does not tell."""
    if device.startswith("cuda"):
        return (
            torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
        )
    limits = [_available(), _left_to_group()] if device == "cpu" else []
    return min((bytes_ for bytes_ in limits if bytes_ is not None), default=None)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _left_to_group(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Of what a container may use (control groups, version 2); None without a limit."""
    try:
        most, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return max(0, int(most) - int(used))
    except (OSError, ValueError):
        return None


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError, OutOfMemory)) or (
        isinstance(error, RuntimeError)
        and (str(error) in _ONEDNN_SIGNS or any(sign in str(error) for sign in _MEMORY_SIGNS))
    )


_MEMORY_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
# oneDNN tells no reasons; once it has found a kernel ("... a primitive descriptor" if not), these are want of memory
_ONEDNN_SIGNS = ("could not create a primitive", "could not execute a primitive", "could not create a memory object")


def in_chunks(items: Sequence[Item], size: int, work: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
    """work on `size` items at a time, and on half as many from where memory runs out.

    OutOfMemory if it runs out with a single one.
    """
    results: list[Result] = []
    while len(results) < len(items):
        try:
            results += work(items[len(results) : len(results) + size])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise OutOfMemory from error
            size = min(size, len(items)) // 2 or 1
    return results
