"""How many actors a cluster has room for, and the share of its CPUs and GPUs that each of them gets."""

from collections.abc import Sequence
from dataclasses import dataclass

from mdtool.errors import UsageError


@dataclass(frozen=True)
class Node:
    """What a node of the cluster has."""

    cpus: int
    gpus: int = 0


@dataclass(frozen=True)
class Share:
    """The actors, and what each of them reserves.

    Attributes:
        actors: Number of actors.
        cpus: CPUs of each, which Ray also makes its number of threads.
        gpus: GPUs of each.
    """

    actors: int
    cpus: int
    gpus: int = 0

    def __str__(self) -> str:
        gpus = f" and {self.gpus} GPU" if self.gpus else ""
        return f"{self.actors} x {self.cpus} CPUs{gpus}"


def choose_share(nodes: Sequence[Node], wanted: int | None, use_gpus: bool) -> Share:
    """Choose as many CPUs for each actor as leave room for all of them.

    Args:
        nodes: The nodes that are alive.
        wanted: Number of actors; None: one for each GPU, or one for each node if there are none.
        use_gpus: Give each actor a GPU, if there are any.

    Raises:
        UsageError: There is no room for as many, so that the run would wait forever.
    """
    gpus = int(use_gpus and any(node.gpus for node in nodes))
    usable = [node for node in nodes if node.cpus and (node.gpus or not gpus)]
    room = sum(min(node.cpus, node.gpus) if gpus else node.cpus for node in usable)
    actors = wanted or (room if gpus else len(usable))
    if not usable or actors > room:
        unit = "a GPU and a CPU" if gpus else "a CPU"
        raise UsageError(
            f"--actors {actors}: the cluster has room for {room}, which take {unit} each; give fewer, or add nodes"
        )
    cpus = max(node.cpus for node in usable)
    while sum(min(node.cpus // cpus, node.gpus if gpus else node.cpus) for node in usable) < actors:
        cpus -= 1
    return Share(actors, cpus, gpus)
