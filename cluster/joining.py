"""A Ray node that joins a cluster on the loopback interface, as a process of its own.

    python -m cluster.joining '{"gcs_address": "127.0.0.1:PORT", "num_cpus": 8, …}'

The argument holds fields of Ray's `RayParams`. `ray start --address` cannot do this: without
`RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0` it takes the machine's outer address, and with it, which keeps Ray's
servers on loopback, it refuses to join. The node ends with this process, on SIGTERM, and when any of its own
processes ends.
"""

from __future__ import annotations

import json
import sys
import time

from ray._private.node import Node
from ray._private.parameter import RayParams

POLL_S = 1.0


def main(settings: str) -> int:
    """Start the node and wait until it ends; 1 where one of its processes ended by itself."""
    node = Node(RayParams(**json.loads(settings)), head=False, shutdown_at_exit=True, spawn_reaper=True)
    print(f"joined {node.gcs_address} as {node.node_id}", flush=True)
    while not (ended := node.dead_processes()):
        time.sleep(POLL_S)
    for name, process in ended:
        print(f"{name} ended with {process.returncode}; see {node.get_logs_dir_path()}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
