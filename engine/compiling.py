"""The cache folder of torch.compile, and a summary of what is compiled."""

import os
from pathlib import Path


def set_compile_cache_dir() -> None:
    """Set a persistent cache folder for compiled code; torch's default is in the folder for temporary files."""
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):  # the XDG specification: relative paths are ignored
        cache = os.path.expanduser("~/.cache")
    folder = Path(cache, "mdtool", "compiled")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def compile_summary(device: str, requested: bool, gains: bool) -> str:
    """Describe whether and why a model is compiled.

    Args:
        device: torch device.
        requested: Whether compilation was requested.
        gains: Whether any of the model's kernels benefits from it.
    """
    if not gains:
        return "not compiled: on a CPU only torch's int8 GEMM benefits from it (--quantize int8 or int4)"
    if device == "cpu":
        return (
            "compiled: activation quantisation for int8 GEMM"
            if requested
            else "not compiled: on a CPU it saves little (see docs/engine.md); enable it with --compile"
        )
    if not requested:
        return "not compiled: enable it with --compile"
    graphs = ", with CUDA graphs for steps of few rows" if device.startswith("cuda") else ""
    return f"compiled: everything between GEMMs and attention{graphs}"
