"""A Ray cluster of two nodes, in a session of its own. It ends with standard input, whatever ended who holds that.

Each line that is read, "remove" or "add", is done to the second node; then, as at the start, the address and the
processes of the nodes are printed as JSON.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


def main() -> None:
    """Run the cluster until there are no more lines."""
    if os.getsid(0) != os.getpid():
        sys.exit("start it in a session of its own, all of whose processes it ends")
    from ray.cluster_utils import Cluster

    try:
        cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        cluster.add_node(**NODE)
        tell(cluster)
        for line in sys.stdin:
            if line == "remove\n":
                cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
            else:
                cluster.add_node(**NODE)
            tell(cluster)
    finally:
        end_session()


def tell(cluster: Any) -> None:
    """Print how the cluster is reached, and which processes its nodes are."""
    raylets = [one.process.pid for node in cluster.list_all_nodes() for one in node.all_processes["raylet"]]
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)


def end_session() -> None:
    """Kill all processes of this session: agents of nodes that were killed go on otherwise, and take a whole CPU."""
    own, session = os.getpid(), os.getsid(0)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(folder.name) != own and os.getsid(int(folder.name)) == session:
                os.kill(int(folder.name), signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
