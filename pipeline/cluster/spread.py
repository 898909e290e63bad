"""Independent tasks over Ray's workers, answers in the order of the tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def in_order(function: Callable[[Task], Answer], tasks: Sequence[Task]) -> Iterator[Answer]:
    """`map` over the Ray that is up; at most two tasks a CPU are under way.

    Raises:
        what `function` raises, as itself.
    """
    import ray
    from ray.exceptions import RayTaskError

    def run(task: Task) -> Answer:
        # Ray takes functions alone, and `function` may be an object that holds what every task needs.
        return function(task)

    remote = ray.remote(run)
    limit = max(1, 2 * int(ray.cluster_resources().get("CPU", 1)))
    waiting = deque(remote.remote(task) for task in tasks[:limit])
    following = iter(tasks[limit:])
    while waiting:
        try:
            yield ray.get(waiting.popleft())
        except RayTaskError as error:
            raise error.cause from None
        waiting.extend(remote.remote(task) for task in islice(following, 1))
