"""Connects to a Ray cluster, or starts one on this machine for as long as the run lasts."""

import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mdtool.cluster.share import Node, Share, choose_share
from mdtool.errors import MdtoolError, UsageError
from mdtool.interruption import raise_if_interrupted

OBJECT_STORE_BYTES = 200 << 20  # of a cluster on this machine: only names and records pass through it
CONNECT_SECONDS = 10.0
FREE_SECONDS = 10.0  # for which an earlier run may still hold its CPUs
TOKEN = "this Ray cluster asks for a token; set RAY_AUTH_MODE=token, with the token of `ray get-auth-token` on its head"
PACKAGE = "--ray needs: pip install 'mdtool[ray]'"


@contextmanager
def connected(address: str, wanted: int | None, use_gpus: bool) -> Iterator[Share]:
    """Connect to a cluster; on leaving the context its actors of this run end, and a cluster that was started too.

    Args:
        address: Address of the head node, or "auto": RAY_ADDRESS, else the cluster that runs on this machine, else one
            that is started here.
        wanted: Number of actors; None to choose.
        use_gpus: Give each actor a GPU, if there are any.

    Yields:
        The actors that there is room for.

    Raises:
        UsageError: There is no room for them, or Ray is not installed.
        MdtoolError: The cluster can't be reached.
    """
    ray = _imported()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _silent_stderr():
            _connect(ray, address)
        for number, handler in handlers.items():  # Ray sets one of its own
            signal.signal(number, handler)
        share = choose_share([_node(one) for one in ray.nodes() if one["Alive"]], wanted, use_gpus)
        _wait_for_room(ray, share)
        yield share
    finally:
        ray.shutdown()


def _imported() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else threads of Ray Data that outlive a run connect again
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else more is printed on stderr
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(PACKAGE) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # whatever a lost actor had begun is given to another one: see executor.py
    return ray


def _connect(ray: Any, address: str) -> None:
    ray._private.worker._worker_logs_enabled = False  # else it prints on stdout which actors and nodes were lost
    quiet = {"configure_logging": False, "log_to_driver": False}
    for name in ("ray", "ray.data"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        _check_reachable(_found(ray) if address == "auto" else address)
        ray.init(address, **quiet)
    except ray.exceptions.AuthenticationError as error:
        raise MdtoolError(f"--ray {address}: {TOKEN}") from error
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise_if_interrupted()
        if address != "auto" or os.environ.get("RAY_ADDRESS"):
            place = os.environ.get("RAY_ADDRESS") if address == "auto" else address
            raise MdtoolError(f"--ray {place}: no Ray cluster can be reached there; `ray status` shows one") from error
        here = {"num_cpus": os.cpu_count(), "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
        ray.init("local", **here, **quiet)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to the null device: Ray's C++ code prints there what no setting turns off."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _found(ray: Any) -> str:
    """Return the address that "auto" stands for; it may be that of a cluster that was killed."""
    return os.environ.get("RAY_ADDRESS") or ray._private.utils.read_ray_address() or "auto"


def _check_reachable(address: str) -> None:
    """Raise OSError if nothing listens at "host:port", for which Ray would wait long."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _node(state: dict[str, Any]) -> Node:
    resources = state["Resources"]
    return Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


def _wait_for_room(ray: Any, share: Share) -> None:
    """Raise UsageError if other jobs leave no room for a single actor."""
    deadline = time.monotonic() + FREE_SECONDS
    while True:
        free = ray.available_resources()
        if free.get("CPU", 0) >= share.cpus and free.get("GPU", 0) >= share.gpus:
            return
        if time.monotonic() > deadline:
            raise UsageError(
                f"--ray: {free.get('CPU', 0):g} CPUs of the cluster are free, and an actor takes {share.cpus}; "
                "wait until other jobs end, or give more --actors, which take less each"
            )
        raise_if_interrupted()
        time.sleep(0.2)
