"""Finds and loads the compiled kernels, and gives them the threads of torch's OpenMP runtime."""

import ctypes
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

VARIABLE = "MDTOOL_KERNELS"  # "off", or the name of an instruction set; for comparisons
PORTABLE = "portable"


@dataclass(frozen=True)
class Kernels:
    """The kernels in use.

    Attributes:
        library: The compiled functions; None where torch's kernels serve.
        summary: Which kernels are in use and why, for humans.
    """

    library: ctypes.CDLL | None
    summary: str


@cache
def kernels() -> Kernels:
    """Load the kernels once."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "off":
        return Kernels(None, f"torch's kernels: {VARIABLE} is off")
    path = Path(__file__).with_name("_native.so")
    if not path.exists():
        why = "aren't built on Windows" if sys.platform == "win32" else "were not built (no C++ compiler?)"
        return Kernels(None, f"torch's kernels: ours {why}")
    runtime = _openmp_runtime()
    if runtime is None:
        return Kernels(None, "torch's kernels: torch's threads can't be shared here")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return Kernels(None, f"torch's kernels: {path.name} can't be loaded: {error}")
    library.mdtool_select_kernels.restype = ctypes.c_char_p
    selected = library.mdtool_select_kernels(wanted.encode() or None)
    if selected is None:
        return Kernels(None, f"torch's kernels: this CPU has no {wanted}, which {VARIABLE} asks for")
    if selected.decode() == PORTABLE and wanted != PORTABLE:
        return Kernels(None, "torch's kernels: ours need AVX2, or NEON with dot products")
    library.mdtool_use_runtime(ctypes.cast(runtime.GOMP_parallel, ctypes.c_void_p))
    return Kernels(library, f"mdtool's kernels, {selected.decode()}")


def _openmp_runtime() -> ctypes.CDLL | None:
    """Return the OpenMP runtime that torch has loaded: threads of a second one would wait for torch's."""
    folder = Path(torch.__file__).parent
    places, names = (folder / "lib", folder.parent / "torch.libs"), ("libgomp*", "libomp*", "libiomp*")
    for path in (path for place in places for name in names for path in place.glob(name)):
        try:
            runtime = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_NOW)
            runtime.GOMP_parallel  # noqa: B018
        except (OSError, AttributeError):
            continue
        return runtime
    return None
