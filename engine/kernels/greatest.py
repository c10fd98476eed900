"""The greatest number of each row by our CPU kernels: greedy decoding in one pass over the logits."""

from ctypes import byref, c_int32, c_int64

import torch
from torch import Tensor

from engine.kernels.library import kernels
from engine.kernels.structures import DTYPES, rows_of


def can_find_greatest(x: Tensor) -> bool:
    """Return whether our kernels are in use, and read these rows."""
    return kernels().library is not None and x.dtype in DTYPES and x.device.type == "cpu" and x.stride(1) == 1


def find_greatest(x: Tensor) -> list[int]:
    """Return the column of the first of the greatest numbers of each row; -1 where one is NaN or infinite.

    Args:
        x: (rows, columns), at least one column, that `can_find_greatest` accepts.
    """
    library = kernels().library
    assert library is not None
    rows, columns = x.shape
    places = (c_int64 * rows)()
    threads = c_int32(torch.get_num_threads())
    library.mdtool_find_greatest(byref(rows_of(x)), c_int64(columns), c_int64(rows), places, threads)
    return list(places)
