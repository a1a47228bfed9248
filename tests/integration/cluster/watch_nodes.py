"""Prints once a second how many worker nodes a cluster has: `python watch_nodes.py HOST:PORT`, a JSON list a line.

A process of its own, because Ray reads the token of a cluster once in the life of a process.
"""

import json
import sys
import time

from ray.autoscaler.v2.sdk import get_cluster_status

_HEAD_TYPE = "ray.head.default"


def main(address: str) -> None:
    began = time.monotonic()
    while True:
        status = get_cluster_status(address)
        up = [node for node in (*status.active_nodes, *status.idle_nodes) if node.ray_node_type_name != _HEAD_TYPE]
        pending = sum(launch.count for launch in status.pending_launches) + len(status.pending_nodes)
        print(json.dumps([round(time.monotonic() - began, 1), len(up), pending]), flush=True)
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1])
