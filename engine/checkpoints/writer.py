"""Streaming writer for safetensors, one tensor at a time, for models larger than memory.

Format: https://github.com/huggingface/safetensors.
"""

import json
from collections.abc import Iterable
from typing import Any, BinaryIO

import torch
from torch import Tensor

from engine.checkpoints.reader import DTYPES

_CODES = {dtype: code for code, dtype in DTYPES.items()}
_HEADER_BYTES = 192  # reserved per tensor, in addition to its name, for dtype, shape and offsets


def write_checkpoint(file: BinaryIO, names: Iterable[str], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write a safetensors file.

    Args:
        file: A seekable file.
        names: Of all tensors or more, in any order; the header's size is reserved for them.
        tensors: Name and tensor; each is taken from the iterable after the one before has been written.

    Raises:
        OSError: The file can't be written.
        ValueError: The header of the tensors does not fit into the reserved size.
    """
    reserved = 64 + sum(len(json.dumps(name)) + _HEADER_BYTES for name in names)
    reserved += -reserved % 8
    file.write(bytes(8 + reserved))
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    text = json.dumps(header).encode().ljust(reserved)
    if len(text) > reserved:
        raise ValueError(f"the header of {len(header)} tensors is longer than was reserved")
    file.seek(0)
    file.write(len(text).to_bytes(8, "little") + text)
