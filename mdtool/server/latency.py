"""What keeps the process of a server from stopping its own requests."""

import gc
import os

SPINS = "20000"  # about 1 ms: longer than what lies between two operations of a model


def shorten_spinning() -> None:
    """Let the threads of OpenMP (GCC's) wait busily for 1 ms after a computation instead of 15.

    Meanwhile they hold cores that the answer of this request, and the decoding of the next one, need. It is effective
    before torch is imported, and where the environment does not say how they wait.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def settle_heap() -> None:
    """Collect garbage, and exclude all that is left from later collections.

    They stop all threads, for 0.1 s where they walk through the objects of torch and a model.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
