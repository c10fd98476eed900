"""What torch.compile is asked for, where it pays, and where it keeps what it made."""

import os
from pathlib import Path


def set_compile_cache_dir() -> None:
    """Lets later processes find what this one compiles: torch's own place is the folder for temporary files."""
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):  # the XDG specification wants others to be ignored
        cache = os.path.expanduser("~/.cache")
    folder = Path(cache, "mdtool", "compiled")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def compile_summary(device: str, requested: bool, gains: bool) -> str:
    """Whether a model is compiled, and why, for people. gains: whether it has anything that gains by it."""
    if not gains:
        return "not compiled: on a CPU only products of whole numbers gain by it (--quantize int8 or int4)"
    if device == "cpu":
        return (
            "compiled: how products of whole numbers round what they read"
            if requested
            else "not compiled: on a CPU it saves little (docs/engine.md has how much); --compile asks for it"
        )
    if not requested:
        return "not compiled: --compile asks for it"
    graphs = ", and steps of few rows are CUDA graphs" if device.startswith("cuda") else ""
    return f"compiled: all between products and attention{graphs}"
