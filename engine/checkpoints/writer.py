"""Writing a safetensors file one tensor at a time, so that a model larger than memory can be written.

Format: https://github.com/huggingface/safetensors.
"""

import json
from collections.abc import Iterable
from typing import Any, BinaryIO

import torch
from torch import Tensor

from engine.checkpoints.reader import DTYPES

_CODES = {dtype: code for code, dtype in DTYPES.items()}
_PER_TENSOR = 192  # bytes of header beside its name: type, shape, and where it lies


def write_checkpoint(file: BinaryIO, names: Iterable[str], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """tensors: name and tensor, each drawn when the one before has been written. names: all of theirs, in any order.

    The file must be seekable. Raises OSError (it can't be written), ValueError (tensors that are not among the names).
    """
    room = 64 + sum(len(json.dumps(name)) + _PER_TENSOR for name in names)
    room += -room % 8
    file.write(bytes(8 + room))
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    text = json.dumps(header).encode().ljust(room)
    if len(text) > room:
        raise ValueError(f"there is no room for the names of {len(header)} tensors")
    file.seek(0)
    file.write(len(text).to_bytes(8, "little") + text)
