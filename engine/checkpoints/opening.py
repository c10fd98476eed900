"""Opening a model's tensors, in safetensors or GGUF."""

from pathlib import Path

from engine.checkpoints.gguf_checkpoint import open_gguf_checkpoint
from engine.checkpoints.gguf_files import open_gguf
from engine.checkpoints.reader import open_checkpoint
from engine.checkpoints.shards import is_gguf
from engine.checkpoints.tensor_map import StoredTensors


def open_tensors(weights: Path, mmproj: Path | None = None) -> StoredTensors:
    """Open the tensors of a model by the names of its safetensors release.

    Args:
        weights: A safetensors file, the index of shards, or a GGUF file.
        mmproj: The vision part of a GGUF file.

    Raises:
        ModelUnavailable: A file is missing or broken.
    """
    if is_gguf(weights):
        return open_gguf_checkpoint(open_gguf(weights), open_gguf(mmproj) if mmproj else None)
    return open_checkpoint(weights)
