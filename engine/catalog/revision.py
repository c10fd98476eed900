"""A digest that identifies a model's files, from a sample of their bytes."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from engine.checkpoints.shards import is_gguf, weight_files
from engine.contract import ModelUnavailable
from engine.error_text import reason

SAMPLE_BYTES = 4096


def revision_of(weights: Path, tokenizer: Path, config: dict[str, Any], mmproj: Path | None = None) -> str:
    """Return a digest of a model's files, 16 hexadecimal digits, independent of their names, location and age.

    Args:
        weights: A safetensors file, the index of shards, or a GGUF file; headers and both ends of each tensor are read.
        tokenizer: The tokenizer file; a GGUF file has its own.
        config: The model's config.
        mmproj: The vision part of a GGUF file.

    Raises:
        ModelUnavailable: A file can't be read.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    try:
        if is_gguf(weights):
            for file_pieces in map(_gguf_samples, [weights, mmproj] if mmproj else [weights]):
                for piece in file_pieces:
                    digest.update(piece)
            return digest.hexdigest()[:16]
        digest.update(tokenizer.read_bytes())
        for path in weight_files(weights):
            with path.open("rb") as file:
                for piece in _samples(file):
                    digest.update(piece)
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{weights}: cannot be read: {reason(error)}") from error
    return digest.hexdigest()[:16]


def _samples(file: BinaryIO) -> Iterator[bytes]:
    """Yield the header, then the first and last bytes of each tensor, in file order."""
    size = file.read(8)
    header = file.read(int.from_bytes(size, "little"))
    yield header
    start = len(size) + len(header)
    offsets = [entry["data_offsets"] for name, entry in json.loads(header).items() if name != "__metadata__"]
    for begin, end in sorted(offsets):
        for offset in (begin, max(begin, end - SAMPLE_BYTES)):
            file.seek(start + offset)
            yield file.read(min(SAMPLE_BYTES, end - offset))


def _gguf_samples(path: Path) -> Iterator[bytes]:
    """Yield the same of a GGUF file, or of all parts of a split one."""
    from engine.checkpoints.gguf_files import open_gguf

    tensors = sorted(open_gguf(path).tensors.values(), key=lambda tensor: (tensor.file, tensor.start))
    before: Path | None = None
    for tensor in tensors:
        with tensor.file.open("rb") as file:
            if tensor.file != before:
                yield file.read(tensor.start)
                before = tensor.file
            for offset in (0, max(0, tensor.bytes - SAMPLE_BYTES)):
                file.seek(tensor.start + offset)
                yield file.read(min(SAMPLE_BYTES, tensor.bytes - offset))
