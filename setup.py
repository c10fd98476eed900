"""Builds the CPU kernels of `engine.kernels` where there is a C++ compiler; everything else is in pyproject.toml."""

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

NATIVE = Path("engine/kernels/native")
ARM = platform.machine().lower() in ("aarch64", "arm64")

AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni"]
OPTIMIZE = "-O" not in os.environ.get("CXXFLAGS", "")

# A file of kernels is compiled for its instruction set; whether the CPU has it is asked when the program runs.
INSTRUCTION_SETS = {
    "kernels_portable.cpp": ["-O1"] if OPTIMIZE else [],  # only compared with; O3 takes six times as long to compile
    "kernels_avx2.cpp": AVX2,
    "kernels_avx512.cpp": AVX512,
    "kernels_avx512_bf16.cpp": [*AVX512, "-mavx512bf16"],
    "bfloat16_linear_avx512.cpp": [*AVX512, "-mavx512bf16"],
    "kernels_neon.cpp": [] if sys.platform == "darwin" else ["-march=armv8.2-a+dotprod"],
}
# -ffp-contract=off: all instruction sets round alike. GCC 12's own intrinsics headers use uninitialised vectors.
FLAGS = ["-std=c++17", "-fvisibility=hidden", "-ffp-contract=off", "-g0"]
FLAGS += ["-Wno-maybe-uninitialized", "-Wno-uninitialized"]
if OPTIMIZE:
    FLAGS.append("-O3")


class BuildKernels(build_ext):
    """Compiles each source with the flags of its instruction set, as a plain library that ctypes loads."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return the path of the library, which is the same for all versions of Python."""
        return fullname.replace(".", "/") + ".so"

    def build_extension(self, ext: Extension) -> None:
        """Compile and link the library; as it is optional, an error here leaves it out."""
        if sys.platform == "win32":
            raise CompileError("torch's threads can't be shared on Windows")
        other_cpu = ("avx2.cpp", "avx512.cpp", "avx512_bf16.cpp") if ARM else ("neon.cpp",)
        sources = [source for source in ext.sources if not source.endswith(other_cpu)]

        def compiled(source: str) -> list[str]:
            flags = [*FLAGS, *INSTRUCTION_SETS.get(Path(source).name, [])]
            return self.compiler.compile(
                [source], output_dir=self.build_temp, extra_postargs=flags, depends=ext.depends
            )

        with ThreadPoolExecutor() as pool:  # each runs a compiler process
            objects = [path for paths in pool.map(compiled, sources) for path in paths]
        path = self.get_ext_fullpath(ext.name)
        self.compiler.link_shared_object(objects, path, target_lang="c++", debug=self.debug, export_symbols=[])


class PlatformWheel(bdist_wheel):
    """Tags the wheel with its platform only: the library doesn't use Python's C API."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of Python, its binary interface and the platform."""
        return "py3", "none", super().get_tag()[2]


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
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": PlatformWheel},
)
