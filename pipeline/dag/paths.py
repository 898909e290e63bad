"""What an `Experiment` needs besides settings: where shards, reference and cache are."""

from __future__ import annotations

import os
from typing import Any

from pipeline.cluster.tasks import map_tasks
from pipeline.cluster.training import resources
from pipeline.dag.layout import INPUTS, Project
from pipeline.formats.reference import Reference
from pipeline.formats.shards import Manifest
from pipeline.params import Params
from pipeline.scoring.extract import Mapped
from pipeline.storage.filesystems import is_remote
from pipeline.storage.node_cache import LEAST
from pipeline.storage.store import Store


def paths(params: Params, project: Project) -> dict[str, Any]:
    """Absolute paths, as workers have another working directory; and what is in the object store, if there is one."""
    return {
        **stored(params, project),
        "shards": str(project.artefact("shards")),
        "reference": str(project.artefact("reference")),
        "cache": str(project.work(params) / "cache"),
        "cache_budget": params.run.cache_megabytes * 2**20,
    }


def stored(params: Params, project: Project) -> dict[str, Any]:
    """Shards and reference in the store, sent once for each content; nothing where storage is a folder."""
    storage = params.run.storage
    if not is_remote(storage):
        return {}
    if sent := os.environ.get(INPUTS):  # with the job, whose shards are not here
        return {"store": storage, "inputs": sent}
    kept, needed = max(params.run.cache_megabytes * 2**20, LEAST), _bytes_of_train(project)
    if needed > kept:
        print(
            f"train's shards take {needed / 2**20:,.0f} MB, of which a node keeps {kept / 2**20:,.0f}: "
            "raise run.cache_megabytes, or most batches fetch some again"
        )
    parts = [str(project.artefact(name).relative_to(project.root)) for name in ("shards", "reference")]
    return {"store": storage, "inputs": Store(storage).push(project.root, parts)}


def _bytes_of_train(project: Project) -> int:
    splits = Manifest.load(project.artefact("shards")).splits
    return sum(shard.bytes for name in splits if name.endswith("train") for shard in splits[name].shards)


def mapped(params: Params, project: Project) -> Mapped:
    """How blocks of examples are spread over the workers of the Ray that is up."""
    if resources.shares_folders(params.run):
        return map_tasks.in_order
    budget = params.run.cache_megabytes * 2**20
    return map_tasks.OverStore(params.run.storage, project.root, project.work(params), budget)


def inputs(project: Project) -> dict[str, str]:
    """The identity of the data a training sees, for its fingerprint.

    Raises:
        BrokenArtefact: if the reference was measured on other shards.
    """
    manifest = Manifest.load(project.artefact("shards")).sha256
    return {"manifest": manifest, "reference": Reference.load(project.artefact("reference"), manifest).key}
