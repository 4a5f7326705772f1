"""A Ray cluster of two nodes in one machine, in the environment of requirements-ray.txt.

Run as a program: it says `ready HOST:PORT`, then does what each line of its input says: `kill node` (the
second one, with all its processes), `kill worker` (one that marks), `nodes` (how many live); anything else,
or the end of input, stops it.
"""

from __future__ import annotations

import sys
import time

import psutil
import ray
from ray.cluster_utils import Cluster

_WORKER = "MarkTask"


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    print(f"ready {cluster.address}", flush=True)
    for line in sys.stdin:
        if line == "kill node\n":
            second.kill_raylet()
            second.kill_all_processes(check_alive=False, allow_graceful=False)
        elif line == "kill worker\n":
            kill_worker()
        elif line == "nodes\n":
            ray.init(address=cluster.address, log_to_driver=False)
            print(sum(node["Alive"] for node in ray.nodes()), flush=True)
            ray.shutdown()
            continue
        else:
            break
        print("done", flush=True)
    cluster.shutdown()


def kill_worker() -> None:
    """Kill one process while it marks rows."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        for process in psutil.process_iter(["cmdline"]):
            if _WORKER in " ".join(process.info["cmdline"] or []):
                process.kill()
                return
        time.sleep(0.05)
    raise SystemExit("no worker marks anything")


if __name__ == "__main__":
    main()
