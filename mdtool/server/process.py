"""What the process of a server asks of its memory."""

import ctypes
import gc
import sys


def settle_heap() -> None:
    """Collect garbage, and exclude all that is left from later collections.

    They stop all threads, for 0.1 s where they walk through the objects of torch and a model.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def return_freed_memory() -> None:
    """Give the system what is free within the heap of GNU's C library; with others do nothing.

    Encoded images that are kept lie between intermediate results that are not. So most of what is freed has something
    in use above it, and the heap would grow for as long as other images come.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
