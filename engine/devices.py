"""Selection of the torch device and dtype, free memory, and recovery from out-of-memory errors."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from engine.contract import EngineError
from engine.stepwise import Stepwise, finished

Item = TypeVar("Item")
Result = TypeVar("Result")


class OutOfMemory(EngineError):
    """Memory does not suffice even for a batch of one image."""

    def __init__(self) -> None:
        super().__init__("out of memory with a single image: use a smaller model, --dtype bfloat16, or --detail low")


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str) -> str:
    """Return the torch device for "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        EngineError: The name is unknown, or this machine has no such device.
    """
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
    """Return the dtype for a name; for None the fastest of the device, bfloat16 where it is supported.

    Raises:
        EngineError: The name is unknown, or the GPU does not support the dtype.
    """
    if name is not None:
        if name not in DTYPES:
            raise EngineError(f"dtype {name!r}: must be one of {', '.join(DTYPES)}")
        if DTYPES[name] == torch.bfloat16 and device.startswith("cuda") and not torch.cuda.is_bf16_supported():
            raise EngineError("dtype 'bfloat16': this GPU does not support it; use float16 or float32")
        return DTYPES[name]
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device == "mps":
        return torch.float16
    fast = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def numerics_id(device: str) -> str:
    """Return what the bits of results depend on: torch version, device or processor, and number of threads."""
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
    """Check that torch.compile can work on a device.

    Raises:
        EngineError: The CPU backend has no C++ compiler.
    """
    if device == "cpu" and not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        raise EngineError("compiling for the CPU needs a C++ compiler, such as g++: install one, or do not compile")


def free_memory(device: str) -> int | None:
    """Return the bytes that can be allocated on a device; None if the system does not report it."""
    if device.startswith("cuda"):
        return (
            torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
        )
    limits = [_available_memory(), _cgroup_memory_left()] if device == "cpu" else []
    return min((bytes_ for bytes_ in limits if bytes_ is not None), default=None)


def _available_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup_memory_left(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes left of the memory limit of the control group (cgroup v2), such as a container's; None without a limit."""
    try:
        most, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return max(0, int(most) - int(used))
    except (OSError, ValueError):
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out, whichever library raised it."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError, OutOfMemory)) or (
        isinstance(error, RuntimeError)
        and (str(error) in _ONEDNN_SIGNS or any(sign in str(error) for sign in _MEMORY_SIGNS))
    )


_MEMORY_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
# oneDNN gives no reason; after it has found a kernel (else "... a primitive descriptor") these mean out of memory
_ONEDNN_SIGNS = ("could not create a primitive", "could not execute a primitive", "could not create a memory object")


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise what means that memory ran out as OutOfMemory."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise OutOfMemory from error
        raise


def in_chunks(items: Sequence[Item], size: int, work: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
    """Apply a function to batches of items, halving the batch size whenever memory runs out.

    Args:
        items: All items.
        size: Initial batch size.
        work: Maps a batch to its results, one per item.

    Raises:
        OutOfMemory: Memory does not suffice for a single item.
    """

    def in_one_piece(chunk: Sequence[Item]) -> Stepwise[Sequence[Result]]:
        return work(chunk)
        yield

    return finished(chunks_in_steps(items, size, in_one_piece))


def chunks_in_steps(
    items: Sequence[Item], size: int, work: Callable[[Sequence[Item]], Stepwise[Sequence[Result]]]
) -> Stepwise[list[Result]]:
    """Do what `in_chunks` does with work that comes in pieces, and yield between them."""
    results: list[Result] = []
    while len(results) < len(items):
        try:
            results += yield from work(items[len(results) : len(results) + size])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise OutOfMemory from error
            size = min(size, len(items)) // 2 or 1
    return results
