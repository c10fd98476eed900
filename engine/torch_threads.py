"""The number of threads that torch computes with, in threads of ours."""

import sys


def apply_number_of_threads() -> None:
    """Apply the process's number of torch threads to the thread that calls this, if torch is loaded.

    torch does so when it is first asked for the number in a thread. A module that another thread is still importing, as
    for a model that loads beside one without torch, may not have the function yet.
    """
    if get_num_threads := getattr(sys.modules.get("torch"), "get_num_threads", None):
        get_num_threads()
