"""A Ray node that joins a cluster on the loopback interface, as a process of its own.

    python -m cluster.joining '{"gcs_address": "127.0.0.1:PORT", "num_cpus": 8, …}'

The argument holds fields of Ray's `RayParams`. `ray start --address` cannot do this: without
`RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0` it takes the machine's outer address, and with it, which keeps Ray's
servers on loopback, it refuses to join. Ray gives a node 30 s to start, which a busy machine may miss: it is
tried again. The node ends with this process, on SIGTERM, and when any of its own processes ends.
"""

from __future__ import annotations

import json
import os
import sys
import time

from ray._private.node import Node
from ray._private.parameter import RayParams

from cluster.processes import process_id, terminate, tree

POLL_S = 1.0
ATTEMPTS = 3
TOO_LATE = "timed out during startup"  # of Ray's message, which has no type of its own


def main(settings: str) -> int:
    """Start the node and wait until it ends; 1 where one of its processes ended by itself."""
    node = start(settings)
    print(f"joined {node.gcs_address} as {node.node_id}", flush=True)
    while not (ended := node.dead_processes()):
        time.sleep(POLL_S)
    for name, process in ended:
        print(f"{name} ended with {process.returncode}; see {node.get_logs_dir_path()}", flush=True)
    return 1


def start(settings: str) -> Node:
    """The node, at the last of `ATTEMPTS` if need be; what an earlier one started is ended."""
    for attempt in range(1, ATTEMPTS):
        try:
            return _node(settings)
        except Exception as error:
            if TOO_LATE not in str(error):
                raise
            print(f"attempt {attempt} of {ATTEMPTS}: {error}", flush=True)
            terminate(tree([process_id(os.getpid())])[1:], grace_s=0)
    return _node(settings)


def _node(settings: str) -> Node:
    return Node(RayParams(**json.loads(settings)), head=False, shutdown_at_exit=True, spawn_reaper=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
