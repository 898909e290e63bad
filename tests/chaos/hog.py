"""A driver that fills the object store of every node and keeps it full until its stdin ends: `hog.py <address>`."""

from __future__ import annotations

import sys
from typing import Any

import ray
from ray.exceptions import ObjectStoreFullError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

PIECE = 4 * 2**20  # bytes
ENOUGH = 200  # pieces, where a store goes on to the disk


@ray.remote(num_cpus=0)
class Hog:
    def __init__(self) -> None:
        self._held: list[Any] = []

    def eat(self) -> str:
        """Until there is no room for another piece, nor for a small one."""
        for size in (PIECE, PIECE // 16):
            try:
                while len(self._held) < ENOUGH:
                    self._held.append(ray.put(bytes(size)))
            except ObjectStoreFullError:
                continue
        return f"{len(self._held)} pieces"


def main(address: str) -> None:
    ray.init(address=address, log_to_driver=False)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    places = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    hogs = [Hog.options(scheduling_strategy=place).remote() for place in places]
    print("full:", ", ".join(ray.get([hog.eat.remote() for hog in hogs])), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
