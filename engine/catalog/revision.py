"""A digest that identifies a model's files, from a sample of their bytes."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from engine.checkpoints.shards import weight_files
from engine.contract import ModelUnavailable
from engine.error_text import reason

SAMPLE_BYTES = 4096


def revision_of(weights: Path, tokenizer: Path, config: dict[str, Any]) -> str:
    """Return a digest of a model's files, 16 hexadecimal digits, independent of their names, location and age.

    Args:
        weights: A safetensors file, or the index of shards; its headers and both ends of each tensor are read.
        tokenizer: The tokenizer file.
        config: The model's config.

    Raises:
        ModelUnavailable: A file can't be read.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    try:
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
