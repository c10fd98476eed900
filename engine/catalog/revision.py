"""What tells one model's files from another's, without reading gigabytes of them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from engine.checkpoints.shards import weight_files
from engine.contract import ModelUnavailable
from engine.error_text import reason

END = 4096  # bytes


def revision_of(weights: Path, tokenizer: Path, config: dict[str, Any]) -> str:
    """16 hexadecimal digits: others once the model was trained on, or has another tokenizer or config.

    Of the weights, a safetensors file or the index of shards, the headers are read and both ends of each tensor.
    What the files are called, where they lie and how old they are has no say. ModelUnavailable if one can't be read.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    try:
        digest.update(tokenizer.read_bytes())
        for path in weight_files(weights):
            with path.open("rb") as file:
                for piece in _file_errors(file):
                    digest.update(piece)
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{weights}: cannot be read: {reason(error)}") from error
    return digest.hexdigest()[:16]


def _file_errors(file: BinaryIO) -> Iterator[bytes]:
    """The header, and the first and last bytes of each tensor, as they lie in the file."""
    size = file.read(8)
    header = file.read(int.from_bytes(size, "little"))
    yield header
    start = len(size) + len(header)
    places = [entry["data_offsets"] for name, entry in json.loads(header).items() if name != "__metadata__"]
    for begin, end in sorted(places):
        for place in (begin, max(begin, end - END)):
            file.seek(start + place)
            yield file.read(min(END, end - place))
