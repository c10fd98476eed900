"""Builds the CPU kernels of `engine.kernels` where there is a C++ compiler; everything else is in pyproject.toml."""

import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("engine/kernels/native")
ARM = platform.machine().lower() in ("aarch64", "arm64")
MSVC = sys.platform == "win32"

# A file of kernels is compiled for its instruction set; whether the CPU has it is asked when the program runs.
INSTRUCTION_SETS = {
    "kernels_avx2.cpp": ["/arch:AVX2"] if MSVC else ["-mavx2", "-mfma", "-mf16c"],
    "kernels_avx512.cpp": ["/arch:AVX512"]
    if MSVC
    else ["-mavx2", "-mfma", "-mf16c", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni"],
    "kernels_neon.cpp": [] if MSVC or sys.platform == "darwin" else ["-march=armv8.2-a+dotprod"],
}
# -ffp-contract=off: all instruction sets round alike. GCC 12's own intrinsics headers use uninitialised vectors.
FLAGS = (
    ["/O2", "/std:c++17", "/EHsc"]
    if MSVC
    else ["-O3", "-std=c++17", "-fvisibility=hidden", "-ffp-contract=off", "-g0", "-Wno-maybe-uninitialized", "-Wno-uninitialized"]
)


class BuildKernels(build_ext):
    """Compiles each source with the flags of its instruction set, as a plain library that ctypes loads."""

    def build_extension(self, ext: Extension) -> None:
        """Compile and link the library; with `optional`, an error here leaves it out."""
        objects = []
        for source in ext.sources:
            sets = INSTRUCTION_SETS.get(Path(source).name, [])
            wrong_cpu = ARM != (Path(source).name == "kernels_neon.cpp")
            if Path(source).name in INSTRUCTION_SETS and wrong_cpu:
                continue
            objects += self.compiler.compile(
                [source], output_dir=self.build_temp, extra_postargs=[*FLAGS, *sets], depends=ext.depends
            )
        self.compiler.link_shared_object(
            objects, self.get_ext_fullpath(ext.name), target_lang="c++", debug=self.debug, export_symbols=[]
        )


setup(
    ext_modules=[
        Extension(
            "engine.kernels._native",
            sorted(str(path) for path in NATIVE.glob("*.cpp")),
            depends=sorted(str(path) for path in NATIVE.glob("*.h")),
            language="c++",
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernels},
)
