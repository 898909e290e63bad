"""The tasks of ingest on nodes that see neither the source's files nor the folder of the shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline.cluster.tasks import map_tasks
from pipeline.data import carrying


def carried(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """`map_tasks.in_order`, where a task takes its items along and brings its shard back."""
    answers = map_tasks.in_order(carrying.AnsweredAfar(function), map(carrying.loaded, tasks), carrying.weight)
    return map(carrying.delivered, tasks, answers)
